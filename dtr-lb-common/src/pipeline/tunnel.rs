//! Mode IPIP: the client's packet travels to the replica inside another one (RFC 2003, RFC 2473), and changes by a hop
//! only.

use super::{
    ETHERNET, Packet, Rewrite,
    answer::HOPS,
    header::{self, About},
    rewrite::{self, macs},
};
use crate::{
    abi::{Replica, Tuple},
    address::{Address, Be16, Family},
    flow_table::entry::ports,
    wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Macs, PROTOCOL_IPV4, PROTOCOL_IPV6},
};

/// Puts a packet of `family` into another one. Where it fails the frame may be half rewritten.
#[inline(always)]
pub(super) fn encapsulate(
    packet: &mut impl Packet,
    family: Family,
    egress: &Rewrite,
    replica: &Replica,
) -> Option<()> {
    rewrite::network(packet, family, egress)?;
    wrap(packet, family, macs(&egress.hop), &outer_source(&replica.nat[0], &egress.to), &replica.address)
}

/// Puts a packet of `family` into another one as it is. Where it fails the frame may be half rewritten.
#[inline(always)]
pub(super) fn wrap(
    packet: &mut impl Packet,
    family: Family,
    macs: Macs,
    source: &Address,
    destination: &Address,
) -> Option<()> {
    let (length, tos, protocol) = match family {
        Family::V4 => {
            let header: Ipv4 = packet.read(ETHERNET)?;
            (header.total_length.get(), header.tos, PROTOCOL_IPV4)
        }
        Family::V6 => {
            let header: Ipv6 = packet.read(ETHERNET)?;
            let length = header.payload_length.get().wrapping_add(size_of::<Ipv6>() as u16);
            (length, header.traffic_class(), PROTOCOL_IPV6)
        }
    };
    packet.encapsulate(destination.family(), family)?;
    let about = About { length, tos, hops: HOPS, protocol, fragment: About::WHOLE };
    header::write(packet, macs, source, destination, &about)?;
    Some(())
}

/// Puts an IPv4 packet into one of IPv4 to its replica. Where it fails the frame must be dropped.
#[inline(always)]
pub(super) fn wrap_v4(packet: &mut impl Packet, replica: &Replica, flow: u16) -> Option<()> {
    let header: Ipv4 = packet.read(ETHERNET)?;
    packet.encapsulate(Family::V4, Family::V4)?;
    let about = About {
        length: header.total_length.get(),
        tos: header.tos,
        hops: HOPS,
        protocol: PROTOCOL_IPV4,
        fragment: About::WHOLE,
    };
    packet.write(0, Ethernet { macs: macs(&replica.hop), kind: ETHERTYPE_IPV4 })?;
    packet.write(ETHERNET, header::ipv4(&vary(&replica.nat[0], flow), &replica.address, &about))
}

/// The same of IPv6.
#[inline(always)]
pub(super) fn wrap_v6(packet: &mut impl Packet, replica: &Replica, flow: u16) -> Option<()> {
    let header: Ipv6 = packet.read(ETHERNET)?;
    packet.encapsulate(Family::V6, Family::V6)?;
    let about = About {
        length: header.payload_length.get().wrapping_add(size_of::<Ipv6>() as u16),
        tos: header.traffic_class(),
        hops: HOPS,
        protocol: PROTOCOL_IPV6,
        fragment: About::WHOLE,
    };
    packet.write(0, Ethernet { macs: macs(&replica.hop), kind: ETHERTYPE_IPV6 })?;
    packet.write(ETHERNET, header::ipv6(&vary(&replica.nat[0], flow), &replica.address, &about))
}

/// The outer source of a flow: its last 16 bits vary, so that the receive queues of a replica, which are chosen by the outer
/// addresses, share the work.
#[inline(always)]
pub(super) fn outer_source(base: &Address, tuple: &Tuple) -> Address {
    let [.., last] = tuple.source.wide();
    vary(base, flow_bits(last, ports(tuple)))
}

#[inline(always)]
fn vary(base: &Address, flow: u16) -> Address {
    let mut words = base.words();
    words[7] = Be16::new(flow).raw();
    Address::v6(words)
}

/// What tells flows apart here: the last word of the client's address, and the ports.
#[inline(always)]
pub(super) const fn flow_bits(source: u32, ports: u32) -> u16 {
    ((source ^ ports.rotate_left(13)).wrapping_mul(0x9e37_79b1) >> 16) as u16
}
