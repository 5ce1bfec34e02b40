//! Echo: an address that answers is one that can be monitored, whether or not the host itself has it.

use super::{HEADER, kinds};
use crate::{
    abi::Tuple,
    address::Family,
    checksum::Delta,
    pipeline::{ETHERNET, Packet, Tables, answer::HOPS, parse::Headers},
    verdict::Verdict,
    wire::{Icmp, Ipv4, Ipv6, Macs},
};

/// Whether a request is answered. What is unusual about one is the business of the host's stack.
#[inline(always)]
pub(super) fn request(
    header: &Icmp,
    packet: &impl Packet,
    tables: &impl Tables,
    headers: &Headers,
) -> Result<Verdict, Verdict> {
    let macs: Macs = packet.read(0).ok_or(Verdict::PassedMalformed)?;
    let usual = header.code == 0
        && usize::from(headers.network) == plain(headers.family)
        && !macs.to_many()
        && headers.source_is_host();
    if usual && tables.vip(&headers.tuple.destination) {
        Ok(Verdict::AnsweredEcho)
    } else {
        Err(Verdict::PassedIcmp)
    }
}

/// Makes a request its reply: addresses change places, which no checksum notices.
#[inline(always)]
pub(in crate::pipeline) fn reply(packet: &mut impl Packet, headers: &Headers) -> Option<()> {
    let macs: Macs = packet.read(0)?;
    packet.write(0, Macs { destination: macs.source, source: macs.destination })?;
    let Tuple { source, destination, .. } = &headers.tuple;
    let kind = match headers.family {
        Family::V4 => {
            let old: Ipv4 = packet.read(ETHERNET)?;
            let new =
                Ipv4 { ttl: HOPS, source: destination.v4_words(), destination: source.v4_words(), ..old };
            let delta = Delta::ZERO.words(words(old), words(new));
            packet.write(ETHERNET, Ipv4 { checksum: delta.apply(old.checksum), ..new })?;
            kinds::V4_ECHO_REPLY
        }
        Family::V6 => {
            let old: Ipv6 = packet.read(ETHERNET)?;
            let new =
                Ipv6 { hop_limit: HOPS, source: destination.words(), destination: source.words(), ..old };
            packet.write(ETHERNET, new)?;
            kinds::V6_ECHO_REPLY
        }
    };
    let at = ETHERNET + plain(headers.family);
    let old: Icmp = packet.read(at)?;
    let new = Icmp { kind, ..old };
    let delta = Delta::ZERO.words::<{ HEADER / 2 }>(bytemuck::must_cast(old), bytemuck::must_cast(new));
    packet.write(at, Icmp { checksum: delta.apply(old.checksum), ..new })
}

#[inline(always)]
fn words(header: Ipv4) -> [u16; size_of::<Ipv4>() / 2] {
    bytemuck::must_cast(header)
}

/// Bytes of a network header without options or extensions.
#[inline(always)]
const fn plain(family: Family) -> usize {
    match family {
        Family::V4 => size_of::<Ipv4>(),
        Family::V6 => size_of::<Ipv6>(),
    }
}
