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
    hash,
    wire::{Ipv4, Ipv6, Macs, PROTOCOL_IPV4, PROTOCOL_IPV6},
};

/// Puts a packet of `family` into another one. Where it fails the frame may be half rewritten.
#[inline(always)]
pub(super) fn encapsulate(
    packet: &mut impl Packet,
    family: Family,
    leaves: &Rewrite,
    replica: &Replica,
) -> Option<()> {
    rewrite::network(packet, family, leaves)?;
    wrap(packet, family, macs(&leaves.hop), &outer_source(&replica.nat[0], &leaves.to), &replica.address)
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

/// The outer source of a flow: its last 16 bits vary, so that the receive queues of a replica, which are chosen by the outer
/// addresses, share the work.
#[inline(always)]
pub(super) fn outer_source(base: &Address, tuple: &Tuple) -> Address {
    let mut words = base.words();
    words[7] = Be16::new((hash::flow(0, tuple) >> 48) as u16).raw();
    Address::v6(words)
}
