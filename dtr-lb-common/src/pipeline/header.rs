//! Ethernet and network headers made anew: without options, and of a packet that is alone on its way.

use super::{ETHERNET, Packet};
use crate::{
    address::{Address, Be16, Family},
    checksum::Delta,
    wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, IPV4_DONT_FRAGMENT, Ipv4, Ipv6, Macs},
};

/// What a network header says besides the addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    /// Bytes behind the header.
    pub(super) length: u16,
    /// Type of service or traffic class.
    pub(super) tos: u8,
    /// TTL or hop limit, as it leaves.
    pub(super) hops: u8,
    pub(super) protocol: u8,
    /// Fragment field of an IPv4 header.
    pub(super) fragment: Be16,
}

impl About {
    pub(super) const WHOLE: Be16 = Be16::new(IPV4_DONT_FRAGMENT);
}

/// Writes Ethernet and network header of the family of `destination`. Returns the offset of what follows.
#[inline(always)]
pub(super) fn write(
    packet: &mut impl Packet,
    macs: Macs,
    source: &Address,
    destination: &Address,
    about: &About,
) -> Option<usize> {
    match destination.family() {
        Family::V4 => {
            packet.write(0, Ethernet { macs, kind: ETHERTYPE_IPV4 })?;
            packet.write(ETHERNET, ipv4(source, destination, about))?;
            Some(ETHERNET + size_of::<Ipv4>())
        }
        Family::V6 => {
            packet.write(0, Ethernet { macs, kind: ETHERTYPE_IPV6 })?;
            packet.write(ETHERNET, ipv6(source, destination, about))?;
            Some(ETHERNET + size_of::<Ipv6>())
        }
    }
}

/// An IPv4 header, with its checksum.
#[inline(always)]
pub(super) fn ipv4(source: &Address, destination: &Address, about: &About) -> Ipv4 {
    let header = Ipv4 {
        version_ihl: 0x45,
        tos: about.tos,
        total_length: Be16::new((size_of::<Ipv4>() as u16).wrapping_add(about.length)),
        // Alone on its way, it is never put together from fragments (RFC 6864 section 4.1).
        identification: Be16::new(0),
        fragment: about.fragment,
        ttl: about.hops,
        protocol: about.protocol,
        checksum: 0,
        source: source.v4_words(),
        destination: destination.v4_words(),
    };
    let words: [u16; size_of::<Ipv4>() / 2] = bytemuck::must_cast(header);
    Ipv4 { checksum: Delta::ZERO.sum(&words).checksum(), ..header }
}

/// An IPv6 header.
#[inline(always)]
pub(super) fn ipv6(source: &Address, destination: &Address, about: &About) -> Ipv6 {
    Ipv6 {
        class: Ipv6::class(about.tos),
        payload_length: Be16::new(about.length),
        next_header: about.protocol,
        hop_limit: about.hops,
        source: source.words(),
        destination: destination.words(),
    }
}

/// The sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[inline(always)]
pub(super) fn pseudo(source: &Address, destination: &Address, about: &About) -> Delta {
    // Of a mapped IPv4 address the word before it is a mark, not part of the address.
    let addresses = match destination.family() {
        Family::V4 => Delta::ZERO.sum(&source.v4_words()).sum(&destination.v4_words()),
        Family::V6 => Delta::ZERO.sum(&source.words()).sum(&destination.words()),
    };
    addresses.sum(&[Be16::new(about.protocol.into()).raw(), Be16::new(about.length).raw()])
}
