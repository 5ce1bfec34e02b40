//! Headers as they stand in a frame. Only 16-bit words and bytes, so that each type is `Pod` and may be read at any
//! even offset; the sizes are those of the RFCs and asserted.

use bytemuck::{Pod, Zeroable};

use crate::address::{Be16, Ipv4Words};

/// An Ethernet address, in wire order.
pub type Mac = [u16; 3];

/// The two addresses with which an Ethernet frame begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Macs {
    pub destination: Mac,
    pub source: Mac,
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
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;

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

/// In [`Ipv4::fragment`]: more fragments follow.
pub const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
/// In [`Ipv4::fragment`]: the offset of this fragment, in units of 8 bytes.
pub const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;

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

/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM_OFFSET: usize = core::mem::offset_of!(Tcp, checksum);

const _: () = assert!(size_of::<Ethernet>() == 14 && size_of::<Ipv4>() == 20 && size_of::<Tcp>() == 20);
const _: () = assert!(align_of::<Ethernet>() == 2 && align_of::<Ipv4>() == 2 && align_of::<Tcp>() == 2);
const _: () = assert!(core::mem::offset_of!(Ipv4, source) == 12 && TCP_CHECKSUM_OFFSET == 16);
