//! The filter: a quick look whether a packet may be the datapath's, for those that are not.
//!
//! What the datapath knows is to the address and port of a service, or to a NAT address and a port of the range; or, in mode
//! DNAT, from the address and port of a replica. The agent marks the places of all these; a packet to a place that is not
//! marked, and from none either, passes without any look-up in a table. Two ends may share a place: then the tables decide, as
//! they do for all that is marked. Sources are looked at only while [`Settings::by_source`] says so.

use crate::{
    abi::{FILTER_PLACES, Settings},
    address::{Address, Be16, MAPPED},
};

/// The place of packets to this end, or from it.
#[inline(always)]
pub const fn place(settings: &Settings, address: &Address, port: Be16) -> u32 {
    place_wide(settings, address.wide(), port)
}

/// The same of an address's words.
#[inline(always)]
pub const fn place_wide(settings: &Settings, [a, b, c, d]: [u32; 4], port: Be16) -> u32 {
    let port = port.get() as u32;
    // All ports of the range are one: NAT flows may have any.
    let port = if port.wrapping_sub(settings.first_port) < settings.port_count { 0 } else { port };
    let mixed = (a ^ b ^ (c ^ d).rotate_left(13) ^ port).wrapping_mul(0x9e37_79b1);
    mixed >> (u32::BITS - FILTER_PLACES.trailing_zeros())
}

/// The same of the word of an IPv4 address.
#[inline(always)]
pub const fn place_v4(settings: &Settings, address: u32, port: Be16) -> u32 {
    place_wide(settings, [0, 0, MAPPED, address], port)
}

const _: () = assert!(FILTER_PLACES.is_power_of_two());

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeSet;

    use super::*;

    fn settings() -> Settings {
        Settings { first_port: 10_000, port_count: 22_768, ..bytemuck::Zeroable::zeroed() }
    }

    #[test]
    fn ports_of_the_range_share_a_place_and_others_do_not() {
        let settings = settings();
        for address in [IpAddr::from([10, 0, 0, 2]), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into()] {
            let at = |port| place(&settings, &address.into(), Be16::new(port));
            assert_eq!(at(10_000), at(32_767));
            assert_ne!(at(10_000), at(9_999));
            assert_ne!(at(10_000), at(32_768));
            assert_ne!(at(80), at(443));
        }
    }

    #[test]
    fn neighbouring_ends_rarely_share_a_place() {
        let settings = settings();
        let v4 = (0..=255).map(|host| IpAddr::from(Ipv4Addr::new(10, 0, 0, host)));
        let v6 = (0..=255).map(|host| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)));
        let ends: Vec<_> =
            v4.chain(v6).flat_map(|address| [80, 443, 22].map(|port| (address, port))).collect();
        let places: BTreeSet<_> = ends
            .iter()
            .map(|(address, port)| place(&settings, &(*address).into(), Be16::new(*port)))
            .collect();
        assert!(places.iter().all(|place| (*place as usize) < FILTER_PLACES));
        // At random, 1536 ends leave about 1466 places marked.
        assert!(places.len() > 1350, "{}", places.len());
    }
}
