//! A frame under XDP: plain memory.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use bytemuck::Pod;
use dtr_lb_common::{
    address::Family,
    pipeline::{Packet, PacketContext, Stage, Tables},
    verdict::Verdict,
    wire::{Ipv4, Ipv6, Macs, VlanTag},
};

use crate::{
    stages::{self, stages},
    trace::{self, trace},
    window::{FrameHead, Window},
};

pub(crate) struct XdpPacket<'a> {
    ctx: &'a XdpContext,
    window: Window,
}

impl<'a> XdpPacket<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx, window: Window { start: ctx.data(), end: ctx.data_end() } }
    }

    /// Moves the frame's front by so many bytes: forwards where that is more than 0, so that it becomes shorter.
    #[inline(always)]
    fn move_front(&mut self, change: i32) -> Option<()> {
        // SAFETY: the context is the program's own. The helper invalidates pointers into the frame; the bounds are read
        // anew at once, and nothing else holds one.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, change) } != 0 {
            return None;
        }
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        Some(())
    }
}

/// Bytes by which the headers of the two families differ.
const FAMILIES: i32 = (size_of::<Ipv6>() - size_of::<Ipv4>()) as i32;

impl Packet for XdpPacket<'_> {
    type Head<'a>
        = FrameHead
    where
        Self: 'a;

    #[inline(always)]
    fn head(&mut self, bytes: usize) -> Option<FrameHead> {
        self.window.head(bytes)
    }

    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.window.read(offset)
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        self.window.write(offset, value)
    }

    #[inline(always)]
    fn resize(&mut self, length: u32, _: Family) -> Option<()> {
        // It shrinks at its end, and grows at its front, where there is always headroom, while behind a small frame there
        // may be no room at all. It must go on beginning on an even address, so that an odd one loses its last byte first.
        let whole = self.length();
        let odd = ((whole ^ length) & 1) as i32;
        let growth = length as i32 - whole as i32;
        let tail = if growth < 0 { growth } else { -odd };
        // SAFETY: the context is the program's own; the bounds are read anew below.
        if tail != 0 && unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, tail) } != 0 {
            return None;
        }
        self.move_front(tail - growth)
    }

    #[inline(always)]
    fn change_family(&mut self, family: Family) -> Option<()> {
        self.move_front(match family {
            Family::V4 => FAMILIES,
            Family::V6 => -FAMILIES,
        })
    }

    #[inline(always)]
    fn encapsulate(&mut self, outer: Family, _: Family) -> Option<()> {
        self.move_front(match outer {
            Family::V4 => -(size_of::<Ipv4>() as i32),
            Family::V6 => -(size_of::<Ipv6>() as i32),
        })
    }

    #[inline(always)]
    fn trim(&mut self, length: u32) -> Option<()> {
        // SAFETY: as in `move_front`.
        if unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, length as i32 - self.length() as i32) } != 0 {
            return None;
        }
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        Some(())
    }

    #[inline(always)]
    fn make_room(&mut self, bytes: i32) -> Option<()> {
        self.move_front(-bytes)
    }

    #[inline(always)]
    fn stage(&mut self, stage: Stage, _: &impl Tables, context: &mut PacketContext) -> Verdict {
        let (ctx, context) = (self.ctx.ctx, ptr::from_mut(context));
        let number = match stage {
            Stage::Parse => dtr_lb_xdp_parse(ctx, context),
            Stage::Untag => dtr_lb_xdp_untag(ctx, context),
            Stage::Steer => dtr_lb_xdp_steer(ctx, context),
            Stage::Connection => dtr_lb_xdp_connection(ctx, context),
            Stage::Proof => dtr_lb_xdp_proof(ctx, context),
            Stage::Admit => dtr_lb_xdp_admit(ctx, context),
            Stage::Challenge => dtr_lb_xdp_challenge(ctx, context),
            Stage::Silence => dtr_lb_xdp_silence(ctx, context),
            Stage::Testify => dtr_lb_xdp_testify(ctx, context),
            Stage::Open => dtr_lb_xdp_open(ctx, context),
            Stage::Insert => dtr_lb_xdp_insert(ctx, context),
            Stage::Advance => dtr_lb_xdp_advance(ctx, context),
            Stage::Complete => dtr_lb_xdp_complete(ctx, context),
            Stage::Icmp => dtr_lb_xdp_icmp(ctx, context),
            Stage::Error => dtr_lb_xdp_error(ctx, context),
            Stage::Emit(verdict) => dtr_lb_xdp_emit(ctx, context, verdict as u32),
            Stage::Answer(verdict) => dtr_lb_xdp_answer(ctx, context, verdict as u32),
            Stage::Tag(verdict) => dtr_lb_xdp_tag(ctx, context, verdict as u32),
            Stage::Milestone(verdict) => dtr_lb_xdp_milestone(ctx, context, verdict as u32),
            Stage::Report(verdict) => dtr_lb_xdp_report(ctx, context, verdict as u32),
        };
        // The verifier gives up the bounds where a stage may have moved the frame.
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        stages::verdict(number)
    }

    // Under XDP a tag is in the frame, unless the device takes it out, which it tells no program.
    #[inline(always)]
    fn take_tags(&mut self, count: u32) -> Option<()> {
        let macs: Macs = self.window.read(0)?;
        self.move_front(count as i32 * size_of::<VlanTag>() as i32)?;
        self.window.write(0, macs)
    }

    #[inline(always)]
    fn put_tag(&mut self, tag: VlanTag) -> Option<()> {
        let macs: Macs = self.window.read(0)?;
        self.move_front(-(size_of::<VlanTag>() as i32))?;
        self.window.write(0, macs)?;
        self.window.write(size_of::<Macs>(), tag)
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel hands every XDP program a valid context.
        unsafe { (*self.ctx.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn linear(&self) -> u32 {
        (self.ctx.data_end() - self.ctx.data()) as u32
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as u32 }
    }
}

stages! {
    xdp_md as XdpContext as XdpPacket:
    dtr_lb_xdp_parse, dtr_lb_xdp_untag, dtr_lb_xdp_steer, dtr_lb_xdp_connection, dtr_lb_xdp_silence, dtr_lb_xdp_testify, dtr_lb_xdp_proof, dtr_lb_xdp_admit, dtr_lb_xdp_challenge, dtr_lb_xdp_open, dtr_lb_xdp_insert, dtr_lb_xdp_advance, dtr_lb_xdp_complete, dtr_lb_xdp_icmp, dtr_lb_xdp_error, dtr_lb_xdp_emit, dtr_lb_xdp_answer, dtr_lb_xdp_tag, dtr_lb_xdp_milestone, dtr_lb_xdp_report
}

/// A frame for the trace, by helpers only.
struct XdpSource(*mut xdp_md);

impl trace::Source for XdpSource {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }

    #[inline(always)]
    unsafe fn copy(&self, from: u32, to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the context is the program's own, and the caller has the room; the helper looks at the frame's end.
        unsafe { bpf_xdp_load_bytes(self.0, from, to.cast(), bytes) == 0 }
    }
}

trace! { xdp_md as XdpSource: dtr_lb_xdp_came, dtr_lb_xdp_left, ingress_ifindex }
