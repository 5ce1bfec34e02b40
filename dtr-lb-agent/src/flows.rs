//! `dtr-lb flows`: the connections that the datapath knows.
//!
//! The walk reads the table in place, mapped into memory, and keeps no more than twice what it shows (`best`), so that a million
//! entries cost neither the main loop's time nor memory. `traffic` says what a connection has carried. `text` is the same for people.

mod best;
mod text;
mod traffic;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use dtr_lb_common::{
    abi::{self, Direction, Flow, Mode, Replica, ReplicaId, ServiceKey, Settings, State, Ticks, Tuple},
    flow_table,
    pipeline::sweep::outlived,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    config::prefix_or_none,
    datapath::{DatapathError, Reader},
    directory::{Directory, end},
};
use best::Best;
use traffic::Carried;

pub(crate) use text::{bytes, span};

/// Shown if nobody says how many.
pub const LIMIT: usize = 1000;
/// The same of those that have most of something.
pub const TOP_LIMIT: usize = 10;
/// Shown at most: what is kept of each has some hundred bytes.
pub const MOST: usize = 100_000;

/// Which connections are shown: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The client's address is in it.
    #[serde(default, deserialize_with = "prefix_or_none")]
    pub client: Option<IpNet>,
    /// The replica's name or address.
    pub replica: Option<String>,
    pub service: Option<String>,
    /// One of [`State::name`].
    pub state: Option<String>,
    /// How many are shown; [`LIMIT`] if it is not given, or [`TOP_LIMIT`] with `top`.
    pub limit: Option<usize>,
    /// Those that have most of it, the first one most.
    pub top: Option<Top>,
    /// Handshakes, too.
    #[serde(default)]
    pub half_open: bool,
}

/// By what connections are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Top {
    Bytes,
    Packets,
    Age,
}

impl Top {
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Packets, Self::Age];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Packets => "packets",
            Self::Age => "age",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    pub flows: Vec<FlowLine>,
    /// How many match.
    pub matched: u64,
    /// How many of them are not in `flows`, which has a limit.
    pub left_out: u64,
    /// How many there are, whether they match or not.
    pub in_all: u64,
    /// Of these, those that may still carry data: what `status` counts as flows.
    pub carrying: u64,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowLine {
    pub client: SocketAddr,
    /// The service's address and port.
    pub vip: SocketAddr,
    /// None if nothing is configured at that address any more.
    pub service: Option<String>,
    /// Where the replica sees the connection come from; none if it sees the client itself.
    pub nat: Option<SocketAddr>,
    /// Its name, or its address if it is configured no more.
    pub replica: String,
    pub replica_address: Option<SocketAddr>,
    pub mode: String,
    pub state: String,
    /// A handshake that is not over.
    pub half_open: bool,
    /// Since the last packet, of either direction.
    pub idle_seconds: f64,
    /// Since it was opened; none where the client has opened another one by the same address and port.
    pub age_seconds: Option<f64>,
    /// What it has carried; none where that is not counted.
    pub packets_to_replica: Option<u64>,
    pub bytes_to_replica: Option<u64>,
    pub packets_to_client: Option<u64>,
    pub bytes_to_client: Option<u64>,
}

/// Why nothing can be listed.
#[derive(Debug, thiserror::Error)]
pub enum FlowsError {
    #[error("no {what} is called `{name}`; there are: {known}")]
    Unknown { what: &'static str, name: String, known: String },
    #[error("`{name}` is no state of a connection; there are: {}", states().join(", "))]
    State { name: String },
    #[error(
        "at most {MOST} flows are listed at once, not {0}; narrow it down by client, replica, service or state"
    )]
    Limit(usize),
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// The names of all states.
pub fn states() -> Vec<&'static str> {
    State::ALL.iter().map(|state| state.name()).collect()
}

/// Looks through the tables at `now`, by the kernel's clock. May take seconds.
pub fn list(
    query: &Query,
    reader: &Reader,
    directory: &Directory,
    now: Ticks,
) -> Result<Listing, FlowsError> {
    let replicas = reader.replicas()?;
    let filter = Filter::new(query, directory, &replicas)?;
    let mut listing = Listing { flows: Vec::new(), matched: 0, left_out: 0, in_all: 0, carrying: 0 };
    let Some(settings) = reader.settings()? else { return Ok(listing) };
    let mut found = Best::new(filter.limit);
    let table = reader.table_words();
    for flow in table.entries(0..table.buckets()) {
        let Some(ends) = Ends::of(&flow) else { continue };
        let mut other: Flow = bytemuck::Zeroable::zeroed();
        let paired = flow.state() != State::TIME_WAIT_HELD && flow_table::partner(&table, &flow, &mut other);
        let other_seen = if paired { other.last_seen } else { flow.last_seen };
        let half_open = flow.state().handshake();
        if outlived(&settings, &flow, other_seen, now) || (half_open && !filter.half_open) {
            continue;
        }
        listing.in_all += 1;
        listing.carrying += u64::from(flow.state().live());
        if filter.takes(&ends, &flow) {
            listing.matched += 1;
            let newer = other_seen.wrapping_sub(flow.last_seen) as i32 > 0;
            let last_seen = if newer { other_seen } else { flow.last_seen };
            let carried = Carried::of(&table, &flow, paired.then_some(&other));
            let rank = match query.top {
                None => u64::from(flow.state().live()),
                Some(Top::Age) => age(&flow, now).unwrap_or_default().into(),
                Some(Top::Bytes) => carried.bytes(),
                Some(Top::Packets) => carried.packets(),
            };
            found.offer(rank, (ends, flow, last_seen, carried));
        }
    }
    let mut found = found.into_sorted();
    listing.left_out = listing.matched - found.len() as u64;
    if query.top.is_none() {
        found.sort_by_key(|(ends, flow, ..)| (!flow.state().live(), ends.client_end(), ends.vip()));
    }
    let seconds = |ticks: Ticks| f64::from(ticks) / f64::from(settings_second(&settings));
    for (ends, flow, last_seen, carried) in found {
        let idle_seconds = seconds(abi::age(last_seen, now));
        let age_seconds = age(&flow, now).map(seconds);
        let replica = replicas.get(&flow.replica);
        listing.flows.push(line(&ends, &flow, (idle_seconds, age_seconds), carried, replica, directory));
    }
    Ok(listing)
}

/// What is left of a connection whose client's entry is gone does not say it.
fn age(flow: &Flow, now: Ticks) -> Option<Ticks> {
    flow.direction().from_client().then(|| abi::age(flow.opened, now))
}

fn settings_second(settings: &Settings) -> Ticks {
    settings.second.max(1)
}

/// The ends of a connection, by the entry that stands for it.
struct Ends {
    /// The tuple of the client's packets.
    client: Tuple,
    /// Where the replica sees it come from, if that is not the client.
    nat: Option<SocketAddr>,
}

impl Ends {
    /// Nothing for the entry of the replica's packets, as that of the client's stands for both; but where the client has
    /// opened another connection with the same address and port, the replica's is all that is left.
    fn of(flow: &Flow) -> Option<Self> {
        // `seen` is the tuple of the client's packets as they reach the replica.
        let ends = |client: Tuple, seen: Tuple| {
            let end = (seen.source, seen.source_port);
            let changed = end != (client.source, client.source_port);
            let nat = changed.then(|| SocketAddr::new(end.0.into(), end.1.get()));
            Some(Self { client, nat })
        };
        match flow.direction() {
            Direction::ToReplica | Direction::Direct => ends(flow.key, flow.to),
            Direction::ToClient if flow.state() == State::TIME_WAIT_HELD => {
                ends(flow.to.reversed(), flow.key.reversed())
            }
            Direction::ToClient => None,
        }
    }

    fn client_end(&self) -> SocketAddr {
        SocketAddr::new(self.client.source.into(), self.client.source_port.get())
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.client.destination.into(), self.client.destination_port.get())
    }

    fn service(&self) -> ServiceKey {
        ServiceKey::new(self.client.destination, self.client.destination_port)
    }
}

/// A query, with its names made into what stands in the tables.
struct Filter {
    client: Option<IpNet>,
    replicas: Option<BTreeSet<ReplicaId>>,
    services: Option<BTreeSet<ServiceKey>>,
    state: Option<State>,
    limit: usize,
    half_open: bool,
}

impl Filter {
    fn new(
        query: &Query,
        directory: &Directory,
        replicas: &BTreeMap<ReplicaId, Replica>,
    ) -> Result<Self, FlowsError> {
        let Query { client, replica, service, state, limit, top, half_open } = query;
        let limit = limit.unwrap_or(if top.is_some() { TOP_LIMIT } else { LIMIT });
        if limit > MOST {
            return Err(FlowsError::Limit(limit));
        }
        let state = state.as_deref().map(state_named).transpose()?;
        let services = match service {
            Some(name) => {
                Some(directory.ends(name)).filter(|ends| !ends.is_empty()).map(Some).ok_or_else(|| {
                    FlowsError::Unknown {
                        what: "service",
                        name: name.clone(),
                        known: listed(directory.services()),
                    }
                })?
            }
            None => None,
        };
        let replicas = match replica {
            Some(name) => {
                let named = |replica: &Replica| {
                    let end = end(replica);
                    directory.name(replica) == *name
                        || end.ip().to_string() == *name
                        || end.to_string() == *name
                };
                let ids: BTreeSet<_> =
                    replicas.iter().filter(|(_, replica)| named(replica)).map(|(id, _)| *id).collect();
                if ids.is_empty() && !directory.replicas().contains(name.as_str()) {
                    return Err(FlowsError::Unknown {
                        what: "replica",
                        name: name.clone(),
                        known: listed(directory.replicas()),
                    });
                }
                Some(ids)
            }
            None => None,
        };
        // Who asks for a state of handshakes wants to see them.
        let half_open = *half_open || matches!(state, Some(State::SYN_SENT | State::SYN_RECEIVED));
        Ok(Self { client: *client, replicas, services, state, limit, half_open })
    }

    fn takes(&self, ends: &Ends, flow: &Flow) -> bool {
        self.client.is_none_or(|prefix| prefix.contains(&IpAddr::from(ends.client.source)))
            && self.replicas.as_ref().is_none_or(|replicas| replicas.contains(&flow.replica))
            && self.services.as_ref().is_none_or(|services| services.contains(&ends.service()))
            && self.state.is_none_or(|state| state == flow.state())
    }
}

pub(crate) fn listed(names: BTreeSet<&str>) -> String {
    if names.is_empty() { "none".into() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

fn state_named(name: &str) -> Result<State, FlowsError> {
    let found = State::ALL.into_iter().find(|state| state.name() == name);
    found.ok_or_else(|| FlowsError::State { name: name.to_owned() })
}

fn line(
    ends: &Ends,
    flow: &Flow,
    (idle_seconds, age_seconds): (f64, Option<f64>),
    Carried { to_replica, to_client }: Carried,
    replica: Option<&Replica>,
    directory: &Directory,
) -> FlowLine {
    FlowLine {
        client: ends.client_end(),
        vip: ends.vip(),
        service: directory.service(&ends.service()).map(str::to_owned),
        nat: ends.nat,
        replica: replica.map_or_else(|| format!("id {}", flow.replica), |replica| directory.name(replica)),
        replica_address: replica.map(end),
        mode: replica.map_or("unknown", |replica| mode(replica.mode)).into(),
        state: flow.state().name().into(),
        half_open: flow.state().handshake(),
        idle_seconds,
        age_seconds,
        packets_to_replica: to_replica.map(|traffic| traffic.packets),
        bytes_to_replica: to_replica.map(|traffic| traffic.bytes),
        packets_to_client: to_client.map(|traffic| traffic.packets),
        bytes_to_client: to_client.map(|traffic| traffic.bytes),
    }
}

/// The config's word for a mode.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::NAT => "nat",
        Mode::DSR => "dsr",
        Mode::IPIP => "ipip",
        Mode::DNAT => "dnat",
        Mode(_) => "unknown",
    }
}

#[cfg(test)]
mod tests;
