//! Where the cables go: which namespace has which interface, with which addresses and routes, on which segment.
//!
//! The plan is pure: it is made from the options and rendered as batches for `ip`. Every lab uses the same
//! addresses, since each has namespaces of its own. An interface has a list of addresses of either family.
//!
//! ```text
//! clients ── 3 ── router ── 0 or 1 ── balancer ── 0 or 2 ── rrouter ── 4 ── replicas
//! ```
//! The numbers are the segments'. Without a router its far segment is not there either, and the hosts stand on the near
//! one. In a direct lab with two arms the router also joins segments 1 and 2: the answers' way past the balancer.

mod host;
mod segment;
mod sides;

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

pub(super) use self::host::Host;
use self::{
    host::Cable,
    segment::Segment,
    sides::{REPLICA_ROUTER, Sides},
};
use super::{error::Error, options::LabOptions, topology::SERVICE_NAME};

/// Host parts of the addresses, the same on every segment; more are in `sides`. Further VIPs count down from the first.
const VIP: u8 = 10;
const FIRST_REPLICA: u8 = 11;
const FIRST_CLIENT: u8 = 100;
const MOST_REPLICAS: usize = (FIRST_CLIENT - FIRST_REPLICA) as usize;
const MOST_CLIENTS: usize = 100;
const MOST_VIPS: usize = (VIP - REPLICA_ROUTER) as usize;

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
    queues: usize,
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
            queues: options.queues,
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
        let queues = format!("numtxqueues {0} numrxqueues {0}", self.queues);
        for host in self.hosts() {
            let namespace = namespace_of(&host.name);
            for Cable { interface, switch_port, segment, addresses: _ } in &host.cables {
                push(
                    &mut batch,
                    format_args!(
                        "link add {switch_port} mtu {mtu} {queues} type veth peer name {interface} mtu {mtu} {queues} netns {namespace}"
                    ),
                );
                push(&mut batch, format_args!("link set {switch_port} master {} up", segment.bridge));
            }
        }
        batch
    }
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
