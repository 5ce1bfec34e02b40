//! How a lab is connected: the words in which [`LabOptions`](super::LabOptions) says it. The cables and addresses
//! that follow from it are in `plan`.

use std::{fmt, net::IpAddr};

/// The host name of the service, in every replica's certificate.
pub const SERVICE_NAME: &str = "dtr.example.com";

/// How the balancer is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// One segment for all, 10.77.0.0/24; the balancer has one interface, `eth0`.
    #[default]
    OneArm,
    /// Clients on 10.77.1.0/24 at the balancer's `eth0`, replicas on 10.77.2.0/24 at its `eth1`. Neither side has
    /// a route to the other.
    TwoArm,
}

/// Which families the addresses are of. Segment `n` is 10.77.n.0/24 and fd77:0:n::/64, and a host has the same digits
/// at the end of both: 10.77.0.11 and fd77::11.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    #[default]
    V4,
    /// IPv6 only.
    V6,
    /// Everybody has both, and so has the VIP. First addresses are IPv4.
    Dual,
    /// Clients and VIP are IPv6, replicas IPv4.
    V6ToV4,
    /// Clients and VIP are IPv4, replicas IPv6.
    V4ToV6,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Families {
    /// Those of clients and VIPs.
    pub(super) fn of_clients(self) -> &'static [Family] {
        match self {
            Self::V4 | Self::V4ToV6 => &[Family::V4],
            Self::V6 | Self::V6ToV4 => &[Family::V6],
            Self::Dual => &[Family::V4, Family::V6],
        }
    }

    /// Those of replicas.
    pub(super) fn of_replicas(self) -> &'static [Family] {
        match self {
            Self::V4 | Self::V6ToV4 => &[Family::V4],
            Self::V6 | Self::V4ToV6 => &[Family::V6],
            Self::Dual => &[Family::V4, Family::V6],
        }
    }

    /// Whether there is an IPv6 address anywhere.
    pub(super) fn has_v6(self) -> bool {
        self != Self::V4
    }
}

/// A router: one more namespace between the balancer and those that it leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Router {
    /// The MTU of its path away from the balancer, in bytes; `None`: as everywhere. It belongs to the router's route,
    /// and no interface shows it: only the router's ICMP errors tell what is too big. Packets towards the balancer
    /// may have any size.
    pub mtu: Option<u32>,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The prefix length, in bits.
    pub prefix: u8,
}

impl Cidr {
    /// The address alone: /32 or /128.
    pub(super) fn host(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address as it stands in a URL or an image's reference: IPv6 in brackets (RFC 3986, 3.2.2).
pub fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
