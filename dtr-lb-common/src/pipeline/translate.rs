//! A packet whose client and replica are of different families (RFC 7915): its network header becomes one of the other.
//!
//! The pseudo-headers of both families sum the same numbers, so that the TCP checksum follows by the difference of the
//! addresses as in any rewrite. Headers with options or extensions are refused before.

use super::{
    ETHERNET, Packet, Rewrite,
    header::{self, About},
    rewrite::macs,
};
use crate::{
    address::{Be16, Family},
    wire::{Ipv4, Ipv6, PROTOCOL_TCP, TCP_CHECKSUM_OFFSET},
};

/// Translates a packet of `family`. Where it fails the frame may be half rewritten.
#[inline(always)]
pub(super) fn translate(packet: &mut impl Packet, family: Family, egress: &Rewrite) -> Option<()> {
    let about = about(packet, family)?;
    let family = egress.to.destination.family();
    packet.change_family(family)?;
    let transport =
        header::write(packet, macs(&egress.hop), &egress.to.source, &egress.to.destination, &about)?;
    packet.write::<[Be16; 2]>(transport, [egress.to.source_port, egress.to.destination_port])?;
    let checksum = transport + TCP_CHECKSUM_OFFSET;
    packet.correct_checksum(checksum, egress.address_delta, egress.port_delta, family)
}

/// What the network header says, after one hop more.
#[inline(always)]
fn about(packet: &impl Packet, family: Family) -> Option<About> {
    let (length, tos, hops) = match family {
        Family::V4 => {
            let header: Ipv4 = packet.read(ETHERNET)?;
            let length = header.total_length.get().wrapping_sub(size_of::<Ipv4>() as u16);
            (length, header.tos, header.ttl)
        }
        Family::V6 => {
            let header: Ipv6 = packet.read(ETHERNET)?;
            (header.payload_length.get(), header.traffic_class(), header.hop_limit)
        }
    };
    let hops = hops.wrapping_sub(1);
    Some(About { length, tos, hops, protocol: PROTOCOL_TCP, fragment: About::WHOLE })
}
