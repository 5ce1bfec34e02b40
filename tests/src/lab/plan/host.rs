//! One host: its cables, addresses and routes, and the commands that make them.

use std::{fmt, net::IpAddr};

use super::{push, segment::Segment};
use crate::lab::topology::{Cidr, Family};

/// One cable: an interface of a host, and the switch's port at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) struct Cable {
    pub(in crate::lab) interface: String,
    pub(in crate::lab) switch_port: String,
    pub(in crate::lab) addresses: Vec<Cidr>,
    pub(super) segment: Segment,
}

/// A route: to a network, or the default one, through a gateway; or with an MTU to a network of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Default { via: IpAddr },
    Network { to: Cidr, via: IpAddr },
    Narrow { to: Cidr, interface: String, mtu: u32 },
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default { via } => write!(f, "default via {via}"),
            Self::Network { to, via } => write!(f, "{to} via {via}"),
            // Locked: IPv6 asks a route for the MTU of what it forwards only then.
            Self::Narrow { to, interface, mtu } => write!(f, "{to} dev {interface} mtu lock {mtu}"),
        }
    }
}

/// One namespace with interfaces: a client, a router, the balancer or a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::lab) struct Host {
    pub(in crate::lab) name: String,
    pub(in crate::lab) cables: Vec<Cable>,
    /// Whether it forwards what is not for itself.
    pub(in crate::lab) forwards: bool,
    /// Whether it holds the VIPs, and nobody is to know: as replicas do that answer clients directly.
    pub(in crate::lab) hides: Vec<IpAddr>,
    pub(super) routes: Vec<Route>,
}

impl Host {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) fn plug(&mut self, segment: Segment, addresses: Vec<Cidr>) {
        let index = self.cables.len();
        self.cables.push(Cable {
            interface: format!("eth{index}"),
            switch_port: format!("p-{}-{index}", self.name),
            addresses,
            segment,
        });
    }

    /// Its first address.
    pub(in crate::lab) fn address(&self) -> IpAddr {
        self.cables[0].addresses[0].address
    }

    /// All addresses of its first interface.
    pub(in crate::lab) fn addresses(&self) -> Vec<IpAddr> {
        self.cables[0].addresses.iter().map(|cidr| cidr.address).collect()
    }

    /// Default routes through a host with this host part on `segment`.
    pub(super) fn default_via(&mut self, segment: Segment, families: &[Family], gateway: u8) {
        self.routes
            .extend(families.iter().map(|&family| Route::Default { via: segment.address(family, gateway) }));
    }

    /// Commands for `ip` in the host's own namespace.
    pub(in crate::lab) fn batch(&self) -> String {
        let mut batch = "link set lo up\n".to_owned();
        for vip in &self.hides {
            add_address(&mut batch, Cidr::host(*vip), "lo");
        }
        for cable in &self.cables {
            for address in &cable.addresses {
                add_address(&mut batch, *address, &cable.interface);
            }
            push(&mut batch, format_args!("link set {} up", cable.interface));
        }
        for route in &self.routes {
            // The kernel's own route to a network is replaced: IPv6 knows routes apart by their metric, too.
            let (verb, metric) = match route {
                Route::Narrow { to, .. } if to.address.is_ipv6() => ("replace", " metric 256"),
                Route::Narrow { .. } => ("replace", ""),
                Route::Default { .. } | Route::Network { .. } => ("add", ""),
            };
            push(&mut batch, format_args!("route {verb} {route}{metric}"));
        }
        batch
    }
}

fn add_address(batch: &mut String, cidr: Cidr, interface: &str) {
    // Nobody in a lab has another's address. A VIP is never to be the source of a connection of the host's own, and
    // IPv6 would choose the one that is most like the destination (RFC 6724, rule 8) but not a deprecated one (rule 3).
    let options = match cidr.address {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) if cidr.prefix == 128 => " nodad preferred_lft 0",
        IpAddr::V6(_) => " nodad",
    };
    push(batch, format_args!("address add {cidr} dev {interface}{options}"));
}
