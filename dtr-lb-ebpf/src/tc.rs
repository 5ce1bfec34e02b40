//! A frame under TC: an skb, whose headers are in its linear part and whose checksum may be the device's business.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_PSEUDO_HDR},
    helpers::{bpf_l4_csum_replace, bpf_skb_change_tail},
    programs::TcContext,
};
use bytemuck::Pod;
use dtr_lb_common::pipeline::Packet;

use crate::window::Window;

/// Ethernet, the longest IPv4 header and the longest TCP header: all that the pipeline reads.
const HEADERS: u32 = 14 + 60 + 60;

pub(crate) struct TcPacket<'a> {
    ctx: &'a TcContext,
    window: Window,
}

impl<'a> TcPacket<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a TcContext) -> Self {
        let wanted = if ctx.len() < HEADERS { ctx.len() } else { HEADERS };
        if ctx.data() + wanted as usize > ctx.data_end() {
            // The headers are in a fragment of the skb. If they cannot be pulled out of it, the frame reads as
            // truncated and is passed to the stack under that name.
            let _ = ctx.pull_data(wanted);
        }
        Self { ctx, window: Window { start: ctx.data(), end: ctx.data_end() } }
    }

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }
}

impl Packet for TcPacket<'_> {
    #[inline(always)]
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.window.read(offset)
    }

    #[inline(always)]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        self.window.write(offset, value)
    }

    /// By the helper, which knows whether the checksum is complete in the packet, still to be filled in by the device
    /// (then only the pseudo-header's part is there), or known to the stack (`inet_proto_csum_replace_by_diff`).
    #[inline(always)]
    fn correct_tcp_checksum(&mut self, offset: usize, address_delta: u16, port_delta: u16) -> Option<()> {
        let (offset, pseudo) = (offset as u32, u64::from(BPF_F_PSEUDO_HDR));
        // SAFETY: the skb is the program's own; the helper checks the offset. It invalidates pointers into the frame,
        // and none is used after it.
        let results = unsafe {
            [
                bpf_l4_csum_replace(self.skb(), offset, 0, u64::from(address_delta), pseudo),
                bpf_l4_csum_replace(self.skb(), offset, 0, u64::from(port_delta), 0),
            ]
        };
        (results == [0, 0]).then_some(())
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> Option<()> {
        // SAFETY: the skb is the program's own. The helper invalidates pointers into the frame; the bounds are read anew
        // at once, and nothing else holds one.
        if unsafe { bpf_skb_change_tail(self.skb(), length, 0) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    /// The kernel has taken an outer tag out of the frame before TC sees it.
    #[inline(always)]
    fn tagged(&self) -> bool {
        // SAFETY: the kernel hands every TC program a valid skb.
        unsafe { (*self.skb()).vlan_present != 0 }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel hands every TC program a valid skb.
        unsafe { (*self.skb()).ifindex }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.ctx.len()
    }
}
