//! Segments, and the addresses on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lab::topology::{Cidr, Family};

/// A segment: one bridge in the switch's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Segment {
    pub(super) bridge: &'static str,
    pub(super) number: u8,
}

pub(super) const COMMON: Segment = Segment { bridge: "br-all", number: 0 };
pub(super) const CLIENT_SIDE: Segment = Segment { bridge: "br-client", number: 1 };
pub(super) const REPLICA_SIDE: Segment = Segment { bridge: "br-replica", number: 2 };
pub(super) const FAR_CLIENTS: Segment = Segment { bridge: "br-far-clients", number: 3 };
pub(super) const FAR_REPLICAS: Segment = Segment { bridge: "br-far-replica", number: 4 };

impl Segment {
    pub(super) fn address(self, family: Family, host: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, self.number, host).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, 0, self.number.into(), 0, 0, 0, 0, same_digits(host)).into(),
        }
    }

    pub(super) fn cidr(self, family: Family, host: u8) -> Cidr {
        let prefix = match family {
            Family::V4 => 24,
            Family::V6 => 64,
        };
        Cidr { address: self.address(family, host), prefix }
    }

    pub(super) fn network(self, family: Family) -> Cidr {
        self.cidr(family, 0)
    }

    pub(super) fn cidrs(self, families: &[Family], host: u8) -> Vec<Cidr> {
        families.iter().map(|&family| self.cidr(family, host)).collect()
    }
}

/// The number whose hexadecimal digits are the decimal ones of `host`: 11 becomes 0x11.
fn same_digits(host: u8) -> u16 {
    let host = u16::from(host);
    ((host / 100) << 8) | ((host / 10 % 10) << 4) | (host % 10)
}
