//! An error that stays in its family: addresses and ports change, in the quote and around it, and each checksum by what is
//! different (RFC 1624). One that was wrong stays wrong.

use core::mem::offset_of;

use super::{HEADER, fixed, words};
use crate::{
    abi::Tuple,
    address::{Address, Be16, Family, Ipv6Words},
    checksum::{Delta, TTL_DECREMENT},
    pipeline::{ETHERNET, Packet, PacketContext, Rewrite, parse, rewrite::macs},
    wire::{ICMP_CHECKSUM_OFFSET, Ipv4, Ipv6, TCP_CHECKSUM_OFFSET},
};

/// Rewrites an error. Where it fails the frame may be half rewritten.
#[inline(always)]
pub(super) fn rewrite(packet: &mut impl Packet, context: &PacketContext) -> Option<()> {
    let PacketContext { headers, egress, wanted: answer, quoted_transport, tells_checksum, .. } = context;
    let family = headers.family;
    // An end that sends the error itself is known to the other one by another address. A router is itself.
    let by_end = headers.tuple.source == answer.source;
    let source = if by_end { &egress.to.source } else { &headers.tuple.source };
    packet.write(0, macs(&egress.hop))?;
    let at = parse::transport(packet, family)?;
    let inner = fixed(at + HEADER);
    let transport = fixed(usize::from(*quoted_transport));
    let delta = ports(packet, transport, egress, *tells_checksum)?;
    let delta = delta.plus(quoted(packet, family, inner, egress)?);
    let delta = delta.plus(outer(packet, family, source, &egress.to.destination)?);
    let checksum = packet.read::<u16>(at + ICMP_CHECKSUM_OFFSET)?;
    packet.write(at + ICMP_CHECKSUM_OFFSET, delta.apply(checksum))
}

/// The quoted TCP header, as far as it is there.
#[inline(always)]
fn ports(packet: &mut impl Packet, at: usize, egress: &Rewrite, tells_checksum: bool) -> Option<Delta> {
    let old: [Be16; 2] = packet.read(at)?;
    let new = [egress.to.destination_port, egress.to.source_port];
    packet.write(at, new)?;
    let delta = Delta::ZERO.words::<2>(bytemuck::must_cast(old), bytemuck::must_cast(new));
    if !tells_checksum {
        return Some(delta);
    }
    // A sum does not care which way a packet goes: what the flow's addresses and ports change in it is the same.
    let old = packet.read::<u16>(at + TCP_CHECKSUM_OFFSET)?;
    let new = Delta::folded(egress.address_delta).plus(Delta::folded(egress.port_delta)).apply(old);
    packet.write(at + TCP_CHECKSUM_OFFSET, new)?;
    Some(delta.word(old, new))
}

/// The quoted network header.
#[inline(always)]
fn quoted(packet: &mut impl Packet, family: Family, at: usize, egress: &Rewrite) -> Option<Delta> {
    let Tuple { source: destination, destination: source, .. } = &egress.to;
    match family {
        Family::V4 => {
            let old: Ipv4 = packet.read(at)?;
            let new = Ipv4 {
                checksum: Delta::folded(egress.address_delta).apply(old.checksum),
                source: source.v4_words(),
                destination: destination.v4_words(),
                ..old
            };
            packet.write(at, new)?;
            Some(
                Delta::ZERO
                    .word(old.checksum, new.checksum)
                    .words(old.source, new.source)
                    .words(old.destination, new.destination),
            )
        }
        Family::V6 => addresses(packet, at, source, destination),
    }
}

/// The header of the error itself. Returns what it changes in the ICMP checksum: with IPv6 that is over the addresses, too.
#[inline(always)]
fn outer(packet: &mut impl Packet, family: Family, source: &Address, destination: &Address) -> Option<Delta> {
    match family {
        Family::V4 => {
            let old: Ipv4 = packet.read(ETHERNET)?;
            let (source, destination) = (source.v4_words(), destination.v4_words());
            let delta = TTL_DECREMENT.words(old.source, source).words(old.destination, destination);
            let checksum = delta.apply(old.checksum);
            packet.write(
                ETHERNET,
                Ipv4 { ttl: old.ttl.wrapping_sub(1), checksum, source, destination, ..old },
            )?;
            Some(Delta::ZERO)
        }
        Family::V6 => {
            let [protocol, hops]: [u8; 2] = packet.read(ETHERNET + offset_of!(Ipv6, next_header))?;
            packet.write(ETHERNET + offset_of!(Ipv6, next_header), [protocol, hops.wrapping_sub(1)])?;
            addresses(packet, ETHERNET, source, destination)
        }
    }
}

/// Writes both addresses into the IPv6 header at `at`.
#[inline(always)]
fn addresses(packet: &mut impl Packet, at: usize, source: &Address, destination: &Address) -> Option<Delta> {
    let at = at + offset_of!(Ipv6, source);
    let old = words(packet, at, 2 * size_of::<Ipv6Words>())?;
    packet.write(at, source.words())?;
    packet.write(at + size_of::<Ipv6Words>(), destination.words())?;
    Some(words(packet, at, 2 * size_of::<Ipv6Words>())?.less(&[old.fold()]))
}
