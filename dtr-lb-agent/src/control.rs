//! Decides: from the config, the probes' reports, what the datapath counts and the next hops to what the datapath is to
//! say. The only place that does, and it touches nothing: time comes as an argument, and what is decided goes out as a
//! [`Desired`].
//!
//! `service` keeps what `replica` knows of each, and `shares` decides by it who gets new flows; `passive` (what counts) and `ejection`
//! (whom it takes out), and `ramp`, are the two things that time alone ends; `suspicion` is about probes that nobody answers;
//! `own_word` is what a replica's agent says; `answers` notices replicas whose answers go another way; `paths` has the ways to the replicas; `reconfigure` takes in another config and carries over what is
//! known; `change` has the words for the operator.

mod answers;
mod change;
mod ejection;
mod limits;
mod own_word;
mod passive;
mod paths;
mod ramp;
mod reconfigure;
mod replica;
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
    config::{Access, Admin, Affinity, Config, Mode, Replica, Service},
    datapath::{Desired, DesiredReplica, DesiredService, DesiredSettings, SourceRule, service_key},
    next_hop::{NextHop, NextHopError},
    probe::{Report, State},
};

use paths::{Paths, hop};
use service::{Probed, Standing};

pub use answers::Answers;
pub use change::{
    ANSWERS_PAST, Change, MACS_UNCHECKED, NARROW_PATH, NO_NAT_ADDRESS, PASSIVE_SET_ASIDE, PASSIVE_SPARED,
    SUSPICION, UNSEEN_INTERFACE,
};
pub use passive::{Reading, Witness};
pub use replica::{Condition, HISTORY, ReplicaState, StateChange};
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
    services: Vec<Standing>,
    places: HashMap<ReplicaKey, ReplicaPlace>,
    paths: Paths,
    /// The Ethernet addresses of this host, where they are known, and fit into the datapath.
    own_macs: Option<BTreeSet<Mac>>,
    macs_fit: bool,
}

impl Control {
    pub fn new(config: Arc<Config>, now: Timestamp) -> Self {
        let services = config.services.iter().map(|service| Standing::new(service, now)).collect();
        let places = places(&config);
        Self { config, services, places, paths: Paths::default(), own_macs: None, macs_fit: true }
    }

    /// Takes in the outcome of a probe. Where nothing is returned, [`Self::desired`] is as before; so it is with
    /// [`Self::passive`]. A report about a replica that the config no longer has, or that is in maintenance, says nothing.
    ///
    /// `data_to_client`: see [`Circumstances`].
    pub fn report(&mut self, report: Report<ReplicaKey>, data_to_client: u64, now: Moment) -> Vec<Change> {
        let Report { id, outcome, agent, state, transition: _, late } = report;
        let Some(ReplicaPlace { service, replica }) = self.places.get(&id).copied() else {
            return Vec::new();
        };
        let Config { services, datapath, .. } = &*self.config;
        if services[service].replicas[replica].admin == Admin::Maint {
            return Vec::new();
        }
        let circumstances = Circumstances { late, data_to_client };
        let probed = Probed { place: replica, outcome, agent, state };
        self.services[service].probed(&services[service], datapath, probed, circumstances, now)
    }

    /// Takes in what the datapath has counted: the passive check of `max_fails` and `fail_timeout`. It takes replicas out
    /// before their probes do, puts them back by itself, never takes the last one, and resets nobody's flows.
    pub fn passive(&mut self, readings: &[Reading], now: Moment) -> Vec<Change> {
        let services = self.services.iter_mut().zip(&self.config.services).enumerate();
        let of = |(place, (standing, service)): (usize, (&mut Standing, &Service))| {
            let own = readings.iter().filter(|reading| reading.place.service == place);
            standing.failed(service, own, now)
        };
        services.flat_map(of).collect()
    }

    /// Takes in what the datapath has counted of replicas in mode `dnat`. Changes nothing of [`Self::desired`].
    pub fn answers(&mut self, all: &[Answers]) -> Vec<Change> {
        let of = |answers: &Answers| {
            let ReplicaPlace { service, replica } = answers.place;
            let past = self.services[service].replicas[replica].answers.read(answers)?;
            let service = &self.config.services[service];
            Some(Change::AnswersPast {
                service: service.name.clone(),
                replica: service.replicas[replica].name.clone(),
                past,
            })
        };
        all.iter().filter_map(of).collect()
    }

    /// Whether the answers of a replica, by its place in the config, are seen to go past this balancer.
    pub fn answers_past(&self, place: ReplicaPlace) -> bool {
        let ReplicaPlace { service, replica } = place;
        self.config.services[service].mode == Mode::Dnat
            && self.services[service].replicas[replica].answers.past()
    }

    /// What a replica says of itself by its agent, and why that was not heard last; `None` if it was never asked.
    pub fn own_word(&self, place: ReplicaPlace) -> Option<(String, Option<String>)> {
        let own = &self.services[place.service].replicas[place.replica].own;
        Some((own.says()?, own.failure().map(str::to_owned)))
    }

    /// What the passive check has read as unanswered last; `None` before the first reading.
    pub fn unanswered(&self, place: ReplicaPlace) -> Option<u64> {
        self.services[place.service].replicas[place.replica].failures.unanswered()
    }

    /// Why this host doubts its own probes of a service, while it does.
    pub fn suspicion(&self, service: usize) -> Option<&Suspicion> {
        self.services[service].suspicion.as_ref()
    }

    /// Ends what is over at `now`: see [`Self::next_due`].
    pub fn tick(&mut self, now: Moment) -> Vec<Change> {
        let services = self.services.iter_mut().zip(&self.config.services);
        services.flat_map(|(standing, service)| standing.tick(service, now)).collect()
    }

    /// When [`Self::tick`] and [`Self::desired`] have to be called though nothing was reported; `None` if they need not.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.services.iter().filter_map(|standing| standing.next_due(now)).min()
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
        let mut all = self.services.iter().flat_map(|standing| &standing.replicas);
        let probed = all.all(|known| {
            known.condition.last_probe.is_some() || known.condition.state == ReplicaState::Maint
        });
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
        let ReplicaPlace { service, replica } = self.places.get(key)?;
        Some(&self.services[*service].replicas[*replica].condition)
    }

    /// What the probes have made of a replica; `None` if the config does not have it.
    pub fn probed(&self, key: &ReplicaKey) -> Option<State> {
        let ReplicaPlace { service, replica } = self.places.get(key)?;
        Some(self.services[*service].replicas[*replica].probed)
    }

    /// What is known of the replicas of a service, in the order of the config.
    pub fn conditions(&self, service: usize) -> impl Iterator<Item = &Condition> {
        self.services[service].replicas.iter().map(|known| &known.condition)
    }

    /// The share of new flows that each replica of a service has at `now`, in the order of the config.
    pub fn shares(&self, service: usize, now: Instant) -> Vec<u16> {
        let all_down = self.config.datapath.all_down;
        self.services[service].shares(&self.config.services[service], all_down, now).weights
    }

    /// What the datapath is to say at `now`.
    pub fn desired(&self, now: Instant) -> Desired {
        let datapath = &self.config.datapath;
        let mut services = BTreeMap::new();
        for (standing, service) in self.services.iter().zip(&self.config.services) {
            let wanted = DesiredService {
                mode: mode(service.mode),
                source_affinity: service.affinity == Affinity::SourceIp,
                sources: sources(&service.access),
                replicas: self.desired_replicas(standing, service, now),
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

    fn desired_replicas(&self, standing: &Standing, service: &Service, now: Instant) -> Vec<DesiredReplica> {
        let datapath = &self.config.datapath;
        let shares = standing.shares(service, datapath.all_down, now);
        let replicas = service.replicas.iter().zip(&shares.weights).enumerate();
        replicas
            .map(|(place, (replica, weight))| {
                let next_hop = self.paths.known(replica.address);
                DesiredReplica {
                    address: replica.address,
                    port: replica.port,
                    weight: *weight,
                    hop: next_hop.map(|next_hop| hop(next_hop, &self.config.interfaces)),
                    nat: match service.mode {
                        Mode::Nat => self.paths.nat_addresses(&self.config, replica.address),
                        Mode::Dsr | Mode::Dnat => Vec::new(),
                        Mode::Ipip => vec![datapath.tunnel_sources.towards(replica.address)],
                    },
                    mtu: next_hop.map_or(0, |hop| hop.mtu),
                    reset: standing.reset(service, place, datapath.on_down, &shares),
                }
            })
            .collect()
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

fn mode(mode: Mode) -> abi::Mode {
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
