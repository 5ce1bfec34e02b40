//! Decides: from the config, the probes' reports and the next hops to what the datapath is to say. The only place that
//! does, and it touches nothing: time comes as an argument, and what is decided goes out as a [`Desired`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use dtr_lb_common::abi::Hop;
use jiff::Timestamp;

use crate::{
    config::{AllDown, Config, Service},
    datapath::{Desired, DesiredReplica, DesiredSettings, service_key},
    next_hop::{NextHop, NextHopError},
    probe::{Outcome, Report, State},
};

/// What is known of next hops, by address.
pub type NextHops = BTreeMap<IpAddr, Result<NextHop, NextHopError>>;

/// A replica of a service, by their places in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaPlace {
    pub service: usize,
    pub replica: usize,
}

/// What is known of a replica of a service.
#[derive(Clone, Debug)]
pub struct Condition {
    pub state: State,
    /// Since when it is in this state.
    pub since: Timestamp,
    pub last_probe: Option<Outcome>,
}

/// Something that an operator wants to read once.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Replica {
        service: String,
        replica: String,
        address: IpAddr,
        port: u16,
        from: State,
        to: State,
        reason: String,
    },
    /// No replica of the service is up any more, or one is again.
    Service {
        service: String,
        up: bool,
        consequence: &'static str,
    },
    NextHop {
        address: IpAddr,
        result: Result<NextHop, NextHopError>,
    },
    /// Packets of this replica would come in by an interface that the datapath does not see.
    UnseenInterface {
        address: IpAddr,
        interface: String,
    },
}

/// The state of the whole.
#[derive(Debug)]
pub struct Control {
    config: Arc<Config>,
    /// By service, by replica, as in the config.
    conditions: Vec<Vec<Condition>>,
    next_hops: NextHops,
}

impl Control {
    pub fn new(config: Arc<Config>, now: Timestamp) -> Self {
        let fresh = Condition { state: State::Starting, since: now, last_probe: None };
        let conditions =
            config.services.iter().map(|service| vec![fresh.clone(); service.replicas.len()]).collect();
        Self { config, conditions, next_hops: NextHops::new() }
    }

    /// Takes in the outcome of a probe.
    pub fn report(&mut self, report: Report<ReplicaPlace>, now: Timestamp) -> Vec<Change> {
        let ReplicaPlace { service: service_place, replica: place } = report.id;
        let service = &self.config.services[service_place];
        let was_up = service_up(&self.conditions[service_place]);
        let condition = &mut self.conditions[service_place][place];
        let reason = reason(&report.outcome);
        condition.last_probe = Some(report.outcome);
        let Some(transition) = report.transition else { return Vec::new() };
        condition.state = transition.to;
        condition.since = now;
        let replica = &service.replicas[place];
        let mut changes = vec![Change::Replica {
            service: service.name.clone(),
            replica: replica.name.clone(),
            address: replica.address,
            port: replica.port,
            from: transition.from,
            to: transition.to,
            reason,
        }];
        let up = service_up(&self.conditions[service_place]);
        if up != was_up {
            let consequence = match (up, self.config.datapath.all_down) {
                (true, _) => "new connections go to replicas that are up",
                (false, AllDown::FailOpen) => "new connections go to all replicas (all_down = \"fail-open\")",
                (false, AllDown::Refuse) => "new connections are dropped (all_down = \"refuse\")",
            };
            changes.push(Change::Service { service: service.name.clone(), up, consequence });
        }
        changes
    }

    /// Takes in the next hops.
    pub fn next_hops(&mut self, next_hops: NextHops) -> Vec<Change> {
        let mut changes = Vec::new();
        for (address, result) in &next_hops {
            if self.next_hops.get(address) == Some(result) {
                continue;
            }
            changes.push(Change::NextHop { address: *address, result: result.clone() });
            if let Ok(hop) = result
                && !self.config.interfaces.contains(&hop.interface)
            {
                changes.push(Change::UnseenInterface { address: *address, interface: hop.interface.clone() });
            }
        }
        self.next_hops = next_hops;
        changes
    }

    /// The next hops that are not known, and why.
    pub fn missing_next_hops(&self) -> impl Iterator<Item = Change> {
        let missing = self.next_hops.iter().filter(|(_, result)| result.is_err());
        missing.map(|(address, result)| Change::NextHop { address: *address, result: result.clone() })
    }

    /// Whether every replica has been probed, and every next hop been looked for: what is decided before is a guess.
    pub fn informed(&self) -> bool {
        let probed = self.conditions.iter().flatten().all(|condition| condition.last_probe.is_some());
        let known = |address: &IpAddr| matches!(self.next_hops.get(address), Some(Ok(_)));
        probed && self.addresses().iter().all(known)
    }

    /// The addresses whose next hops are wanted.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let replicas = self.config.services.iter().flat_map(|service| &service.replicas);
        replicas.map(|replica| replica.address).collect()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is known of the replicas of a service, in the order of the config.
    pub fn conditions(&self, service: usize) -> &[Condition] {
        &self.conditions[service]
    }

    /// What the datapath is to say.
    pub fn desired(&self) -> Desired {
        let datapath = &self.config.datapath;
        let mut services = BTreeMap::new();
        for (service, conditions) in self.config.services.iter().zip(&self.conditions) {
            let weights = weights(service, conditions, datapath.all_down);
            let replicas: Vec<_> = service
                .replicas
                .iter()
                .zip(weights)
                .map(|(replica, weight)| {
                    let next_hop = self.next_hops.get(&replica.address).and_then(|hop| hop.as_ref().ok());
                    DesiredReplica {
                        address: replica.address,
                        port: replica.port,
                        weight,
                        hop: next_hop.map(hop),
                        nat: self.nat_addresses(replica.address, next_hop),
                    }
                })
                .collect();
            for vip in &service.vips {
                services.insert(service_key(*vip, service.port), replicas.clone());
            }
        }
        let settings = DesiredSettings {
            hash_seed: datapath.hash_seed,
            nat_ports: datapath.nat_ports.clone(),
            idle_timeout: datapath.idle_timeout,
        };
        Desired { settings, services }
    }

    /// The configured ones of the replica's family, or else the address with which this host itself would connect.
    fn nat_addresses(&self, replica: IpAddr, next_hop: Option<&NextHop>) -> Vec<IpAddr> {
        let configured = &self.config.datapath.nat_addresses;
        let of_family: Vec<_> =
            configured.iter().filter(|address| address.is_ipv4() == replica.is_ipv4()).copied().collect();
        if of_family.is_empty() { next_hop.map(|hop| hop.source).into_iter().collect() } else { of_family }
    }
}

/// The share of each replica: its weight if it is up. With none up, `all_down` decides: fail-open takes those that are
/// not known to be bad, if there are any, and else all.
fn weights(service: &Service, conditions: &[Condition], all_down: AllDown) -> Vec<u16> {
    let take = |wanted: fn(State) -> bool| -> Option<Vec<u16>> {
        let of = |(replica, condition): (&crate::config::Replica, &Condition)| {
            if wanted(condition.state) { replica.weight } else { 0 }
        };
        let weights: Vec<_> = service.replicas.iter().zip(conditions).map(of).collect();
        weights.iter().any(|weight| *weight > 0).then_some(weights)
    };
    let chosen = take(|state| state == State::Up).or_else(|| match all_down {
        AllDown::FailOpen => take(|state| state == State::Starting).or_else(|| take(|_| true)),
        AllDown::Refuse => None,
    });
    chosen.unwrap_or_else(|| vec![0; service.replicas.len()])
}

fn service_up(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.state == State::Up)
}

fn hop(next_hop: &NextHop) -> Hop {
    Hop {
        interface: next_hop.ifindex,
        destination: bytemuck::cast(next_hop.destination_mac),
        source: bytemuck::cast(next_hop.source_mac),
    }
}

fn reason(outcome: &Outcome) -> String {
    match (&outcome.error, outcome.status) {
        (Some(failure), _) => failure.to_string(),
        (None, Some(status)) => format!("status {status}"),
        (None, None) => "it answers".into(),
    }
}

#[cfg(test)]
mod tests;
