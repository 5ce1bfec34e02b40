//! A frame under XDP: plain memory.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use bytemuck::Pod;
use dtr_lb_common::pipeline::Packet;

use crate::window::Window;

pub(crate) struct XdpPacket<'a> {
    ctx: &'a XdpContext,
    window: Window,
}

impl<'a> XdpPacket<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx, window: Window { start: ctx.data(), end: ctx.data_end() } }
    }
}

impl Packet for XdpPacket<'_> {
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.window.read(offset)
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        self.window.write(offset, value)
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Option<()> {
        // At the front: a frame always has headroom, but behind a small one there may be no room at all.
        let change = self.length() as i32 - length as i32;
        if change % 2 != 0 {
            return None;
        }
        // SAFETY: the context is the program's own. The helper invalidates pointers into the frame; the bounds are read
        // anew at once, and nothing else holds one. An even change keeps the frame on an even address.
        if unsafe { bpf_xdp_adjust_head(self.ctx.ctx, change) } != 0 {
            return None;
        }
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        Some(())
    }

    /// Under XDP a tag is in the frame, unless the device takes it out, which it tells no program.
    #[inline(always)]
    fn tagged(&self) -> bool {
        false
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel hands every XDP program a valid context.
        unsafe { (*self.ctx.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        (self.window.end - self.window.start) as u32
    }
}
