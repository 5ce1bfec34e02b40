//! VLAN tags: one, or one within a provider's.
//!
//! The pipeline works on frames without tags. The headers are read behind them, so that what is not the datapath's is passed
//! untouched. What may be is given to the other stages without its tags ([`take`]), and gets others at its end ([`put`]): those of
//! its next hop if it is forwarded, else those that it came with.
//!
//! A VLAN is its id and the tag's EtherType: that decides. The bits of priority travel with the packet, from the outermost tag that it
//! came with to each that it leaves with, as through a bridge. A tag that has a priority only (VLAN id 0) is no VLAN: what is
//! forwarded to such a client goes without.

use super::{ETHERNET, Next, Packet, PacketContext};
use crate::{
    abi::Vlans,
    address::Be16,
    verdict::{Action, Verdict},
    wire::{Ethernet, Macs, VlanTag},
};

/// Where the first tag of a frame stands: in the place of its EtherType.
const FIRST: usize = size_of::<Macs>();

/// The tags that a frame came with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags {
    /// How many; what is beyond is not written.
    count: u32,
    outer: VlanTag,
    inner: VlanTag,
    /// They are off the frame by now.
    taken: bool,
}

impl Tags {
    const EMPTY: VlanTag = VlanTag { kind: Be16::new(0), control: Be16::new(0) };
    pub(super) const NONE: Self = Self { count: 0, outer: Self::EMPTY, inner: Self::EMPTY, taken: false };

    /// Whether they are to be taken off the frame.
    #[inline(always)]
    pub(super) const fn any(&self) -> bool {
        self.count != 0
    }

    /// Whether the frame lacks what it came with.
    #[inline(always)]
    pub(super) const fn taken(&self) -> bool {
        self.taken
    }

    /// The VLANs that they say.
    #[inline(always)]
    pub(super) fn vlans(&self) -> Vlans {
        match self.count {
            0 => Vlans::NONE,
            1 => Vlans::NONE.within(self.outer),
            _ => Vlans::NONE.within(self.inner).within(self.outer),
        }
    }

    /// The bits of priority of the outermost.
    #[inline(always)]
    fn priority(&self) -> u16 {
        if self.count == 0 { 0 } else { self.outer.control.get() & !VlanTag::ID }
    }
}

/// Reads the tags of a frame. Returns the EtherType behind them, which is a tag's again where there are more than two, and
/// the offset of what follows that.
#[inline(always)]
pub(super) fn read(packet: &impl Packet, tags: &mut Tags) -> Result<(Be16, usize), Verdict> {
    (tags.count, tags.taken) = (0, false);
    let frame: Ethernet = packet.read(0).ok_or(Verdict::PassedMalformed)?;
    let beside = packet.tag_beside();
    if beside.is_none() && !VlanTag::is_kind(frame.kind) {
        return Ok((frame.kind, ETHERNET));
    }
    let (outer, behind) = match beside {
        Some(tag) => (tag, FIRST),
        None => (packet.read(FIRST).ok_or(Verdict::PassedMalformed)?, FIRST + size_of::<VlanTag>()),
    };
    (tags.outer, tags.count) = (outer, 1);
    let kind: Be16 = packet.read(behind).ok_or(Verdict::PassedMalformed)?;
    if !VlanTag::is_kind(kind) {
        return Ok((kind, behind + size_of::<Be16>()));
    }
    tags.inner = packet.read(behind).ok_or(Verdict::PassedMalformed)?;
    tags.count = 2;
    let behind = behind + size_of::<VlanTag>();
    let kind = packet.read(behind).ok_or(Verdict::PassedMalformed)?;
    Ok((kind, behind + size_of::<Be16>()))
}

/// Takes the tags off the frame.
#[inline(always)]
pub(super) fn take(packet: &mut impl Packet, context: &mut PacketContext) -> Verdict {
    if packet.take_tags(context.tags.count).is_none() {
        context.next = Next::Nothing;
        return Verdict::DroppedRewrite;
    }
    context.tags.taken = true;
    Verdict::Forwarded
}

/// Whether a frame has to get tags before it may leave under this verdict, or stay.
#[inline(always)]
pub(super) fn wanted(context: &PacketContext, verdict: Verdict) -> bool {
    context.tags.taken() || verdict.action() == Action::Forward && context.egress.hop.vlans != Vlans::NONE
}

/// Puts tags on the frame: its next hop's if it is forwarded, else those that were taken off.
#[inline(always)]
pub(super) fn put(packet: &mut impl Packet, context: &PacketContext, verdict: Verdict) -> Verdict {
    let tags = &context.tags;
    let (inner, outer) = if verdict.action() == Action::Forward {
        let (vlans, priority) = (context.egress.hop.vlans, tags.priority());
        (vlans.inner(priority), vlans.outer(priority))
    } else {
        ((tags.count > 1).then_some(tags.inner), tags.any().then_some(tags.outer))
    };
    if join(packet, inner, outer).is_some() { verdict } else { Verdict::DroppedRewrite }
}

/// Puts an inner tag on a frame, and an outer one.
#[inline(always)]
pub(super) fn join(packet: &mut impl Packet, inner: Option<VlanTag>, outer: Option<VlanTag>) -> Option<()> {
    if let Some(inner) = inner {
        packet.put_tag(inner)?;
    }
    if let Some(outer) = outer {
        packet.put_tag(outer)?;
    }
    Some(())
}
