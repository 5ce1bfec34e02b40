//! A frame under TC: an skb, whose headers are in its linear part and whose checksum may be the device's business.

use core::ptr;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_PSEUDO_HDR,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_proto, bpf_skb_change_tail,
        bpf_skb_load_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push,
    },
    programs::TcContext,
};
use bytemuck::Pod;
use dtr_lb_common::{
    address::{Be16, Family},
    checksum::Delta,
    pipeline::{EXTENSION_BYTES, Packet, PacketContext, Stage, Tables},
    verdict::Verdict,
    wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, VlanTag},
};

use crate::{
    stages::{self, stages},
    trace::{self, trace},
    window::{FrameHead, Window},
};

/// Ethernet, two tags, the longest network header that is followed and the longest TCP header: all that the pipeline reads.
const HEADERS: u32 = (14 + 2 * size_of::<VlanTag>() + size_of::<Ipv6>() + EXTENSION_BYTES + 60) as u32;

/// Of include/uapi/linux/bpf.h, since Linux 6.16: the checksum is of an IPv6 packet.
const BPF_F_IPV6: u64 = 1 << 7;

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

    /// Corrects a checksum by a folded difference.
    #[inline(always)]
    fn replace_checksum(&self, offset: u32, delta: u16, flags: u64) -> Option<()> {
        // SAFETY: the skb is the program's own; the helper checks the offset. It invalidates pointers into the frame, and
        // none is used after it.
        let result = unsafe { bpf_l4_csum_replace(self.skb(), offset, 0, u64::from(delta), flags) };
        (result == 0).then_some(())
    }
}

#[inline(always)]
fn tag_beside(skb: *const __sk_buff) -> Option<VlanTag> {
    // SAFETY: the kernel hands every TC program a valid skb.
    let (present, kind, control) = unsafe { ((*skb).vlan_present, (*skb).vlan_proto, (*skb).vlan_tci) };
    (present != 0).then_some(VlanTag { kind: Be16::of_raw(kind as u16), control: Be16::new(control as u16) })
}

/// The EtherType of a family.
const fn kind(family: Family) -> Be16 {
    match family {
        Family::V4 => ETHERTYPE_IPV4,
        Family::V6 => ETHERTYPE_IPV6,
    }
}

impl Packet for TcPacket<'_> {
    type Head<'a>
        = FrameHead
    where
        Self: 'a;
    const SUMS_IN_FRAME: bool = false;
    /// On virtual cables whoever sends a packet handles it, and acknowledgments are sent by others.
    const ALONE: bool = false;

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

    /// By the helper, which knows whether the checksum is complete in the packet, still to be filled in by the device
    /// (then only the pseudo-header's part is there), or known to the stack (`inet_proto_csum_replace_by_diff`).
    #[inline(always)]
    fn correct_checksum(
        &mut self,
        offset: usize,
        address_delta: u16,
        port_delta: u16,
        family: Family,
    ) -> Option<()> {
        let before: u16 = self.read(offset)?;
        let offset = offset as u32;
        let pseudo = u64::from(BPF_F_PSEUDO_HDR);
        let corrected = match family {
            Family::V4 => self.replace_checksum(offset, address_delta, pseudo),
            // The header has no checksum of its own that would make up for the addresses in a sum over the whole frame.
            // Kernels before 6.16 do not know the flag, and get that sum wrong; the stack then sums the frame anew.
            Family::V6 => self
                .replace_checksum(offset, address_delta, pseudo | BPF_F_IPV6)
                .or_else(|| self.replace_checksum(offset, address_delta, pseudo)),
        };
        corrected?;
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        let after: u16 = self.read(offset as usize)?;
        // What the helper made of it tells whose business the sum is. A sum that is complete, or known to the stack, follows the
        // ports as well; of one that the device fills in only the pseudo-header's part is there. A call less for each packet.
        let complete = Delta::folded(address_delta).apply(before);
        let left_to_device = Delta::folded(address_delta).plus(Delta::folded(before)).fold();
        if after == complete && after != left_to_device {
            return self.write(offset as usize, Delta::folded(port_delta).apply(after));
        }
        if after == left_to_device && after != complete {
            return Some(());
        }
        self.replace_checksum(offset, port_delta, 0)
    }

    #[inline(always)]
    fn renew(&mut self) {
        *self = Self::new(self.ctx);
    }

    #[inline(always)]
    fn write_checksum(&mut self, offset: usize, checksum: u16, pseudo: u16) -> Option<()> {
        let by_device = self.sums_later(offset)?;
        self.write(offset, if by_device { pseudo } else { checksum })
    }

    #[inline(always)]
    fn sums_later(&mut self, offset: usize) -> Option<bool> {
        // The kernel tells no program. But there, and only there, the helper leaves the field as it is when a word behind
        // the pseudo-header changes.
        const ONE: u16 = 1;
        let before: u16 = self.read(offset)?;
        self.write(offset, ONE)?;
        self.replace_checksum(offset as u32, ONE, 0)?;
        *self = Self::new(self.ctx);
        let later = self.read::<u16>(offset)? == ONE;
        self.write(offset, before)?;
        Some(later)
    }

    #[inline(always)]
    fn resize(&mut self, length: u32, family: Family) -> Option<()> {
        let kind = kind(family);
        // SAFETY: the kernel hands every TC program a valid skb.
        if unsafe { (*self.skb()).protocol } != u32::from(kind.raw()) {
            self.change_family(family)?;
        }
        // SAFETY: the skb is the program's own. The helper invalidates pointers into the frame; the bounds are read anew
        // at once, and nothing else holds one.
        if unsafe { bpf_skb_change_tail(self.skb(), length, 0) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    #[inline(always)]
    fn change_family(&mut self, family: Family) -> Option<()> {
        // SAFETY: as in `resize`.
        if unsafe { bpf_skb_change_proto(self.skb(), kind(family).raw(), 0) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    #[inline(always)]
    fn encapsulate(&mut self, outer: Family, _: Family) -> Option<()> {
        let (length, flags) = match outer {
            Family::V4 => (size_of::<Ipv4>(), BPF_F_ADJ_ROOM_ENCAP_L3_IPV4),
            Family::V6 => (size_of::<Ipv6>(), BPF_F_ADJ_ROOM_ENCAP_L3_IPV6),
        };
        // SAFETY: as in `resize`.
        if unsafe { bpf_skb_adjust_room(self.skb(), length as i32, BPF_ADJ_ROOM_MAC, flags.into()) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    #[inline(always)]
    fn trim(&mut self, length: u32) -> Option<()> {
        // SAFETY: as in `resize`.
        if unsafe { bpf_skb_change_tail(self.skb(), length, 0) } != 0 {
            return None;
        }
        self.ctx.pull_data(length).ok()?;
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        Some(())
    }

    #[inline(always)]
    fn make_room(&mut self, bytes: i32) -> Option<()> {
        // SAFETY: as in `resize`.
        if unsafe { bpf_skb_adjust_room(self.skb(), bytes, BPF_ADJ_ROOM_MAC, 0) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    #[inline(always)]
    fn stage(&mut self, stage: Stage, _: &impl Tables, context: &mut PacketContext) -> Verdict {
        let (ctx, context) = (self.skb(), ptr::from_mut(context));
        let number = match stage {
            Stage::Parse => dtr_lb_tc_parse(ctx, context),
            Stage::Untag => dtr_lb_tc_untag(ctx, context),
            Stage::Steer => dtr_lb_tc_steer(ctx, context),
            Stage::Connection => dtr_lb_tc_connection(ctx, context),
            Stage::Proof => dtr_lb_tc_proof(ctx, context),
            Stage::Admit => dtr_lb_tc_admit(ctx, context),
            Stage::Challenge => dtr_lb_tc_challenge(ctx, context),
            Stage::Silence => dtr_lb_tc_silence(ctx, context),
            Stage::Testify => dtr_lb_tc_testify(ctx, context),
            Stage::Open => dtr_lb_tc_open(ctx, context),
            Stage::Insert => dtr_lb_tc_insert(ctx, context),
            Stage::Advance => dtr_lb_tc_advance(ctx, context),
            Stage::Complete => dtr_lb_tc_complete(ctx, context),
            Stage::Icmp => dtr_lb_tc_icmp(ctx, context),
            Stage::Error => dtr_lb_tc_error(ctx, context),
            Stage::Emit(verdict) => dtr_lb_tc_emit(ctx, context, verdict as u32),
            Stage::Answer(verdict) => dtr_lb_tc_answer(ctx, context, verdict as u32),
            Stage::Tag(verdict) => dtr_lb_tc_tag(ctx, context, verdict as u32),
            Stage::Milestone(verdict) => dtr_lb_tc_milestone(ctx, context, verdict as u32),
            Stage::Report(verdict) => dtr_lb_tc_report(ctx, context, verdict as u32),
        };
        // The verifier gives up the bounds where a stage may have moved the frame.
        self.window = Window { start: self.ctx.data(), end: self.ctx.data_end() };
        stages::verdict(number)
    }

    /// The kernel, or the device, has taken the outermost tag out of the frame before TC sees it (`skb_vlan_untag`).
    #[inline(always)]
    fn tag_beside(&self) -> Option<VlanTag> {
        tag_beside(self.skb())
    }

    /// By the helper: with the one beside the frame gone, it puts the next one there (`skb_vlan_pop`).
    #[inline(always)]
    fn take_tags(&mut self, count: u32) -> Option<()> {
        // SAFETY: as in `resize`.
        if unsafe { bpf_skb_vlan_pop(self.skb()) } != 0 {
            return None;
        }
        // SAFETY: as in `resize`.
        if count > 1 && unsafe { bpf_skb_vlan_pop(self.skb()) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    /// Beside the frame. One that is there goes into it (`skb_vlan_push`).
    #[inline(always)]
    fn put_tag(&mut self, tag: VlanTag) -> Option<()> {
        // SAFETY: as in `resize`.
        if unsafe { bpf_skb_vlan_push(self.skb(), tag.kind.raw(), tag.control.get()) } != 0 {
            return None;
        }
        *self = Self::new(self.ctx);
        Some(())
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel hands every TC program a valid skb.
        unsafe { (*self.skb()).ifindex }
    }

    /// All of it counts: what is read is pulled into the linear part.
    #[inline(always)]
    fn linear(&self) -> u32 {
        self.ctx.len()
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.ctx.len()
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: the kernel hands every TC program a valid skb.
        unsafe { (*self.skb()).gso_size }
    }
}

stages! {
    __sk_buff as TcContext as TcPacket:
    dtr_lb_tc_parse, dtr_lb_tc_untag, dtr_lb_tc_steer, dtr_lb_tc_connection, dtr_lb_tc_silence, dtr_lb_tc_testify, dtr_lb_tc_proof, dtr_lb_tc_admit, dtr_lb_tc_challenge, dtr_lb_tc_open, dtr_lb_tc_insert, dtr_lb_tc_advance, dtr_lb_tc_complete, dtr_lb_tc_icmp, dtr_lb_tc_error, dtr_lb_tc_emit, dtr_lb_tc_answer, dtr_lb_tc_tag, dtr_lb_tc_milestone, dtr_lb_tc_report
}

/// A frame for the trace, by helpers only.
struct TcSource(*mut __sk_buff);

impl trace::Source for TcSource {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the kernel hands every TC program a valid skb.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn tag_beside(&self) -> Option<VlanTag> {
        tag_beside(self.0)
    }

    #[inline(always)]
    unsafe fn copy(&self, from: u32, to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the skb is the program's own, and the caller has the room; the helper looks at the frame's end.
        unsafe { bpf_skb_load_bytes(self.0.cast(), from, to.cast(), bytes) == 0 }
    }
}

trace! { __sk_buff as TcSource: dtr_lb_tc_came, dtr_lb_tc_left, ifindex }
