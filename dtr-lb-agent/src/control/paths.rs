//! The ways to the replicas: next hops, and what is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use dtr_lb_common::abi::{Hop, Vlans};

use super::{Change, NextHops};
use crate::{
    config::Config,
    next_hop::{NextHop, NextHopError},
};

/// What is known of the ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    next_hops: NextHops,
    /// The largest MTU of the interfaces that packets come in by, in bytes, and which it is.
    widest_ingress: Option<(u32, String)>,
    /// Addresses whose narrow path has been notified.
    notified_narrow: BTreeSet<IpAddr>,
    /// Addresses that lack a NAT address, as notified.
    notified_no_nat: BTreeSet<IpAddr>,
    /// Addresses, and the interfaces that lead there, which the datapath does not see, as notified.
    notified_unseen: BTreeSet<(IpAddr, String)>,
}

impl Paths {
    /// Takes in the next hops. `with_nat`: the replicas that are connected to from an address of this host.
    pub(super) fn take(
        &mut self,
        config: &Config,
        with_nat: &BTreeSet<IpAddr>,
        next_hops: NextHops,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (address, result) in &next_hops {
            if self.next_hops.get(address) == Some(result) {
                continue;
            }
            changes.push(Change::NextHop { address: *address, result: result.clone() });
        }
        self.next_hops = next_hops;
        changes.extend(self.unseen(config));
        changes.extend(self.without_nat(config, with_nat));
        changes.extend(self.narrow());
        changes
    }

    /// Takes in another config, of which `wanted` are the addresses of replicas.
    pub(super) fn reconfigured(
        &mut self,
        config: &Config,
        wanted: &BTreeSet<IpAddr>,
        with_nat: &BTreeSet<IpAddr>,
    ) -> Vec<Change> {
        self.next_hops.retain(|address, _| wanted.contains(address));
        let mut changes = self.unseen(config);
        changes.extend(self.without_nat(config, with_nat));
        changes
    }

    /// Takes in the MTUs, in bytes, of the interfaces that packets come in by.
    pub(super) fn ingress(&mut self, mtus: impl IntoIterator<Item = (String, u32)>) -> Vec<Change> {
        self.widest_ingress = mtus.into_iter().map(|(name, mtu)| (mtu, name)).max();
        self.narrow()
    }

    pub(super) fn known(&self, address: IpAddr) -> Option<&NextHop> {
        self.next_hops.get(&address)?.as_ref().ok()
    }

    /// The next hops that are not known, and why.
    pub(super) fn missing(&self) -> impl Iterator<Item = Change> {
        let missing = self.next_hops.iter().filter(|(_, result)| result.is_err());
        missing.map(|(address, result)| Change::NextHop { address: *address, result: result.clone() })
    }

    /// Source addresses of connections to a replica: the configured ones of its family, or else the one with which this
    /// host itself would connect.
    pub(super) fn nat_addresses(&self, config: &Config, replica: IpAddr) -> Vec<IpAddr> {
        let fits = |address: &IpAddr| address.is_ipv4() == replica.is_ipv4();
        let configured: Vec<_> = config.datapath.nat_addresses.iter().copied().filter(fits).collect();
        if !configured.is_empty() {
            return configured;
        }
        self.known(replica).map(|hop| hop.source).filter(fits).into_iter().collect()
    }

    /// The replicas that have come to be reached by an interface that the datapath is not on, each once.
    fn unseen(&mut self, config: &Config) -> Vec<Change> {
        let of = |(address, hop): (&IpAddr, &Result<NextHop, NextHopError>)| {
            let hop = hop.as_ref().ok()?;
            hop.by(&config.interfaces).is_none().then(|| (*address, hop.interface.clone()))
        };
        let unseen: BTreeSet<_> = self.next_hops.iter().filter_map(of).collect();
        let fresh = unseen.difference(&self.notified_unseen).cloned();
        let changes =
            fresh.map(|(address, interface)| Change::UnseenInterface { address, interface }).collect();
        self.notified_unseen = unseen;
        changes
    }

    /// The replicas that the host knows the way to, but has no address for, each once.
    fn without_nat(&mut self, config: &Config, with_nat: &BTreeSet<IpAddr>) -> Vec<Change> {
        let lacks = |address: &&IpAddr| {
            self.known(**address).is_some() && self.nat_addresses(config, **address).is_empty()
        };
        let lacking: BTreeSet<_> = with_nat.iter().filter(lacks).copied().collect();
        let fresh = lacking
            .difference(&self.notified_no_nat)
            .map(|address| Change::NoNatAddress { address: *address });
        let changes = fresh.collect();
        self.notified_no_nat = lacking;
        changes
    }

    /// The replicas that have come to be reached by less than what may come in, each once.
    fn narrow(&mut self) -> Vec<Change> {
        let Some((ingress_mtu, ingress)) = &self.widest_ingress else { return Vec::new() };
        let hops =
            self.next_hops.iter().filter_map(|(address, hop)| Some((*address, hop.as_ref().ok()?.mtu)));
        let narrow: BTreeMap<_, _> = hops.filter(|(_, mtu)| mtu < ingress_mtu).collect();
        self.notified_narrow.retain(|address| narrow.contains_key(address));
        let fresh = narrow.into_iter().filter(|(address, _)| self.notified_narrow.insert(*address));
        fresh
            .map(|(address, mtu)| Change::NarrowPath {
                address,
                mtu,
                ingress: ingress.clone(),
                ingress_mtu: *ingress_mtu,
            })
            .collect()
    }
}

/// A next hop as the datapath has it, which is on `interfaces`.
pub(super) fn hop(next_hop: &NextHop, interfaces: &[String]) -> Hop {
    let (interface, vlans) = match next_hop.by(interfaces) {
        Some(carrier) => (carrier.ifindex, carrier.vlans),
        None => (next_hop.ifindex, Vlans::NONE),
    };
    Hop {
        interface,
        destination: bytemuck::cast(next_hop.destination_mac),
        source: bytemuck::cast(next_hop.source_mac),
        vlans,
    }
}
