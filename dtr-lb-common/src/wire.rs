//! Headers as they stand in a frame. Only 16-bit words and bytes, so that each type is `Pod` and may be read at any
//! even offset; the sizes are those of the RFCs and asserted.

use bytemuck::{Pod, Zeroable};

use crate::address::{Be16, Ipv4Words, Ipv6Words};

/// An Ethernet address, in wire order.
pub type Mac = [u16; 3];

/// The two addresses with which an Ethernet frame begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Macs {
    pub destination: Mac,
    pub source: Mac,
}

impl Macs {
    /// Whether the frame was sent to many (IEEE 802: the first bit on the wire).
    #[inline(always)]
    pub const fn to_many(&self) -> bool {
        self.destination[0].to_ne_bytes()[0] & 1 != 0
    }
}

/// An Ethernet II header without tags.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Ethernet {
    pub macs: Macs,
    pub kind: Be16,
}

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: Be16 = Be16::new(0x0800);
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: Be16 = Be16::new(0x86dd);
/// EtherTypes of VLAN tags (IEEE 802.1Q, 802.1ad).
pub const ETHERTYPE_VLAN: Be16 = Be16::new(0x8100);
pub const ETHERTYPE_PROVIDER_VLAN: Be16 = Be16::new(0x88a8);

/// A VLAN tag as it stands behind the Ethernet addresses (IEEE 802.1Q section 9.3), before an EtherType or another tag.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct VlanTag {
    /// [`ETHERTYPE_VLAN`] or [`ETHERTYPE_PROVIDER_VLAN`].
    pub kind: Be16,
    /// From the highest bit on: 3 bits of priority, one that says whether the frame is the first to be dropped, 12 of the
    /// VLAN's id.
    pub control: Be16,
}

impl VlanTag {
    /// The bits of [`Self::control`] that are the VLAN's id. 0 is no VLAN: such a tag has a priority only.
    pub const ID: u16 = 0x0fff;

    /// Whether an EtherType is that of a tag.
    #[inline(always)]
    pub const fn is_kind(kind: Be16) -> bool {
        kind.raw() == ETHERTYPE_VLAN.raw() || kind.raw() == ETHERTYPE_PROVIDER_VLAN.raw()
    }
}

/// Protocol numbers (RFC 8200 section 4 for the extension headers of IPv6).
pub const PROTOCOL_HOP_BY_HOP: u8 = 0;
pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_IPV4: u8 = 4;
pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_IPV6: u8 = 41;
pub const PROTOCOL_ROUTING: u8 = 43;
pub const PROTOCOL_FRAGMENT: u8 = 44;
pub const PROTOCOL_ICMPV6: u8 = 58;
pub const PROTOCOL_DESTINATION: u8 = 60;

/// An IPv4 header without its options (RFC 791 section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Ipv4 {
    pub version_ihl: u8,
    pub tos: u8,
    pub total_length: Be16,
    pub identification: Be16,
    pub fragment: Be16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub source: Ipv4Words,
    pub destination: Ipv4Words,
}

/// In [`Ipv4::fragment`]: routers must not fragment the packet.
pub const IPV4_DONT_FRAGMENT: u16 = 0x4000;
/// In [`Ipv4::fragment`]: more fragments follow.
pub const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
/// In [`Ipv4::fragment`]: the offset of this fragment, in units of 8 bytes.
pub const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;

/// An IPv6 header (RFC 8200 section 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Ipv6 {
    /// Version, traffic class and flow label.
    pub class: [Be16; 2],
    pub payload_length: Be16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: Ipv6Words,
    pub destination: Ipv6Words,
}

impl Ipv6 {
    /// Version 6 and a traffic class, without a flow label.
    #[inline(always)]
    pub const fn class(traffic_class: u8) -> [Be16; 2] {
        [Be16::new(0x6000 | (traffic_class as u16) << 4), Be16::new(0)]
    }

    #[inline(always)]
    pub const fn traffic_class(&self) -> u8 {
        (self.class[0].get() >> 4) as u8
    }
}

/// How an extension header of IPv6 begins (RFC 8200 section 4.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Extension {
    pub next_header: u8,
    /// In units of 8 bytes, without the first 8.
    pub length: u8,
}

/// The fragment header of IPv6 (RFC 8200 section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FragmentHeader {
    pub next_header: u8,
    pub reserved: u8,
    /// Offset in units of 8 bytes, shifted by 3; and whether more follow, in the last bit.
    pub offset: Be16,
    pub identification: [u16; 2],
}

/// A TCP header without its options (RFC 9293 section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Tcp {
    pub source: Be16,
    pub destination: Be16,
    pub sequence: [u16; 2],
    pub acknowledgment: [u16; 2],
    pub data_offset: u8,
    pub flags: TcpFlags,
    pub window: Be16,
    pub checksum: u16,
    pub urgent: Be16,
}

/// The control bits of a TCP header.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const ACK: Self = Self(0x10);

    /// Whether any of `flags` is set.
    #[inline(always)]
    pub const fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// A client's first packet: SYN without ACK, RST or FIN.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0 | Self::FIN.0) == Self::SYN.0
    }

    /// A server's answer to it: SYN and ACK, without RST.
    #[inline(always)]
    pub const fn accepts(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0) == Self::SYN.0 | Self::ACK.0
    }

    #[inline(always)]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How an ICMP message begins, of either family (RFC 792, RFC 4443 section 2.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
    pub checksum: u16,
    /// What it holds depends on the type: an MTU, a pointer, an identifier and a sequence number.
    pub rest: [Be16; 2],
}

/// Offset of the checksum in an ICMP header.
pub const ICMP_CHECKSUM_OFFSET: usize = core::mem::offset_of!(Icmp, checksum);

/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM_OFFSET: usize = core::mem::offset_of!(Tcp, checksum);

const _: () = assert!(size_of::<Ipv6>() == 40 && align_of::<Ipv6>() == 2 && size_of::<FragmentHeader>() == 8);
const _: () = assert!(size_of::<Icmp>() == 8 && align_of::<Icmp>() == 2);
const _: () = assert!(size_of::<Ethernet>() == 14 && size_of::<Ipv4>() == 20 && size_of::<Tcp>() == 20);
const _: () = assert!(align_of::<Ethernet>() == 2 && align_of::<Ipv4>() == 2 && align_of::<Tcp>() == 2);
const _: () = assert!(core::mem::offset_of!(Ipv4, source) == 12 && TCP_CHECKSUM_OFFSET == 16);
