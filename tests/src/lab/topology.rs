//! Where the cables go: which namespace has which interface, with which addresses, on which segment.
//!
//! The plan is pure: it is made from the topology and the numbers of clients and replicas, and rendered as
//! batches for `ip`. Every lab uses the same addresses, since each has namespaces of its own. An interface has a
//! list of addresses of either family, so that a second family is a second entry.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
};

use super::error::Error;

/// The host name of the service, in every replica's certificate.
pub const SERVICE_NAME: &str = "dtr.example.com";

/// Host parts of the addresses, the same on every segment.
const BALANCER: u8 = 2;
const VIP: u8 = 10;
const FIRST_REPLICA: u8 = 11;
const FIRST_CLIENT: u8 = 100;
const MOST_REPLICAS: usize = (FIRST_CLIENT - FIRST_REPLICA) as usize;
const MOST_CLIENTS: usize = 100;

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

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The prefix length, in bits.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A segment: one bridge in the switch's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    bridge: &'static str,
    network: [u8; 3],
}

const COMMON: Segment = Segment { bridge: "br-all", network: [10, 77, 0] };
const CLIENT_SIDE: Segment = Segment { bridge: "br-client", network: [10, 77, 1] };
const REPLICA_SIDE: Segment = Segment { bridge: "br-replica", network: [10, 77, 2] };

impl Segment {
    fn address(self, host: u8) -> IpAddr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, host).into()
    }

    fn cidr(self, host: u8) -> Cidr {
        Cidr { address: self.address(host), prefix: 24 }
    }
}

/// One cable: an interface of a host, and the switch's port at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cable {
    pub(super) interface: String,
    pub(super) switch_port: String,
    pub(super) addresses: Vec<Cidr>,
    segment: Segment,
}

impl Cable {
    fn new(host: &str, index: usize, segment: Segment, addresses: Vec<Cidr>) -> Self {
        Self {
            interface: format!("eth{index}"),
            switch_port: format!("p-{host}-{index}"),
            addresses,
            segment,
        }
    }
}

/// One namespace with interfaces: a client, the balancer or a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) cables: Vec<Cable>,
}

impl Host {
    /// Its first address.
    pub(super) fn address(&self) -> IpAddr {
        self.cables[0].addresses[0].address
    }

    /// Commands for `ip` in the host's own namespace.
    pub(super) fn batch(&self) -> String {
        let mut batch = "link set lo up\n".to_owned();
        for cable in &self.cables {
            for address in &cable.addresses {
                push(&mut batch, format_args!("address add {address} dev {}", cable.interface));
            }
            push(&mut batch, format_args!("link set {} up", cable.interface));
        }
        batch
    }
}

/// The whole lab's cabling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) clients: Vec<Host>,
    pub(super) balancer: Host,
    pub(super) replicas: Vec<Host>,
    pub(super) vip: IpAddr,
    segments: Vec<Segment>,
}

impl Plan {
    /// The plan for this many clients (`client`, `client2`, …) and replicas (`r1`, `r2`, …).
    pub(super) fn try_new(topology: Topology, clients: usize, replicas: usize) -> Result<Self, Error> {
        check_size("clients", clients, MOST_CLIENTS)?;
        check_size("replicas", replicas, MOST_REPLICAS)?;
        let (client_side, replica_side, segments) = match topology {
            Topology::OneArm => (COMMON, COMMON, vec![COMMON]),
            Topology::TwoArm => (CLIENT_SIDE, REPLICA_SIDE, vec![CLIENT_SIDE, REPLICA_SIDE]),
        };
        let vip = client_side.address(VIP);
        let towards_clients = vec![client_side.cidr(BALANCER), Cidr { address: vip, prefix: 32 }];
        let mut balancer = vec![Cable::new("lb", 0, client_side, towards_clients)];
        if topology == Topology::TwoArm {
            balancer.push(Cable::new("lb", 1, replica_side, vec![replica_side.cidr(BALANCER)]));
        }
        Ok(Self {
            clients: (FIRST_CLIENT..)
                .zip(1..=clients)
                .map(|(host, n)| {
                    leaf(if n == 1 { "client".to_owned() } else { format!("client{n}") }, client_side, host)
                })
                .collect(),
            balancer: Host { name: "lb".to_owned(), cables: balancer },
            replicas: (FIRST_REPLICA..)
                .zip(1..=replicas)
                .map(|(host, n)| leaf(format!("r{n}"), replica_side, host))
                .collect(),
            vip,
            segments,
        })
    }

    /// Every namespace but the switch's.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.clients.iter().chain([&self.balancer]).chain(&self.replicas)
    }

    /// Commands for `ip` in the switch's namespace: the bridges, and a cable to every host.
    pub(super) fn switch_batch(&self, namespace_of: impl Fn(&str) -> String) -> String {
        let mut batch = "link set lo up\n".to_owned();
        for segment in &self.segments {
            push(&mut batch, format_args!("link add {} type bridge mcast_snooping 0", segment.bridge));
            push(&mut batch, format_args!("link set {} up", segment.bridge));
        }
        for host in self.hosts() {
            let namespace = namespace_of(&host.name);
            for Cable { interface, switch_port, segment, addresses: _ } in &host.cables {
                push(
                    &mut batch,
                    format_args!("link add {switch_port} type veth peer name {interface} netns {namespace}"),
                );
                push(&mut batch, format_args!("link set {switch_port} master {} up", segment.bridge));
            }
        }
        batch
    }
}

fn leaf(name: String, segment: Segment, host: u8) -> Host {
    let cable = Cable::new(&name, 0, segment, vec![segment.cidr(host)]);
    Host { name, cables: vec![cable] }
}

fn check_size(what: &'static str, wanted: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&wanted) { Ok(()) } else { Err(Error::Size { what, wanted, most }) }
}

fn push(batch: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(batch, "{line}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn addresses_are_those_the_documentation_names() {
        let cases = [
            (Topology::OneArm, "10.77.0.10", "10.77.0.2", "10.77.0.100", "10.77.0.11", 1),
            (Topology::TwoArm, "10.77.1.10", "10.77.1.2", "10.77.1.100", "10.77.2.11", 2),
        ];
        for (topology, vip, balancer, client, replica, arms) in cases {
            let plan = Plan::try_new(topology, 1, 3).unwrap();
            assert_eq!(plan.vip.to_string(), vip);
            assert_eq!(plan.balancer.address().to_string(), balancer);
            assert_eq!(plan.balancer.cables.len(), arms);
            assert_eq!(plan.clients[0].address().to_string(), client);
            assert_eq!(plan.replicas[0].address().to_string(), replica);
            assert!(plan.balancer.batch().contains(&format!("address add {vip}/32 dev eth0\n")));
        }
    }

    #[test]
    fn the_largest_plan_has_no_clash_and_every_name_fits() {
        for topology in [Topology::OneArm, Topology::TwoArm] {
            let plan = Plan::try_new(topology, MOST_CLIENTS, MOST_REPLICAS).unwrap();
            let cables: Vec<_> = plan.hosts().flat_map(|host| &host.cables).collect();
            let ports: HashSet<_> = cables.iter().map(|cable| &cable.switch_port).collect();
            assert_eq!(ports.len(), cables.len());
            assert!(ports.iter().all(|port| port.len() <= 15), "a link's name has at most 15 characters");
            let addresses: Vec<_> = cables.iter().flat_map(|cable| &cable.addresses).collect();
            let distinct: HashSet<_> = addresses.iter().map(|cidr| cidr.address).collect();
            assert_eq!(distinct.len(), addresses.len());
        }
    }

    #[test]
    fn sizes_outside_the_plan_are_refused() {
        for (clients, replicas) in [(0, 1), (1, 0), (MOST_CLIENTS + 1, 1), (1, MOST_REPLICAS + 1)] {
            assert!(matches!(Plan::try_new(Topology::OneArm, clients, replicas), Err(Error::Size { .. })));
        }
    }
}
