//! The wrappers of both hooks.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{TC_ACT_SHOT, xdp_action},
    helpers::{bpf_skb_change_tail, bpf_xdp_adjust_tail},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use dtr_lb_together_ebpf::world::FRAME;

use crate::{
    check::check,
    choose::choose,
    frame,
    maps::{self, TC_TARGET, XDP_TARGET},
};

/// Makes the frame as long as all are: an answer, and a SYN that takes the place of a refusal, have been cut.
#[inline(always)]
fn lengthen_xdp(ctx: &XdpContext) -> Option<()> {
    let missing = FRAME as i32 - (ctx.data_end() - ctx.data()) as i32;
    // SAFETY: the context is the program's own, and nothing holds a pointer into the frame.
    (missing == 0 || unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), missing) } == 0).then_some(())
}

#[inline(always)]
fn lengthen_tc(ctx: &TcContext) -> Option<()> {
    // SAFETY: as in `lengthen_xdp`.
    (ctx.len() as usize == FRAME || unsafe { bpf_skb_change_tail(ctx.as_ptr().cast(), FRAME as u32, 0) } == 0)
        .then_some(())
}

/// Looks at what became of the last packet and writes the next one. Says whether there is one.
macro_rules! round {
    ($ctx:ident, $lengthen:ident) => {{
        $lengthen(&$ctx)?;
        let config = maps::config()?;
        let slot = maps::slot(config);
        let own = maps::own(slot)?;
        frame::read($ctx.data(), $ctx.data_end(), &mut own.left)?;
        check(own, config, slot)?;
        // What was found is not to be covered by what comes after it.
        if config.ends != 0 || maps::is_over() {
            own.op = 0;
            return None;
        }
        choose(own, config, slot)?;
        frame::write($ctx.data(), $ctx.data_end(), &own.sent)
    }};
}

#[inline(always)]
fn xdp_round(ctx: &XdpContext) -> Option<()> {
    round!(ctx, lengthen_xdp)
}

#[inline(always)]
fn tc_round(ctx: &TcContext) -> Option<()> {
    round!(ctx, lengthen_tc)
}

#[xdp(frags)]
pub(crate) fn xdp_together(ctx: XdpContext) -> u32 {
    if xdp_round(&ctx).is_some() {
        // SAFETY: nothing here needs to be dropped.
        unsafe { XDP_TARGET.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[classifier]
pub(crate) fn tc_together(ctx: TcContext) -> i32 {
    if tc_round(&ctx).is_some() {
        // SAFETY: as in `xdp_together`.
        unsafe { TC_TARGET.tail_call(&ctx, 0) };
    }
    TC_ACT_SHOT
}
