//! The hooks. Each turns an outcome into what its kernel side understands; everything else is the pipeline's.
//!
//! The log lines are for development: the agent loads the programs with logging off unless it is told otherwise, and the
//! verifier then removes them.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{bpf_clone_redirect, bpf_jiffies64, bpf_redirect},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::debug;
use dtr_lb_common::{
    pipeline::{
        Packet,
        sweep::{REQUESTS, Request},
    },
    verdict::Action,
    wire::Ethernet,
};

use crate::{
    maps::{carry_out, process},
    tc::{self, TcPacket},
    trace,
    xdp::{self, XdpPacket},
};

#[xdp(frags)]
pub(crate) fn dtr_lb_xdp(ctx: XdpContext) -> u32 {
    if trace::is_on() {
        xdp::dtr_lb_xdp_came(ctx.ctx);
    }
    let mut packet = XdpPacket::new(&ctx);
    let outcome = process(&mut packet);
    if trace::is_on() {
        let (verdict, left_by) = trace::of(&outcome);
        xdp::dtr_lb_xdp_left(ctx.ctx, verdict, left_by);
    }
    debug!(&ctx, "verdict {} from interface {}", outcome.verdict as u32, packet.interface());
    match outcome.verdict.action() {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Forward | Action::Answer if outcome.interface == packet.interface() => xdp_action::XDP_TX,
        // SAFETY: the helper takes numbers only.
        Action::Forward | Action::Answer => unsafe { bpf_redirect(outcome.interface, 0) as u32 },
    }
}

#[classifier]
pub(crate) fn dtr_lb_tc(ctx: TcContext) -> i32 {
    if trace::is_on() {
        tc::dtr_lb_tc_came(ctx.skb.skb);
    }
    let mut packet = TcPacket::new(&ctx);
    let outcome = process(&mut packet);
    if trace::is_on() {
        let (verdict, left_by) = trace::of(&outcome);
        tc::dtr_lb_tc_left(ctx.skb.skb, verdict, left_by);
    }
    debug!(&ctx, "verdict {} from interface {}", outcome.verdict as u32, packet.interface());
    match outcome.verdict.action() {
        // Other programs behind this one still see the packet.
        Action::Pass => TC_ACT_UNSPEC,
        Action::Drop => TC_ACT_SHOT,
        // SAFETY: the helper takes numbers only.
        Action::Forward | Action::Answer => unsafe { bpf_redirect(outcome.interface, 0) as i32 },
    }
}

/// Returns the clock by which entries age, for the agent, which runs it by `BPF_PROG_TEST_RUN`: jiffies have no other
/// exact source in userspace.
#[classifier]
pub(crate) fn dtr_lb_clock(_: TcContext) -> i32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_jiffies64() as i32 }
}

/// Sends the frame that it is run on by the interface whose index is its mark: how the agent, which runs it by
/// `BPF_PROG_TEST_RUN`, sends a frame by any interface without a socket for it. Returns 0, or what the kernel said.
#[classifier]
pub(crate) fn dtr_lb_send(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel hands every TC program a valid skb; the helper takes it and numbers.
    unsafe { bpf_clone_redirect(skb, (*skb).mark, 0) as i32 }
}

/// Carries out one request: a function of its own, so that the verifier looks at it once. Returns 0 if it was, else its kind.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dtr_lb_carry_out(kind: u32, at: u32, seen: u32) -> u32 {
    if carry_out(kind, at, seen) { 0 } else { kind }
}

/// Carries out the requests that the frame it is run on holds, behind an Ethernet header, and marks those that it has.
#[classifier]
pub(crate) fn dtr_lb_sweep(ctx: TcContext) -> i32 {
    let mut packet = TcPacket::new(&ctx);
    let mut number = 0;
    while number < REQUESTS {
        let place = size_of::<Ethernet>() + number * size_of::<Request>();
        number += 1;
        let Some(request) = packet.read::<Request>(place) else { break };
        // No branch on what came of it, which older verifiers would follow both ways each time.
        let left = dtr_lb_carry_out(request.kind(), request.at(), request.summary());
        let _ = packet.write(place, Request::new(left, request.at(), request.summary()));
    }
    0
}
