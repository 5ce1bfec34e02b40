//! What stands on either side of the balancer, and how each host of it is connected.

use std::net::IpAddr;

use super::{
    host::{Host, Route},
    segment::{CLIENT_SIDE, COMMON, FAR_CLIENTS, FAR_REPLICAS, REPLICA_SIDE, Segment},
};
use crate::lab::{
    options::LabOptions,
    topology::{Cidr, Family, Topology},
};

/// Host parts of the addresses, the same on every segment.
const ROUTER: u8 = 1;
const BALANCER: u8 = 2;
pub(super) const REPLICA_ROUTER: u8 = 3;

/// The segments and families of both sides, from which each host follows.
pub(super) struct Sides<'a> {
    options: &'a LabOptions,
    /// Where the balancer meets clients, or the router to them.
    pub(super) near_clients: Segment,
    pub(super) near_replicas: Segment,
    /// Where clients are: the near segment without a router.
    pub(super) far_clients: Segment,
    pub(super) far_replicas: Segment,
    pub(super) clients: &'static [Family],
    /// Of a replica's own addresses, the one that the balancer uses first. One that answers clients directly needs
    /// their family, too.
    replicas: Vec<Family>,
    both: Vec<Family>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(options: &'a LabOptions) -> Self {
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

    pub(super) fn client(&self, host: u8, n: usize) -> Host {
        let mut client = Host::new(if n == 1 { "client".to_owned() } else { format!("client{n}") });
        client.plug(self.far_clients, self.far_clients.cidrs(self.clients, host));
        if self.options.router.is_some() {
            client.default_via(self.far_clients, self.clients, ROUTER);
        }
        client
    }

    pub(super) fn balancer(&self, vips: &[IpAddr]) -> Host {
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

    pub(super) fn replica(&self, host: u8, n: usize, vips: &[IpAddr]) -> Host {
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

    pub(super) fn router(&self) -> Option<Host> {
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

    pub(super) fn replica_router(&self) -> Option<Host> {
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
