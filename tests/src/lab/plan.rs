//! Where the cables go: which namespace has which interface, with which addresses and routes, on which segment.
//!
//! The plan is pure: it is made from the options and rendered as batches for `ip`. Every lab uses the same
//! addresses, since each has namespaces of its own. An interface has a list of addresses of either family.
//!
//! ```text
//! clients ─ far-clients ─ router ─┬─ all, or client ─ balancer ─ all, or replica ─ replicarouter ─ far-replicas ─ replicas
//!                                 └─ replica, in a direct lab with two arms: the way of the answers
//! ```
//! Without a router its far segment is not there either, and the hosts stand on the near one.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    error::Error,
    options::LabOptions,
    topology::{Cidr, Family, SERVICE_NAME, Topology},
};

/// Host parts of the addresses, the same on every segment.
const ROUTER: u8 = 1;
const BALANCER: u8 = 2;
const REPLICA_ROUTER: u8 = 3;
/// The first VIP; others count down from it.
const VIP: u8 = 10;
const FIRST_REPLICA: u8 = 11;
const FIRST_CLIENT: u8 = 100;
const MOST_REPLICAS: usize = (FIRST_CLIENT - FIRST_REPLICA) as usize;
const MOST_CLIENTS: usize = 100;
const MOST_VIPS: usize = (VIP - REPLICA_ROUTER) as usize;

/// A segment: one bridge in the switch's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    bridge: &'static str,
    number: u8,
}

const COMMON: Segment = Segment { bridge: "br-all", number: 0 };
const CLIENT_SIDE: Segment = Segment { bridge: "br-client", number: 1 };
const REPLICA_SIDE: Segment = Segment { bridge: "br-replica", number: 2 };
const FAR_CLIENTS: Segment = Segment { bridge: "br-far-clients", number: 3 };
const FAR_REPLICAS: Segment = Segment { bridge: "br-far-replica", number: 4 };

impl Segment {
    fn address(self, family: Family, host: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, self.number, host).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, 0, self.number.into(), 0, 0, 0, 0, same_digits(host)).into(),
        }
    }

    fn cidr(self, family: Family, host: u8) -> Cidr {
        let prefix = match family {
            Family::V4 => 24,
            Family::V6 => 64,
        };
        Cidr { address: self.address(family, host), prefix }
    }

    fn network(self, family: Family) -> Cidr {
        self.cidr(family, 0)
    }

    fn cidrs(self, families: &[Family], host: u8) -> Vec<Cidr> {
        families.iter().map(|&family| self.cidr(family, host)).collect()
    }
}

/// The number whose hexadecimal digits are the decimal ones of `host`: 11 becomes 0x11.
fn same_digits(host: u8) -> u16 {
    let host = u16::from(host);
    (host / 100) << 8 | (host / 10 % 10) << 4 | host % 10
}

/// One cable: an interface of a host, and the switch's port at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cable {
    pub(super) interface: String,
    pub(super) switch_port: String,
    pub(super) addresses: Vec<Cidr>,
    segment: Segment,
}

/// A route: to a network, or the default one, through a gateway; or with an MTU to a network of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
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
pub(super) struct Host {
    pub(super) name: String,
    pub(super) cables: Vec<Cable>,
    /// Whether it forwards what is not for itself.
    pub(super) forwards: bool,
    /// Whether it holds the VIPs, and nobody is to know: as replicas do that answer clients directly.
    pub(super) hides: Vec<IpAddr>,
    routes: Vec<Route>,
}

impl Host {
    fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn plug(&mut self, segment: Segment, addresses: Vec<Cidr>) {
        let index = self.cables.len();
        self.cables.push(Cable {
            interface: format!("eth{index}"),
            switch_port: format!("p-{}-{index}", self.name),
            addresses,
            segment,
        });
    }

    /// Its first address.
    pub(super) fn address(&self) -> IpAddr {
        self.cables[0].addresses[0].address
    }

    /// All addresses of its first interface.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.cables[0].addresses.iter().map(|cidr| cidr.address).collect()
    }

    /// Default routes through a host with this host part on `segment`.
    fn default_via(&mut self, segment: Segment, families: &[Family], gateway: u8) {
        self.routes
            .extend(families.iter().map(|&family| Route::Default { via: segment.address(family, gateway) }));
    }

    /// Commands for `ip` in the host's own namespace.
    pub(super) fn batch(&self) -> String {
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

/// The whole lab's cabling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) clients: Vec<Host>,
    pub(super) balancer: Host,
    pub(super) replicas: Vec<Host>,
    routers: Vec<Host>,
    pub(super) vips: Vec<IpAddr>,
    segments: Vec<Segment>,
    mtu: u32,
}

impl Plan {
    /// The plan for these options: clients `client`, `client2`, …, replicas `r1`, `r2`, …, and what is between them.
    pub(super) fn try_new(options: &LabOptions) -> Result<Self, Error> {
        check_size("clients", options.clients, MOST_CLIENTS)?;
        check_size("replicas", options.replicas.len(), MOST_REPLICAS)?;
        check_size("VIPs", options.vips, MOST_VIPS)?;
        let sides = Sides::new(options);
        let vips: Vec<_> = (0..options.vips as u8)
            .flat_map(|n| sides.clients.iter().map(move |&family| (family, VIP - n)))
            .map(|(family, host)| sides.near_clients.address(family, host))
            .collect();
        let mut segments =
            vec![sides.near_clients, sides.near_replicas, sides.far_clients, sides.far_replicas];
        segments.dedup();
        segments.sort_by_key(|segment| segment.number);
        segments.dedup();
        Ok(Self {
            clients: (FIRST_CLIENT..)
                .zip(1..=options.clients)
                .map(|(host, n)| sides.client(host, n))
                .collect(),
            balancer: sides.balancer(&vips),
            replicas: (FIRST_REPLICA..)
                .zip(1..=options.replicas.len())
                .map(|(host, n)| sides.replica(host, n, &vips))
                .collect(),
            routers: sides.router().into_iter().chain(sides.replica_router()).collect(),
            vips,
            segments,
            mtu: options.mtu,
        })
    }

    /// Every namespace but the switch's.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.clients.iter().chain(&self.routers).chain([&self.balancer]).chain(&self.replicas)
    }

    /// As `/etc/hosts`: the service's name for the VIPs, and each replica's.
    pub(super) fn hosts_file(&self) -> String {
        let mut text = String::new();
        for vip in &self.vips {
            push(&mut text, format_args!("{vip} {SERVICE_NAME}"));
        }
        for replica in &self.replicas {
            for address in replica.addresses() {
                push(&mut text, format_args!("{address} {}", replica.name));
            }
        }
        text
    }

    /// Commands for `ip` in the switch's namespace: the bridges, and a cable to every host.
    pub(super) fn switch_batch(&self, namespace_of: impl Fn(&str) -> String) -> String {
        let mut batch = "link set lo up\n".to_owned();
        for segment in &self.segments {
            push(&mut batch, format_args!("link add {} type bridge mcast_snooping 0", segment.bridge));
            push(&mut batch, format_args!("link set {} up", segment.bridge));
        }
        let mtu = self.mtu;
        for host in self.hosts() {
            let namespace = namespace_of(&host.name);
            for Cable { interface, switch_port, segment, addresses: _ } in &host.cables {
                push(
                    &mut batch,
                    format_args!(
                        "link add {switch_port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {namespace}"
                    ),
                );
                push(&mut batch, format_args!("link set {switch_port} master {} up", segment.bridge));
            }
        }
        batch
    }
}

/// The segments and families of both sides, from which each host follows.
struct Sides<'a> {
    options: &'a LabOptions,
    /// Where the balancer meets clients, or the router to them.
    near_clients: Segment,
    near_replicas: Segment,
    /// Where clients are: the near segment without a router.
    far_clients: Segment,
    far_replicas: Segment,
    clients: &'static [Family],
    /// Of a replica's own addresses, the one that the balancer uses first. One that answers clients directly needs
    /// their family, too.
    replicas: Vec<Family>,
    both: Vec<Family>,
}

impl<'a> Sides<'a> {
    fn new(options: &'a LabOptions) -> Self {
        let (near_clients, near_replicas) = match options.topology {
            Topology::OneArm => (COMMON, COMMON),
            Topology::TwoArm => (CLIENT_SIDE, REPLICA_SIDE),
        };
        let clients = options.families.of_clients();
        let replicas = options.families.of_replicas();
        let both: Vec<_> = replicas
            .iter()
            .chain(clients.iter().filter(|family| !replicas.contains(family)))
            .copied()
            .collect();
        Self {
            options,
            near_clients,
            near_replicas,
            far_clients: if options.router.is_some() { FAR_CLIENTS } else { near_clients },
            far_replicas: if options.replica_router.is_some() { FAR_REPLICAS } else { near_replicas },
            clients,
            replicas: if options.direct { both.clone() } else { replicas.to_vec() },
            both,
        }
    }

    /// Whether the router also leads from the replicas' segment to the clients'.
    fn router_joins(&self) -> bool {
        self.options.direct && self.near_clients != self.near_replicas
    }

    fn has_router(&self) -> bool {
        self.options.router.is_some() || self.router_joins()
    }

    fn client(&self, host: u8, n: usize) -> Host {
        let mut client = Host::new(if n == 1 { "client".to_owned() } else { format!("client{n}") });
        client.plug(self.far_clients, self.far_clients.cidrs(self.clients, host));
        if self.options.router.is_some() {
            client.default_via(self.far_clients, self.clients, ROUTER);
        }
        client
    }

    fn balancer(&self, vips: &[IpAddr]) -> Host {
        let mut balancer = Host::new("lb");
        let one_arm = self.near_clients == self.near_replicas;
        let families = if one_arm { self.both.as_slice() } else { self.clients };
        let mut addresses = self.near_clients.cidrs(families, BALANCER);
        addresses.extend(vips.iter().copied().map(Cidr::host));
        balancer.plug(self.near_clients, addresses);
        if !one_arm {
            balancer.plug(self.near_replicas, self.near_replicas.cidrs(&self.replicas, BALANCER));
        }
        if self.options.router.is_some() {
            balancer.default_via(self.near_clients, self.clients, ROUTER);
        }
        if self.options.replica_router.is_some() {
            balancer.routes.extend(self.replicas.iter().map(|&family| Route::Network {
                to: FAR_REPLICAS.network(family),
                via: self.near_replicas.address(family, REPLICA_ROUTER),
            }));
        }
        balancer
    }

    fn replica(&self, host: u8, n: usize, vips: &[IpAddr]) -> Host {
        let mut replica = Host::new(format!("r{n}"));
        replica.plug(self.far_replicas, self.far_replicas.cidrs(&self.replicas, host));
        if self.options.replica_router.is_some() {
            replica.default_via(FAR_REPLICAS, &self.replicas, REPLICA_ROUTER);
        } else if self.options.direct && self.has_router() {
            replica.default_via(self.near_replicas, self.clients, ROUTER);
        }
        if self.options.direct {
            replica.hides = vips.to_vec();
        }
        replica
    }

    fn router(&self) -> Option<Host> {
        let mut router = Host { forwards: true, ..Host::new("router") };
        router.plug(self.near_clients, self.near_clients.cidrs(self.clients, ROUTER));
        if let Some(options) = self.options.router {
            router.plug(FAR_CLIENTS, FAR_CLIENTS.cidrs(self.clients, ROUTER));
            narrow(&mut router, FAR_CLIENTS, self.clients, options.mtu);
        }
        if self.router_joins() {
            router.plug(self.near_replicas, self.near_replicas.cidrs(&self.both, ROUTER));
        }
        self.has_router().then_some(router)
    }

    fn replica_router(&self) -> Option<Host> {
        let options = self.options.replica_router?;
        let mut router = Host { forwards: true, ..Host::new("rrouter") };
        router.plug(self.near_replicas, self.near_replicas.cidrs(&self.both, REPLICA_ROUTER));
        router.plug(FAR_REPLICAS, FAR_REPLICAS.cidrs(&self.both, REPLICA_ROUTER));
        narrow(&mut router, FAR_REPLICAS, &self.both, options.mtu);
        if self.options.direct && self.has_router() {
            router.default_via(self.near_replicas, self.clients, ROUTER);
        }
        Some(router)
    }
}

/// Gives a router's path to `segment` an MTU of its own.
fn narrow(router: &mut Host, segment: Segment, families: &[Family], mtu: Option<u32>) {
    let Some(mtu) = mtu else { return };
    let Some(cable) = router.cables.iter().find(|cable| cable.segment == segment) else { return };
    let interface = cable.interface.clone();
    router.routes.extend(families.iter().map(|&family| Route::Narrow {
        to: segment.network(family),
        interface: interface.clone(),
        mtu,
    }));
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

fn check_size(what: &'static str, wanted: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&wanted) { Ok(()) } else { Err(Error::Size { what, wanted, most }) }
}

fn push(batch: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(batch, "{line}");
}

#[cfg(test)]
mod tests;
