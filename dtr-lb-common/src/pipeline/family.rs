//! What the pipeline must know of an address family: how its header is read, and where in it a rewrite writes.

use core::fmt::Debug;

use super::Packet;
use crate::{
    abi::Syn,
    address::{Address, Be16, Ipv4Words},
    checksum::{Delta, TTL_DECREMENT},
    verdict::Verdict,
    wire::{ETHERTYPE_IPV4, Ethernet, IPV4_FRAGMENT_OFFSET, IPV4_MORE_FRAGMENTS, Ipv4, PROTOCOL_TCP},
};

/// Offset of the network header: Ethernet without tags.
pub(super) const NETWORK_OFFSET: usize = size_of::<Ethernet>();

/// The network header, as far as the pipeline needs it.
#[derive(Clone, Copy, Debug)]
pub struct Network<A> {
    pub source: A,
    pub destination: A,
    /// TTL or hop limit.
    pub hops: u8,
    /// Offset of the TCP header in the frame.
    pub transport: usize,
    /// Bytes of the TCP header and what follows it, by the network header.
    pub segment: u16,
    /// The packet is the first of several fragments.
    pub fragmented: bool,
}

/// An address family.
pub trait Family: Copy + Debug + 'static {
    type Address: Address;
    /// EtherType, for whoever builds or sorts frames.
    const ETHERTYPE: Be16;

    /// Bytes of a network header without options.
    const HEADER: usize;

    /// Reads the network header of a frame.
    fn network(packet: &impl Packet) -> Result<Network<Self::Address>, Verdict>;

    /// Offset of the TCP header, of a frame whose network header was read before.
    fn transport(packet: &impl Packet) -> Option<usize>;

    /// Writes both addresses, one hop less, and the header's checksum if it has one.
    #[must_use]
    fn rewrite(
        packet: &mut impl Packet,
        source: Self::Address,
        destination: Self::Address,
        address_delta: Delta,
    ) -> Option<()>;

    /// Source and destination.
    fn addresses(packet: &impl Packet) -> Option<(Self::Address, Self::Address)>;

    /// Keeps of a client's SYN what its network header says.
    #[must_use]
    fn keep(packet: &impl Packet, syn: &mut Syn) -> Option<()>;

    /// Writes a network header without options, one hop less than the SYN had, before `segment` bytes of TCP.
    #[must_use]
    fn write_syn(
        packet: &mut impl Packet,
        source: Self::Address,
        destination: Self::Address,
        syn: &Syn,
        segment: u16,
    ) -> Option<()>;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub struct V4;

impl Family for V4 {
    type Address = Ipv4Words;
    const ETHERTYPE: Be16 = ETHERTYPE_IPV4;
    const HEADER: usize = size_of::<Ipv4>();

    #[inline(always)]
    fn network(packet: &impl Packet) -> Result<Network<Ipv4Words>, Verdict> {
        let header: Ipv4 = packet.read(NETWORK_OFFSET).ok_or(Verdict::PassedMalformed)?;
        let length = header_length(header.version_ihl);
        if header.version_ihl >> 4 != 4 || length < size_of::<Ipv4>() {
            return Err(Verdict::PassedMalformed);
        }
        if header.protocol != PROTOCOL_TCP {
            return Err(Verdict::PassedNotTcp);
        }
        let fragment = header.fragment.get();
        if fragment & IPV4_FRAGMENT_OFFSET != 0 {
            return Err(Verdict::PassedFragment);
        }
        Ok(Network {
            source: header.source,
            destination: header.destination,
            hops: header.ttl,
            transport: NETWORK_OFFSET + length,
            segment: header.total_length.get().wrapping_sub(length as u16),
            fragmented: fragment & IPV4_MORE_FRAGMENTS != 0,
        })
    }

    #[inline(always)]
    fn transport(packet: &impl Packet) -> Option<usize> {
        packet.read::<u8>(NETWORK_OFFSET).map(|version_ihl| NETWORK_OFFSET + header_length(version_ihl))
    }

    #[inline(always)]
    fn rewrite(
        packet: &mut impl Packet,
        source: Ipv4Words,
        destination: Ipv4Words,
        address_delta: Delta,
    ) -> Option<()> {
        let header: Ipv4 = packet.read(NETWORK_OFFSET)?;
        let rewritten = Ipv4 {
            ttl: header.ttl.wrapping_sub(1),
            checksum: address_delta.plus(TTL_DECREMENT).apply(header.checksum),
            source,
            destination,
            ..header
        };
        packet.write(NETWORK_OFFSET, rewritten)
    }

    #[inline(always)]
    fn addresses(packet: &impl Packet) -> Option<(Ipv4Words, Ipv4Words)> {
        let header: Ipv4 = packet.read(NETWORK_OFFSET)?;
        Some((header.source, header.destination))
    }

    #[inline(always)]
    fn keep(packet: &impl Packet, syn: &mut Syn) -> Option<()> {
        let header: Ipv4 = packet.read(NETWORK_OFFSET)?;
        syn.tos = header.tos;
        syn.hops = header.ttl;
        syn.fragment = header.fragment;
        Some(())
    }

    #[inline(always)]
    fn write_syn(
        packet: &mut impl Packet,
        source: Ipv4Words,
        destination: Ipv4Words,
        syn: &Syn,
        segment: u16,
    ) -> Option<()> {
        let header = Ipv4 {
            version_ihl: 0x45,
            tos: syn.tos,
            total_length: Be16::new(size_of::<Ipv4>() as u16 + segment),
            // Alone on its way, it is never put together from fragments (RFC 6864 section 4.1).
            identification: Be16::new(0),
            fragment: syn.fragment,
            ttl: syn.hops.wrapping_sub(1),
            protocol: PROTOCOL_TCP,
            checksum: 0,
            source,
            destination,
        };
        let words: [u16; size_of::<Ipv4>() / 2] = bytemuck::must_cast(header);
        // All ones is the checksum of nothing.
        let checksum = Delta::ZERO.words([0; size_of::<Ipv4>() / 2], words).apply(0xffff);
        packet.write(NETWORK_OFFSET, Ipv4 { checksum, ..header })
    }
}

/// Length of an IPv4 header with its options, in bytes: at most 60.
#[inline(always)]
fn header_length(version_ihl: u8) -> usize {
    usize::from(version_ihl & 0x0f) * 4
}
