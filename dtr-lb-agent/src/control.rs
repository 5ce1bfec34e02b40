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
    datapath::{Desired, DesiredReplica, DesiredService, DesiredSettings, service_key},
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
    /// All replicas of the service have been found to be down, or one is up (again).
    Service {
        service: String,
        up: bool,
        consequence: &'static str,
    },
    /// This host could not ask a replica, or can again: no word about the replica, whose state stays as it is.
    Probing {
        service: String,
        replica: String,
        /// Why it could not.
        failure: Option<String>,
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
    /// Packets that come in by `ingress` may be too large for the way to this replica.
    NarrowPath {
        address: IpAddr,
        /// Bytes.
        mtu: u32,
        ingress: String,
        /// Bytes.
        ingress_mtu: u32,
    },
}

/// What [`Change::UnseenInterface`] means, and what to do.
pub const UNSEEN_INTERFACE: &str = "the replica is reached by an interface that is not in `interfaces`, so its answers \
     would not pass the datapath: add it to the config";

/// What [`Change::NarrowPath`] means, and what to do.
pub const NARROW_PATH: &str = "the way to the replica takes smaller packets than an interface that packets come in by, and \
     the datapath does not cut packets up: large ones may get lost; give both the same MTU";

/// The state of the whole.
#[derive(Debug)]
pub struct Control {
    config: Arc<Config>,
    /// By service, by replica, as in the config.
    conditions: Vec<Vec<Condition>>,
    /// By service: whether it was last told to be up; `None` before the first word.
    told_up: Vec<Option<bool>>,
    next_hops: NextHops,
    /// The largest MTU of the interfaces that packets come in by, in bytes, and which it is.
    widest_ingress: Option<(u32, String)>,
    /// Addresses whose narrow path has been told.
    told_narrow: BTreeSet<IpAddr>,
}

impl Control {
    pub fn new(config: Arc<Config>, now: Timestamp) -> Self {
        let fresh = Condition { state: State::Starting, since: now, last_probe: None };
        let conditions =
            config.services.iter().map(|service| vec![fresh.clone(); service.replicas.len()]).collect();
        let told_up = vec![None; config.services.len()];
        Self {
            config,
            conditions,
            told_up,
            next_hops: NextHops::new(),
            widest_ingress: None,
            told_narrow: BTreeSet::new(),
        }
    }

    /// Takes in the outcome of a probe.
    pub fn report(&mut self, report: Report<ReplicaPlace>, now: Timestamp) -> Vec<Change> {
        let ReplicaPlace { service: service_place, replica: place } = report.id;
        let service = &self.config.services[service_place];
        let condition = &mut self.conditions[service_place][place];
        let replica = &service.replicas[place];
        let reason = reason(&report.outcome);
        let mut changes = Vec::new();
        let failure = local_failure(&report.outcome);
        if failure.is_some() != condition.last_probe.as_ref().and_then(local_failure).is_some() {
            let (service, replica) = (service.name.clone(), replica.name.clone());
            changes.push(Change::Probing { service, replica, failure });
        }
        condition.last_probe = Some(report.outcome);
        let Some(transition) = report.transition else { return changes };
        condition.state = transition.to;
        condition.since = now;
        changes.push(Change::Replica {
            service: service.name.clone(),
            replica: replica.name.clone(),
            address: replica.address,
            port: replica.port,
            from: transition.from,
            to: transition.to,
            reason,
        });
        let told = &mut self.told_up[service_place];
        let any = |state| self.conditions[service_place].iter().any(|condition| condition.state == state);
        // While none is up and one is still starting there is nothing to tell, unless it was up before.
        let up = any(State::Up);
        if *told != Some(up) && (up || told.is_some() || !any(State::Starting)) {
            *told = Some(up);
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
        changes.extend(self.narrow_paths());
        changes
    }

    /// Takes in the MTUs, in bytes, of the interfaces that packets come in by.
    pub fn ingress(&mut self, mtus: impl IntoIterator<Item = (String, u32)>) -> Vec<Change> {
        self.widest_ingress = mtus.into_iter().map(|(name, mtu)| (mtu, name)).max();
        self.narrow_paths()
    }

    /// The replicas that have come to be reached by less than what may come in, each once.
    fn narrow_paths(&mut self) -> Vec<Change> {
        let Some((ingress_mtu, ingress)) = &self.widest_ingress else { return Vec::new() };
        let hops =
            self.next_hops.iter().filter_map(|(address, hop)| Some((*address, hop.as_ref().ok()?.mtu)));
        let narrow: BTreeMap<_, _> = hops.filter(|(_, mtu)| mtu < ingress_mtu).collect();
        self.told_narrow.retain(|address| narrow.contains_key(address));
        let fresh = narrow.into_iter().filter(|(address, _)| self.told_narrow.insert(*address));
        fresh
            .map(|(address, mtu)| Change::NarrowPath {
                address,
                mtu,
                ingress: ingress.clone(),
                ingress_mtu: *ingress_mtu,
            })
            .collect()
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
                        mtu: next_hop.map_or(0, |hop| hop.mtu),
                        reset: false,
                    }
                })
                .collect();
            for vip in &service.vips {
                services.insert(service_key(*vip, service.port), DesiredService::nat(replicas.clone()));
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

fn hop(next_hop: &NextHop) -> Hop {
    Hop {
        interface: next_hop.ifindex,
        destination: bytemuck::cast(next_hop.destination_mac),
        source: bytemuck::cast(next_hop.source_mac),
    }
}

/// Why this host itself could not ask, if that is what happened.
fn local_failure(outcome: &Outcome) -> Option<String> {
    outcome.error.as_ref().filter(|failure| failure.is_local()).map(ToString::to_string)
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
