//! What flows are about. Their entries: [`crate::flow_table`].

use core::fmt;

use bytemuck::{Pod, Zeroable};

use super::{MAX_ATTEMPTED, ReplicaId, SYN_OPTION_WORDS};
use crate::{
    address::{Address, Be16},
    wire::{ETHERTYPE_PROVIDER_VLAN, ETHERTYPE_VLAN, Mac, TcpFlags, VlanTag},
};

/// The addresses and ports of a packet, as they stand on the wire: the key of the flow table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Tuple {
    pub source: Address,
    pub destination: Address,
    pub source_port: Be16,
    pub destination_port: Be16,
}

impl Tuple {
    /// The tuple of the packets in the other direction.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// Where a frame is sent: the interface, the Ethernet addresses, and the VLANs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Hop {
    /// Index of the interface. 0 is not known.
    pub interface: u32,
    pub destination: Mac,
    pub source: Mac,
    pub vlans: Vlans,
}

/// The VLANs that a frame is in on its wire: none, one, or one within a provider's (IEEE 802.1ad).
///
/// The lower 16 bits are the outer tag, the upper ones the inner one. Of each: 12 bits of id, and one (0x1000) for 802.1ad. 0 is no
/// tag, as no VLAN has the id 0, and there is no inner tag without an outer one. Priorities are the packet's own business.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Vlans(pub u32);

impl Vlans {
    pub const NONE: Self = Self(0);
    /// The tag's EtherType is [`ETHERTYPE_PROVIDER_VLAN`].
    const PROVIDER: u32 = 0x1000;
    const BITS: u32 = 16;

    /// With a tag before those that are there, of which there is one at most. One that says only a priority (IEEE 802.1Q section
    /// 6.9.1) is none.
    #[inline(always)]
    #[must_use]
    pub const fn within(self, tag: VlanTag) -> Self {
        let id = (tag.control.get() & VlanTag::ID) as u32;
        let provider = tag.kind.raw() == ETHERTYPE_PROVIDER_VLAN.raw();
        let kind = if provider { Self::PROVIDER } else { 0 };
        if id == 0 { self } else { Self(self.0 << Self::BITS | kind | id) }
    }

    /// The outer tag, if there is one, with these bits of priority: the upper four of [`VlanTag::control`].
    #[inline(always)]
    pub const fn outer(self, priority: u16) -> Option<VlanTag> {
        Self::tag(self.0, priority)
    }

    /// The same of the inner one.
    #[inline(always)]
    pub const fn inner(self, priority: u16) -> Option<VlanTag> {
        Self::tag(self.0 >> Self::BITS, priority)
    }

    #[inline(always)]
    const fn tag(bits: u32, priority: u16) -> Option<VlanTag> {
        let id = bits as u16 & VlanTag::ID;
        let kind = if bits & Self::PROVIDER != 0 { ETHERTYPE_PROVIDER_VLAN } else { ETHERTYPE_VLAN };
        if id == 0 { None } else { Some(VlanTag { kind, control: Be16::new(id | priority & !VlanTag::ID) }) }
    }
}

impl fmt::Display for Vlans {
    /// For people: `VLAN 10`, `VLAN 20 within provider VLAN 10`; `no VLAN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |f: &mut fmt::Formatter<'_>, tag: VlanTag| {
            let provider = if tag.kind == ETHERTYPE_PROVIDER_VLAN { "provider " } else { "" };
            write!(f, "{provider}VLAN {}", tag.control.get())
        };
        if let Some(inner) = self.inner(0) {
            one(f, inner)?;
            f.write_str(" within ")?;
        }
        match self.outer(0) {
            Some(outer) => one(f, outer),
            None => f.write_str("no VLAN"),
        }
    }
}

/// What it takes to ask another replica: a client's SYN, and who was asked. It stands in a ring that each processor writes its
/// own part of, and is overwritten when that comes round; see [`crate::pipeline::Tables::keep_syn`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct KeptSyn {
    /// The client's tuple.
    pub client: Tuple,
    pub syn: Syn,
    /// Replicas that are not to be asked again: they had no port, did not answer, or refused; 0 where there is none.
    pub attempted: [ReplicaId; MAX_ATTEMPTED],
    /// When the replica was asked, and when it answered, in microseconds by a clock that wraps; 0 where it has not.
    pub asked: u32,
    pub answered: u32,
    /// Not 0 while the record is whole, and another number for each record.
    pub stamp: u32,
}

/// A client's SYN, as far as another replica must see it: what is not said by the tuple. (Aligned, it is copied by words: else by
/// bytes, in a loop.)
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Syn {
    pub sequence: [u16; 2],
    pub window: Be16,
    /// Fragment field of the IPv4 header: may it be fragmented? Of an IPv6 packet: it may not.
    pub fragment: Be16,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TTL or hop limit, as it came.
    pub hops: u8,
    pub flags: TcpFlags,
    /// Bytes of options. [`Self::NOT_KEPT`] if the SYN is not here.
    pub options_length: u8,
    pub options: [u16; SYN_OPTION_WORDS],
    /// Folded sums of what came, with the checksums in it: of an IPv4 header without options (of others 0, of IPv6, which has no
    /// checksum, as if it were right), and of the TCP header and its options without the pseudo-header.
    pub header_sum: u16,
    pub segment_sum: u16,
}

impl Syn {
    /// In [`Self::options_length`]: the SYN carried data, which is not kept, so that it cannot be sent again.
    pub const NOT_KEPT: u8 = 0xff;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Be16;

    #[test]
    fn tags_become_vlans_and_vlans_tags() {
        let tag = |kind, control| VlanTag { kind, control: Be16::new(control) };
        let (customer, provider) = (tag(ETHERTYPE_VLAN, 0xafff), tag(ETHERTYPE_PROVIDER_VLAN, 0x0007));
        let cases = [
            (Vlans::NONE, "no VLAN"),
            (Vlans::NONE.within(customer), "VLAN 4095"),
            (Vlans::NONE.within(customer).within(provider), "VLAN 4095 within provider VLAN 7"),
            (Vlans::NONE.within(provider).within(customer), "provider VLAN 7 within VLAN 4095"),
        ];
        for (vlans, words) in cases {
            assert_eq!(vlans.to_string(), words);
            // One that says only a priority changes nothing.
            assert_eq!(vlans.within(tag(ETHERTYPE_VLAN, 0xe000)), vlans);
        }
        let both = Vlans::NONE.within(customer).within(provider);
        assert_eq!(both.outer(0x3000), Some(tag(ETHERTYPE_PROVIDER_VLAN, 0x3007)));
        assert_eq!(both.inner(0xafff), Some(tag(ETHERTYPE_VLAN, 0xafff)), "the id is the tag's own");
        assert_eq!((Vlans::NONE.within(customer).inner(0), Vlans::NONE.outer(0xf000)), (None, None));
    }
}
