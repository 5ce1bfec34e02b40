//! Decides: from the config, the probes' reports, what the datapath counts and the next hops to what the datapath is to
//! say. The only place that does, and it touches nothing: time comes as an argument, and what is decided goes out as a
//! [`Desired`].
//!
//! `machine` is one replica of a service, with the config that it obeys: events in, changes of its state out. `service` has those of a
//! service, gives them what they have to know of each other, and `shares` decides by them who gets new flows. A machine is made of
//! parts that know nothing of each other: `health` (rise and fall), `passive` (which failed connections count) and `ramp` (slow start),
//! `agent_check` (what a replica says of itself), `answers` (where its answers go), `replica` (what is shown of it). Two verdicts are
//! about several replicas: `ejection` (whom the passive check takes out) and `suspicion` (probes that nobody answers). `paths` has the
//! next hops; `reconfigure` takes in another config and carries over what is known; `change` is what an operator reads.

mod agent_check;
mod answers;
mod change;
mod ejection;
mod health;
mod limits;
mod machine;
mod passive;
mod paths;
mod ramp;
mod reconfigure;
mod replica;
mod rules;
mod service;
mod shares;
mod suspicion;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use dtr_lb_common::{abi, wire::Mac};
use jiff::Timestamp;

use crate::{
    config::{Access, Affinity, Config, Mode, Replica, Service},
    datapath::{Desired, DesiredReplica, DesiredService, DesiredSettings, SourceRule, service_key},
    next_hop::{NextHop, NextHopError},
    probe::{Certainty, Report},
};

use machine::{Probed, ReplicaMachine};
use paths::{Paths, hop};
use service::ServiceState;

#[cfg(test)]
pub(crate) use health::{ReplicaHealth, RiseFall};

pub use answers::Answers;
pub use change::{
    ANSWERS_PAST, Change, FailedConnections, MACS_UNCHECKED, NARROW_PATH, NO_NAT_ADDRESS, PASSIVE_SET_ASIDE,
    PASSIVE_SPARED, ReplicaChange, SUSPICION, UNSEEN_INTERFACE,
};
pub use passive::{Reading, Witness};
pub use replica::{Cause, Condition, HISTORY, ReplicaState, StateChange};
pub use suspicion::{Circumstances, Suspicion};

/// What is known of next hops, by address.
pub type NextHops = BTreeMap<IpAddr, Result<NextHop, NextHopError>>;

/// A replica of a service, by their places in the config: good for as long as the config is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaPlace {
    pub service: usize,
    pub replica: usize,
}

/// A replica of a service, by what tells it from all others from one config to the next. What is known of it goes by this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    /// The service's name.
    pub service: String,
    pub address: IpAddr,
    /// The replica's own, not the service's.
    pub port: u16,
}

impl ReplicaKey {
    #[must_use]
    pub fn new(service: &Service, replica: &Replica) -> Self {
        Self { service: service.name.clone(), address: replica.address, port: replica.port }
    }
}

/// Now, for those who measure and for those who read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For spans of time: it never jumps.
    pub clock: Instant,
    /// For people: it may.
    pub time: Timestamp,
}

impl Moment {
    /// The moment of the call.
    #[must_use]
    pub fn now() -> Self {
        Self { clock: Instant::now(), time: Timestamp::now() }
    }
}

/// The state of the whole. A clone is there to try something on.
#[derive(Clone, Debug)]
pub struct Control {
    config: Arc<Config>,
    /// In the order of the config.
    services: Vec<ServiceState>,
    places: HashMap<ReplicaKey, ReplicaPlace>,
    paths: Paths,
    /// The Ethernet addresses of this host, where they are known, and fit into the datapath.
    own_macs: Option<BTreeSet<Mac>>,
    macs_fit: bool,
}

impl Control {
    pub fn new(config: Arc<Config>, now: Timestamp) -> Self {
        let services = config.services.iter().map(|service| ServiceState::new(service, now)).collect();
        let places = places(&config);
        Self { config, services, places, paths: Paths::default(), own_macs: None, macs_fit: true }
    }

    /// Takes in the outcome of a probe. Where nothing is returned, [`Self::desired`] is as before; so it is with
    /// [`Self::passive`]. A report about a replica that the config no longer has, or that is in maintenance, says nothing.
    ///
    /// `data_to_client`: see [`Circumstances`].
    pub fn report(&mut self, report: Report<ReplicaKey>, data_to_client: u64, now: Moment) -> Vec<Change> {
        let Report { id, outcome, agent, in_a_row, opposite, late } = report;
        let Some(ReplicaPlace { service, replica }) = self.places.get(&id).copied() else {
            return Vec::new();
        };
        let circumstances = Circumstances { late, data_to_client };
        let probed = Probed { outcome, agent, in_a_row, opposite, circumstances };
        self.services[service].probed(replica, probed, &self.config.datapath, now)
    }

    /// Takes in what the datapath has counted: the passive check of `max_fails` and `fail_timeout`. It takes replicas out
    /// before their probes do, puts them back by itself, never takes the last one, and resets nobody's flows.
    pub fn passive(&mut self, readings: &[Reading], now: Moment) -> Vec<Change> {
        let of = |(place, service): (usize, &mut ServiceState)| {
            let own = readings.iter().filter(|reading| reading.place.service == place);
            service.counted(own, &self.config.datapath, now)
        };
        self.services.iter_mut().enumerate().flat_map(of).collect()
    }

    /// Takes in what the datapath has counted of replicas in mode `dnat`. Changes nothing of [`Self::desired`].
    pub fn answers(&mut self, all: &[Answers]) -> Vec<Change> {
        let of = |answers: &Answers| {
            let ReplicaPlace { service, replica } = answers.place;
            let service = &mut self.services[service];
            let machine = &mut service.replicas[replica];
            let past = machine.answered(answers)?;
            let (service, replica) = (service.rules.service.clone(), machine.replica().name.clone());
            Some(Change::AnswersPast { service, replica, past })
        };
        all.iter().filter_map(of).collect()
    }

    /// Whether the answers of a replica, by its place in the config, are seen to go past this balancer.
    pub fn answers_past(&self, place: ReplicaPlace) -> bool {
        self.config.services[place.service].mode == Mode::Dnat && self.machine(place).answers_past()
    }

    /// What a replica says of itself by its agent, and why that was not heard last; `None` if it was never asked.
    pub fn agent_check(&self, place: ReplicaPlace) -> Option<(String, Option<String>)> {
        let agent = self.machine(place).agent_check();
        Some((agent.says()?, agent.failure().map(str::to_owned)))
    }

    /// What the passive check has read as unanswered last; `None` before the first reading.
    pub fn unanswered(&self, place: ReplicaPlace) -> Option<u64> {
        self.machine(place).unanswered()
    }

    fn machine(&self, place: ReplicaPlace) -> &ReplicaMachine {
        &self.services[place.service].replicas[place.replica]
    }

    fn find(&self, key: &ReplicaKey) -> Option<&ReplicaMachine> {
        self.places.get(key).map(|place| self.machine(*place))
    }

    /// Why this host doubts its own probes of a service, while it does.
    pub fn suspicion(&self, service: usize) -> Option<&Suspicion> {
        self.services[service].suspicion.as_ref()
    }

    /// Ends what is over at `now`: see [`Self::next_due`].
    pub fn tick(&mut self, now: Moment) -> Vec<Change> {
        self.services.iter_mut().flat_map(|service| service.tick(&self.config.datapath, now)).collect()
    }

    /// When [`Self::tick`] and [`Self::desired`] have to be called though nothing was reported; `None` if they need not.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.services.iter().filter_map(|service| service.next_deadline(now)).min()
    }

    /// Takes in the next hops.
    pub fn next_hops(&mut self, next_hops: NextHops) -> Vec<Change> {
        self.paths.take(&self.config, &with_nat(&self.config), next_hops)
    }

    /// Takes in the MTUs, in bytes, of the interfaces that packets come in by.
    pub fn ingress(&mut self, mtus: impl IntoIterator<Item = (String, u32)>) -> Vec<Change> {
        self.paths.ingress(mtus)
    }

    /// The next hops that are not known, and why.
    pub fn missing_next_hops(&self) -> impl Iterator<Item = Change> {
        self.paths.missing()
    }

    /// Whether every replica has been probed, unless it is in maintenance, and every next hop been looked for: what is
    /// decided before is a guess.
    pub fn informed(&self) -> bool {
        let mut all =
            self.services.iter().flat_map(|service| &service.replicas).map(ReplicaMachine::condition);
        let probed = all.all(|known| known.last_probe.is_some() || known.state == ReplicaState::Maint);
        probed && self.addresses().into_iter().all(|address| self.paths.known(address).is_some())
    }

    /// The addresses whose next hops are wanted.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        addresses(&self.config.services)
    }

    /// The effective one: what the file says, with what was ordered since on top.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What is known of a replica; `None` if the config does not have it.
    pub fn condition(&self, key: &ReplicaKey) -> Option<&Condition> {
        self.find(key).map(ReplicaMachine::condition)
    }

    /// How sure it is what the probes make of a replica: they come at another interval each. In doubt if the config does not have it.
    pub fn certainty(&self, key: &ReplicaKey) -> Certainty {
        self.find(key).map_or(Certainty::InDoubt, ReplicaMachine::certainty)
    }

    /// What is known of the replicas of a service, in the order of the config.
    pub fn conditions(&self, service: usize) -> impl Iterator<Item = &Condition> {
        self.services[service].replicas.iter().map(ReplicaMachine::condition)
    }

    /// The share of new flows that each replica of a service has at `now`, in the order of the config.
    pub fn shares(&self, service: usize, now: Instant) -> Vec<u16> {
        self.services[service].shares(self.config.datapath.all_down, now).weights
    }

    /// What the datapath is to say at `now`.
    pub fn desired(&self, now: Instant) -> Desired {
        let datapath = &self.config.datapath;
        let mut services = BTreeMap::new();
        for (state, service) in self.services.iter().zip(&self.config.services) {
            let wanted = DesiredService {
                mode: mode(service.mode),
                source_affinity: service.affinity == Affinity::SourceIp,
                sources: sources(&service.access),
                replicas: self.desired_replicas(state, service.mode, now),
                limits: limits::limits(&self.config, service),
            };
            for vip in &service.vips {
                services.insert(service_key(*vip, service.port), wanted.clone());
            }
        }
        let settings = DesiredSettings {
            hash_seed: datapath.hash_seed,
            nat_ports: datapath.nat_ports.clone(),
            idle_timeout: datapath.idle_timeout,
            own_macs: self.wanted_macs(),
        };
        Desired { settings, services }
    }

    fn desired_replicas(&self, service: &ServiceState, mode: Mode, now: Instant) -> Vec<DesiredReplica> {
        let datapath = &self.config.datapath;
        let shares = service.shares(datapath.all_down, now);
        let of = |(machine, weight): (&ReplicaMachine, &u16)| {
            let (address, port) = machine.end();
            let next_hop = self.paths.known(address);
            DesiredReplica {
                address,
                port,
                weight: *weight,
                hop: next_hop.map(|next_hop| hop(next_hop, &self.config.interfaces)),
                nat: match mode {
                    Mode::Nat => self.paths.nat_addresses(&self.config, address),
                    Mode::Dsr | Mode::Dnat => Vec::new(),
                    Mode::Ipip => vec![datapath.tunnel_sources.towards(address)],
                },
                mtu: next_hop.map_or(0, |hop| hop.mtu),
                reset: shares.reset(machine, datapath.on_down),
            }
        };
        service.replicas.iter().zip(&shares.weights).map(of).collect()
    }
}

fn places(config: &Config) -> HashMap<ReplicaKey, ReplicaPlace> {
    let services = config.services.iter().enumerate();
    let of = |(place, service): (usize, &Service)| {
        let replicas = service.replicas.iter().enumerate();
        let of =
            |(replica, config)| (ReplicaKey::new(service, config), ReplicaPlace { service: place, replica });
        replicas.map(of).collect::<Vec<_>>()
    };
    services.flat_map(of).collect()
}

/// The addresses of replicas that are connected to from an address of this host.
fn with_nat(config: &Config) -> BTreeSet<IpAddr> {
    addresses(config.services.iter().filter(|service| service.mode == Mode::Nat))
}

fn addresses<'a>(services: impl IntoIterator<Item = &'a Service>) -> BTreeSet<IpAddr> {
    services.into_iter().flat_map(|service| &service.replicas).map(|replica| replica.address).collect()
}

pub(crate) fn mode(mode: Mode) -> abi::Mode {
    match mode {
        Mode::Nat => abi::Mode::NAT,
        Mode::Dsr => abi::Mode::DSR,
        Mode::Ipip => abi::Mode::IPIP,
        Mode::Dnat => abi::Mode::DNAT,
    }
}

fn sources(access: &Access) -> Vec<SourceRule> {
    let rules = |prefixes: &[ipnet::IpNet], allow| {
        prefixes.iter().map(|prefix| SourceRule { prefix: *prefix, allow }).collect::<Vec<_>>()
    };
    [rules(&access.allowed, true), rules(&access.denied, false)].concat()
}

#[cfg(test)]
mod tests;
