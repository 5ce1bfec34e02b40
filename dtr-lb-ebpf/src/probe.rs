//! The programs that steer the probes of replicas that answer clients directly; see [`dtr_lb_common::pipeline::probe`].

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::HashMap,
    macros::{btf_map, classifier},
    programs::TcContext,
};
use dtr_lb_common::{
    abi::{PROBE_ENTRIES, ProbePath, Tuple},
    pipeline::probe::{Probed, run},
};

use crate::tc::TcPacket;

#[btf_map]
static PROBES: HashMap<Tuple, ProbePath, PROBE_ENTRIES> = HashMap::new();

/// At the way in, behind the datapath.
#[classifier]
pub(crate) fn dtr_lb_probe_in(ctx: TcContext) -> i32 {
    steer(&ctx)
}

/// At the way out, where it meets what the datapath forwards by TC as well.
#[classifier]
pub(crate) fn dtr_lb_probe_out(ctx: TcContext) -> i32 {
    // SAFETY: the kernel hands every TC program a valid skb.
    if unsafe { (*ctx.skb.skb).ingress_ifindex } != 0 {
        // Not this host's own.
        return TC_ACT_UNSPEC;
    }
    steer(&ctx)
}

#[inline(always)]
fn steer(ctx: &TcContext) -> i32 {
    let mut packet = TcPacket::new(ctx);
    // SAFETY: the agent adds an entry before a probe begins and removes it after its end. One that is removed meanwhile
    // stays readable until the program ends, unless another probe gets its place: then one packet of a probe that is over
    // goes astray.
    match run(&mut packet, |tuple| unsafe { PROBES.get(tuple) }) {
        Probed::Other | Probed::Changed => TC_ACT_UNSPEC,
        Probed::Broken => TC_ACT_SHOT,
    }
}
