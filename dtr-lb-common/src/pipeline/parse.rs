//! First stage: bytes to headers.

use super::{ETHERNET, Packet};
use crate::{
    abi::{Syn, Tuple},
    address::{Address, Be16, Family},
    verdict::Verdict,
    wire::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_PROVIDER_VLAN, ETHERTYPE_VLAN, Extension, FragmentHeader,
        IPV4_FRAGMENT_OFFSET, IPV4_MORE_FRAGMENTS, Ipv4, Ipv6, PROTOCOL_DESTINATION, PROTOCOL_FRAGMENT,
        PROTOCOL_HOP_BY_HOP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_ROUTING, PROTOCOL_TCP, Tcp, TcpFlags,
    },
};

/// Extension headers that are followed, at most; hosts rarely send one.
const MAX_EXTENSIONS: u32 = 4;
/// Bytes of extension headers that are followed, at most.
pub const EXTENSION_BYTES: usize = 128;

/// What later stages know of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers {
    /// The ports are a TCP packet's only.
    pub tuple: Tuple,
    pub family: Family,
    pub protocol: u8,
    /// Of a TCP packet.
    pub flags: TcpFlags,
    /// Bytes of a TCP packet's TCP header.
    pub tcp: u8,
    /// Its numbers, host order, and the bytes that it carries.
    pub sequence: u32,
    pub acknowledgment: u32,
    pub payload: u32,
    /// TTL or hop limit.
    pub hops: u8,
    /// Bytes of the network header with its options or extensions.
    pub network: u16,
    /// Bytes of the transport header and what follows it, by the network header. 0 where it says less than it is long.
    pub segment: u16,
    /// The first of several fragments.
    pub fragmented: bool,
}

impl Headers {
    /// Whether the source may be a host's address, of the family that the header is of.
    #[inline(always)]
    pub(super) const fn source_is_host(&self) -> bool {
        let family = self.tuple.source.family();
        matches!((self.family, family), (Family::V4, Family::V4) | (Family::V6, Family::V6))
            && self.tuple.source.is_host()
    }

    pub(super) const NONE: Self = Self {
        tuple: Tuple {
            source: Address::NONE,
            destination: Address::NONE,
            source_port: Be16::new(0),
            destination_port: Be16::new(0),
        },
        family: Family::V4,
        protocol: 0,
        flags: TcpFlags(0),
        tcp: 0,
        sequence: 0,
        acknowledgment: 0,
        payload: 0,
        hops: 0,
        network: 0,
        segment: 0,
        fragmented: false,
    };
}

/// The family of a packet, by the EtherType before it.
#[inline(always)]
pub(super) fn family(kind: Be16) -> Result<Family, Verdict> {
    match kind {
        ETHERTYPE_IPV4 => Ok(Family::V4),
        ETHERTYPE_IPV6 => Ok(Family::V6),
        ETHERTYPE_VLAN | ETHERTYPE_PROVIDER_VLAN => Err(Verdict::PassedVlan),
        _ => Err(Verdict::PassedNotIp),
    }
}

/// Reads the network header at `at`. Returns the offset of the transport header.
#[inline(always)]
pub(super) fn network(
    packet: &impl Packet,
    at: usize,
    family: Family,
    headers: &mut Headers,
) -> Result<usize, Verdict> {
    let length = match family {
        Family::V4 => ipv4(packet, at, headers)?,
        Family::V6 => ipv6(packet, at, headers)?,
    };
    headers.family = family;
    headers.network = length as u16;
    Ok(at + length)
}

/// Returns the length of the header.
#[inline(always)]
fn ipv4(packet: &impl Packet, at: usize, headers: &mut Headers) -> Result<usize, Verdict> {
    let header: Ipv4 = packet.read(at).ok_or(Verdict::PassedMalformed)?;
    let length = ipv4_length(header.version_ihl);
    if header.version_ihl >> 4 != 4 || length < size_of::<Ipv4>() {
        return Err(Verdict::PassedMalformed);
    }
    if header.protocol != PROTOCOL_TCP && header.protocol != PROTOCOL_ICMP {
        return Err(Verdict::PassedNotTcp);
    }
    let fragment = header.fragment.get();
    if fragment & IPV4_FRAGMENT_OFFSET != 0 {
        return Err(Verdict::PassedFragment);
    }
    headers.tuple.source = Address::v4(header.source);
    headers.tuple.destination = Address::v4(header.destination);
    headers.protocol = header.protocol;
    headers.hops = header.ttl;
    headers.segment = header.total_length.get().saturating_sub(length as u16);
    headers.fragmented = fragment & IPV4_MORE_FRAGMENTS != 0;
    Ok(length)
}

/// Returns the length of the header and its extensions.
#[inline(always)]
fn ipv6(packet: &impl Packet, at: usize, headers: &mut Headers) -> Result<usize, Verdict> {
    let header: Ipv6 = packet.read(at).ok_or(Verdict::PassedMalformed)?;
    if header.class[0].get() >> 12 != 6 {
        return Err(Verdict::PassedMalformed);
    }
    let Chain { protocol, length, fragmented } = chain(packet, at, header.next_header)?;
    if protocol != PROTOCOL_TCP && protocol != PROTOCOL_ICMPV6 {
        return Err(Verdict::PassedNotTcp);
    }
    headers.tuple.source = Address::v6(header.source);
    headers.tuple.destination = Address::v6(header.destination);
    headers.protocol = protocol;
    headers.hops = header.hop_limit;
    headers.segment = header.payload_length.get().saturating_sub(length as u16);
    headers.fragmented = fragmented;
    Ok(size_of::<Ipv6>() + length)
}

/// Kind and length of a timestamp option, as they stand in a frame.
const TIMESTAMP_OPTION: u16 = u16::from_be_bytes([8, 10]).to_be();

/// The sender's clock, host order, by a segment that is no SYN (RFC 7323 section 3.2): where Linux, the BSDs
/// and Windows put it, behind two NOPs in front of other options. 0 if it is not there, or the packet has IP options or
/// extensions.
#[inline(always)]
pub(super) fn timestamp(packet: &impl Packet, headers: &Headers) -> u32 {
    const OPTION: [u16; 2] = [u16::from_be_bytes([1, 1]).to_be(), TIMESTAMP_OPTION];
    let network = match headers.family {
        Family::V4 => size_of::<Ipv4>(),
        Family::V6 => size_of::<Ipv6>(),
    };
    if usize::from(headers.network) != network || usize::from(headers.tcp) < size_of::<Tcp>() + 12 {
        return 0;
    }
    let read: Option<[u16; 4]> = match headers.family {
        Family::V4 => packet.read(ETHERNET + size_of::<Ipv4>() + size_of::<Tcp>()),
        Family::V6 => packet.read(ETHERNET + size_of::<Ipv6>() + size_of::<Tcp>()),
    };
    match read {
        Some([a, b, high, low]) if [a, b] == OPTION => clock([high, low]),
        _ => 0,
    }
}

/// The same of a SYN that is kept: behind the MSS and two bytes more (Linux), or six (the BSDs).
#[inline(always)]
pub(super) fn timestamp_of_syn(syn: &Syn) -> u32 {
    match syn.options_length {
        Syn::NOT_KEPT => 0,
        16.. if syn.options[3] == TIMESTAMP_OPTION => clock([syn.options[4], syn.options[5]]),
        20.. if syn.options[5] == TIMESTAMP_OPTION => clock([syn.options[6], syn.options[7]]),
        _ => 0,
    }
}

#[inline(always)]
fn clock(words: [u16; 2]) -> u32 {
    u32::from_be(bytemuck::must_cast(words))
}

/// A chain of extension headers.
pub(super) struct Chain {
    /// What follows it.
    pub(super) protocol: u8,
    /// Bytes.
    pub(super) length: usize,
    /// The packet is the first of several fragments.
    pub(super) fragmented: bool,
}

/// Follows the extension headers of the IPv6 packet at `network` (RFC 8200 section 4.1).
#[inline(always)]
pub(super) fn chain(packet: &impl Packet, network: usize, first: u8) -> Result<Chain, Verdict> {
    let mut chain = Chain { protocol: first, length: 0, fragmented: false };
    let mut count = 0;
    while count < MAX_EXTENSIONS {
        count += 1;
        let at = network + size_of::<Ipv6>() + chain.length;
        let length = match chain.protocol {
            PROTOCOL_HOP_BY_HOP | PROTOCOL_DESTINATION => {
                let extension: Extension = packet.read(at).ok_or(Verdict::PassedMalformed)?;
                chain.protocol = extension.next_header;
                (usize::from(extension.length) + 1) * 8
            }
            PROTOCOL_FRAGMENT => {
                let header: FragmentHeader = packet.read(at).ok_or(Verdict::PassedMalformed)?;
                let offset = header.offset.get();
                if offset >> 3 != 0 {
                    return Err(Verdict::PassedFragment);
                }
                chain.protocol = header.next_header;
                chain.fragmented |= offset & 1 != 0;
                size_of::<FragmentHeader>()
            }
            PROTOCOL_ROUTING => return Err(Verdict::PassedExtension),
            _ => return Ok(chain),
        };
        chain.length += length;
        if chain.length > EXTENSION_BYTES {
            return Err(Verdict::PassedExtension);
        }
    }
    match chain.protocol {
        PROTOCOL_HOP_BY_HOP | PROTOCOL_DESTINATION | PROTOCOL_FRAGMENT | PROTOCOL_ROUTING => {
            Err(Verdict::PassedExtension)
        }
        _ => Ok(chain),
    }
}

/// Reads the TCP header at `transport`.
#[inline(always)]
pub(super) fn tcp(packet: &impl Packet, transport: usize, headers: &mut Headers) -> Result<(), Verdict> {
    let tcp: Tcp = packet.read(transport).ok_or(Verdict::PassedMalformed)?;
    headers.tcp = (tcp.data_offset >> 4) * 4;
    let header = u16::from(headers.tcp);
    if header < size_of::<Tcp>() as u16 {
        return Err(Verdict::PassedMalformed);
    }
    // Of a packet that is still to be cut into segments, and larger than the field, the network header says 0.
    if headers.segment < header && packet.segment_size() == 0 {
        return Err(Verdict::PassedMalformed);
    }
    headers.tuple.source_port = tcp.source;
    headers.tuple.destination_port = tcp.destination;
    headers.flags = tcp.flags;
    headers.sequence = u32::from_be_bytes(bytemuck::must_cast(tcp.sequence));
    headers.acknowledgment = u32::from_be_bytes(bytemuck::must_cast(tcp.acknowledgment));
    headers.payload = if headers.segment >= header {
        u32::from(headers.segment - header)
    } else {
        packet.length().saturating_sub((transport + usize::from(header)) as u32)
    };
    Ok(())
}

/// Offset of the transport header of a frame whose headers were read before.
#[inline(always)]
pub(super) fn transport(packet: &impl Packet, family: Family) -> Option<usize> {
    match family {
        Family::V4 => packet.read::<u8>(ETHERNET).map(|version_ihl| ETHERNET + ipv4_length(version_ihl)),
        Family::V6 => {
            let header: Ipv6 = packet.read(ETHERNET)?;
            let chain = chain(packet, ETHERNET, header.next_header).ok()?;
            Some(ETHERNET + size_of::<Ipv6>() + chain.length)
        }
    }
}

/// Length of an IPv4 header with its options, in bytes: at most 60.
#[inline(always)]
pub(super) fn ipv4_length(version_ihl: u8) -> usize {
    usize::from(version_ihl & 0x0f) * 4
}
