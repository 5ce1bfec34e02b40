//! What `dtr-lb status` shows: the shape of its JSON, a contract with scripts (fields are added, never renamed). `text` is
//! the same for people.

mod names;
mod text;

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, time::Instant};

use dtr_lb_common::{
    abi::{End, FlowStats, ReplicaCounters},
    address::{Address, Be16},
    verdict::Verdict,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    changes::Changes,
    config::{Admin, Config, Mode, Replica, Service},
    control::{ANSWERS_PAST, Condition, Control, ReplicaPlace, ReplicaState, StateChange, Suspicion},
    datapath::{Attached, Census, DatapathError, Meter, NatRange},
    latency::{self, Handshakes, Latency, Place, Slow},
    probe::Outcome,
};

pub use names::NameStatus;
pub(crate) use names::names;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// The name of this host, by its kernel; empty if it has none, or from an older agent.
    #[serde(default)]
    pub host: String,
    pub datapath: DatapathStatus,
    pub services: Vec<ServiceStatus>,
    /// How full the table of connections is; none from an older agent.
    #[serde(default)]
    pub flow_table: Option<FlowTableStatus>,
    /// Packets by verdict, since the datapath was loaded.
    pub verdicts: BTreeMap<String, u64>,
    /// How often the config was read again, since the agent's start.
    #[serde(default)]
    pub reloads: Reloads,
    /// The host names among the replicas, and what DNS says of them.
    #[serde(default)]
    pub names: Vec<NameStatus>,
    /// What `dtr-lb undo` would take back.
    #[serde(default)]
    pub last_order: Option<LastOrder>,
}

/// The last order about replicas that was not taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOrder {
    /// As it would be typed, as in "replica drain r1 r2".
    pub order: String,
    pub at: Timestamp,
}

/// How reloads of the config ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    pub ok: u64,
    /// With the config of before still in force.
    pub failed: u64,
    /// When the config in force was read: at the agent's start, or by the last reload that was applied.
    #[serde(default)]
    pub last: Option<Timestamp>,
}

/// The table of connections. A connection has two entries, one with an IPv6 address four; in direct modes half of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTableStatus {
    /// Entries at which it counts as full: two for each connection of `max_flows`.
    pub capacity: u64,
    pub entries: u64,
    /// Entries by the state of their connection.
    pub by_state: BTreeMap<String, u64>,
    /// Connections of direct modes, and handshakes, that made way for others, since the datapath was loaded.
    pub evicted: u64,
    /// SYNs that found no room, since the datapath was loaded.
    pub refused: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatapathStatus {
    pub attach: Vec<AttachStatus>,
    /// Why it is attached so.
    pub attach_reason: String,
    /// Whether the agent took over a datapath that an earlier one had left.
    pub adopted: bool,
    /// Connections that may still carry data.
    #[serde(default)]
    pub flows: u64,
    /// Entries of the flow table; a connection has two.
    pub flow_entries: u64,
    /// Walks through the flow table that are over, since the agent's start: `flows` are what the last one counted. One that had
    /// begun before a change may have missed it; the next one has not.
    #[serde(default)]
    pub walks: u64,
    /// Connections that the flow table holds at most.
    pub max_flows: u64,
    /// Entries of each map that were not as the agent had made them, and were repaired, since its start; `links` are
    /// programs that were no longer on their interface.
    #[serde(default)]
    pub repairs: BTreeMap<String, u64>,
    /// Whether the tables say what was decided last; if not, it is tried again each second.
    #[serde(default = "unless_told")]
    pub up_to_date: bool,
    /// Tables of services that were written since the agent's start.
    #[serde(default)]
    pub table_rewrites: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachStatus {
    pub interface: String,
    /// `xdp` or `tc`.
    pub hook: String,
    /// Whether the driver runs it.
    pub native: bool,
    /// Whether the interface is there with the datapath on it.
    pub present: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    pub vip: IpAddr,
    pub port: u16,
    pub mode: String,
    /// `up` while a replica is up, `starting` before the first probes, else `down`.
    pub state: String,
    /// Whether its clients have to prove their addresses before they connect; see `datapath.syn_challenge`.
    #[serde(default)]
    pub challenge: ChallengeStatus,
    /// Why this balancer doubts its own probes of the service, while it does.
    #[serde(default)]
    pub suspicion: Option<SuspicionStatus>,
    /// What health check would fit, where all replicas fail theirs in the same way and one answers another question.
    #[serde(default)]
    pub hint: Option<String>,
    /// Replicas that take much longer than their peers to accept connections, in the last minute.
    #[serde(default)]
    pub slow: Vec<Slow>,
    pub replicas: Vec<ReplicaStatus>,
}

/// The challenge of a service's clients, and what decides about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChallengeStatus {
    pub on: bool,
    /// Because more SYNs come than handshakes follow; if not, it is on by the config.
    pub flooded: bool,
    /// Since when it is flooded.
    pub since: Option<Timestamp>,
    /// SYNs that would have opened a connection, whether they were let in or not.
    pub syns: u64,
    /// Handshakes that were completed; where replicas answer clients directly, none are seen to be.
    pub handshakes: u64,
    /// Both in the last seconds.
    pub syns_per_second: f64,
    pub handshakes_per_second: f64,
}

impl ChallengeStatus {
    /// Adds what was counted for another VIP of the same service.
    pub fn add(&mut self, other: &Self) {
        self.on |= other.on;
        self.flooded |= other.flooded;
        self.since = [self.since, other.since].into_iter().flatten().min();
        self.syns += other.syns;
        self.handshakes += other.handshakes;
        self.syns_per_second += other.syns_per_second;
        self.handshakes_per_second += other.handshakes_per_second;
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub name: String,
    pub address: IpAddr,
    /// The host name that it was found by, if it was.
    #[serde(default)]
    pub host_name: Option<String>,
    pub port: u16,
    /// `starting`, `up`, `down`, `draining` or `maint`.
    pub state: String,
    /// What an operator has ordered at run time: `ready`, `drain` or `maint`.
    #[serde(default)]
    pub admin: Admin,
    /// When that, or another weight than the file's, was ordered; none where nothing is in force, or where it is not known.
    #[serde(default)]
    pub ordered: Option<Timestamp>,
    /// Why it is in this state; none before the first word.
    #[serde(default)]
    pub reason: Option<String>,
    /// What it says of itself, where it is asked (`service.probe.agent_port`).
    #[serde(default)]
    pub agent: Option<AgentStatus>,
    /// What is wrong with it that its state does not say, and what to do.
    #[serde(default)]
    pub warning: Option<String>,
    /// As configured, or as an operator set it at run time.
    pub weight: u16,
    /// It gets new connections only while no other replica is up.
    #[serde(default)]
    pub backup: bool,
    /// As the file says; none if the file does not have the replica.
    #[serde(default)]
    pub file_weight: Option<u16>,
    /// The part of new connections that it gets now, in proportion to the others': 0 while it is down, less than its
    /// weight during a slow start.
    #[serde(default)]
    pub effective_weight: u16,
    pub since: Timestamp,
    /// Its last changes of state, 16 at most, the oldest first.
    #[serde(default)]
    pub history: Vec<StateChangeStatus>,
    pub last_probe: Option<ProbeStatus>,
    /// Connections that may still carry data.
    pub flows: u64,
    /// Both directions together.
    pub packets: u64,
    pub bytes: u64,
    pub packets_to_replica: u64,
    pub bytes_to_replica: u64,
    pub packets_to_client: u64,
    pub bytes_to_client: u64,
    /// Connections steered to it.
    pub new_flows: u64,
    /// Connections that it refused.
    pub refused: u64,
    /// Connections that it did not answer, so that the client had to ask again.
    #[serde(default)]
    pub unanswered: u64,
    /// Connections that another replica took, because it refused or did not answer.
    pub redispatched: u64,
    /// Packets of its connections that were answered by a reset, because it is down: see `datapath.on_down`.
    #[serde(default)]
    pub reset: u64,
    /// From a SYN to the replica until its SYN-ACK, of the last minute; none of few handshakes, nor in direct modes.
    #[serde(default)]
    pub connect_ms: Option<Latency>,
    /// From a SYN-ACK to the client until its ACK, of the last minute; none as above.
    #[serde(default)]
    pub client_rtt_ms: Option<Latency>,
    /// SYNs that its clients sent again.
    #[serde(default)]
    pub syns_again: u64,
    /// Its connections by how they ended, or why they never began.
    #[serde(default)]
    pub ends: BTreeMap<String, u64>,
    /// By NAT address, for all services and VIPs together; none in other modes.
    #[serde(default)]
    pub nat_ports: Vec<NatPortsStatus>,
}

/// NAT ports for connections to a replica's address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatPortsStatus {
    /// On this host.
    pub address: IpAddr,
    /// Those that connections have, ended ones whose port rests among them.
    pub used: u64,
    /// As many as there are.
    pub of: u64,
}

/// What a replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// `ready`, or what it wants else, in its own words, as in `drain` or `75%`.
    pub says: String,
    /// Why it was not heard or not understood last; what it said before holds.
    pub error: Option<String>,
}

impl AgentStatus {
    /// In words, where there is something to say: that it is not heard, or wants something else than its share.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match (&self.error, self.says.as_str()) {
            (Some(error), says) => Some(format!("agent not heard: {error}; it said {says} last")),
            (None, "ready") => None,
            (None, says) => Some(format!("agent: {says}")),
        }
    }
}

/// That this balancer suspects itself: probes fail, and replicas keep their share all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspicionStatus {
    pub since: Timestamp,
    pub reason: String,
}

/// That a replica came into another state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChangeStatus {
    pub time: Timestamp,
    pub from: String,
    pub to: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    pub ok: bool,
    pub status: Option<u16>,
    pub ms: f64,
    pub error: Option<String>,
}

/// An older agent did not say.
fn unless_told() -> bool {
    true
}

/// What the main loop has seen of the datapath.
#[derive(Clone, Copy)]
pub struct Observed<'a> {
    pub census: &'a Census,
    pub attached: Option<&'a Attached>,
    /// Whether an interface is there with the datapath on it.
    pub present: &'a dyn Fn(&str) -> bool,
    /// [`DatapathStatus::adopted`]
    pub adopted: bool,
    /// [`DatapathStatus::repairs`]
    pub repairs: &'a BTreeMap<&'static str, u64>,
    /// Of a service's VIP.
    pub challenge: &'a dyn Fn(&str, IpAddr) -> ChallengeStatus,
    /// [`ServiceStatus::hint`]
    pub hint: &'a dyn Fn(&str) -> Option<String>,
    /// The handshakes of the last minute, of all that a replica has counted.
    pub recent: &'a dyn Fn(&Place, &Handshakes) -> Handshakes,
    /// [`DatapathStatus::up_to_date`]
    pub up_to_date: bool,
    /// [`DatapathStatus::table_rewrites`]
    pub table_rewrites: u64,
    pub reloads: Reloads,
}

impl Status {
    /// Puts together what the agent knows.
    ///
    /// # Errors
    /// The kernel does not hand out its counters.
    pub fn collect(control: &Control, meter: &Meter, observed: Observed<'_>) -> Result<Self, DatapathError> {
        let Observed { challenge, hint, .. } = observed;
        let config = control.config();
        let mut services = Vec::new();
        for (place, service) in config.services.iter().enumerate() {
            for vip in &service.vips {
                let status = service_status((control, place), service, *vip, meter, observed)?;
                let (challenge, hint) = (challenge(&service.name, *vip), hint(&service.name));
                services.push(ServiceStatus { challenge, hint, ..status });
            }
        }
        let verdicts = meter.verdicts()?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").into(),
            host: host_name().unwrap_or_default(),
            datapath: datapath_status(config, observed),
            services,
            flow_table: Some(flow_table(config, observed.census, &meter.all_flows()?, &verdicts)),
            verdicts: verdicts
                .into_iter()
                .map(|(verdict, traffic)| (verdict.name().to_owned(), traffic.packets))
                .collect(),
            reloads: observed.reloads,
            // The caller knows them.
            names: Vec::new(),
            last_order: None,
        })
    }
}

/// The name of this host, as `hostname` prints it.
pub(crate) fn host_name() -> Option<String> {
    nix::sys::utsname::uname().ok()?.nodename().to_str().map(str::to_owned)
}

fn datapath_status(config: &Config, observed: Observed<'_>) -> DatapathStatus {
    let Observed { census, attached, present, adopted, repairs, up_to_date, table_rewrites, .. } = observed;
    let attach = attached.map_or_else(Vec::new, |attached| {
        let of = |interface: &String| AttachStatus {
            interface: interface.clone(),
            hook: attached.hook.name().into(),
            native: attached.hook.native(),
            present: present(interface),
        };
        config.interfaces.iter().map(of).collect()
    });
    DatapathStatus {
        attach,
        attach_reason: attached.map(|attached| attached.why.clone()).unwrap_or_default(),
        adopted,
        flows: census.flows.values().sum(),
        flow_entries: census.entries,
        // The caller knows it.
        walks: 0,
        max_flows: config.datapath.max_flows.into(),
        repairs: repairs.iter().map(|(map, count)| ((*map).to_owned(), *count)).collect(),
        up_to_date,
        table_rewrites,
    }
}

fn flow_table(
    config: &Config,
    census: &Census,
    counted: &FlowStats,
    verdicts: &BTreeMap<Verdict, dtr_lb_common::abi::Traffic>,
) -> FlowTableStatus {
    let refused = verdicts.get(&Verdict::AnsweredTableFull).map(|traffic| traffic.packets);
    FlowTableStatus {
        capacity: 2 * u64::from(config.datapath.max_flows),
        entries: census.entries,
        by_state: census.states.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect(),
        evicted: [End::EVICTED, End::CROWDED].map(|end| counted.ends[end.0 as usize]).iter().sum(),
        refused: refused.unwrap_or_default(),
    }
}

fn service_status(
    (control, place): (&Control, usize),
    service: &Service,
    vip: IpAddr,
    meter: &Meter,
    observed: Observed<'_>,
) -> Result<ServiceStatus, DatapathError> {
    let Observed { census, recent, .. } = observed;
    let any = |state| control.conditions(place).any(|condition| condition.state == state);
    let state = if any(ReplicaState::Up) {
        ReplicaState::Up
    } else if any(ReplicaState::Starting) {
        ReplicaState::Starting
    } else {
        ReplicaState::Down
    };
    let shares = control.shares(place, Instant::now());
    let nat_ports = &control.config().datapath.nat_ports;
    let mut connects = Vec::new();
    let replicas: Vec<_> = service
        .replicas
        .iter()
        .zip(control.conditions(place))
        .zip(shares)
        .enumerate()
        .map(|(at, ((replica, condition), share))| {
            let counted = meter.replica(vip, service.port, replica.address, replica.port, census)?;
            let place = ReplicaPlace { service: place, replica: at };
            let past = control.answers_past(place);
            let agent = control.agent_check(place).map(|(says, error)| AgentStatus { says, error });
            let warning = past.then(|| ANSWERS_PAST.to_owned());
            let flows = meter.flows(vip, service.port, replica.address, replica.port)?;
            let handshakes = recent(&Place::new(service, vip, replica), &Handshakes::from(&flows));
            connects.push(handshakes.connect);
            let nat_ports = match service.mode {
                Mode::Nat => nat_ports_of(replica, nat_ports, census),
                Mode::Dnat | Mode::Dsr | Mode::Ipip => Vec::new(),
            };
            let status = replica_status(replica, condition, share, counted, &flows);
            Ok(ReplicaStatus {
                warning,
                agent,
                connect_ms: Latency::of(&handshakes.connect),
                client_rtt_ms: Latency::of(&handshakes.client_rtt),
                nat_ports,
                ..status
            })
        })
        .collect::<Result<_, _>>()?;
    let names = service.replicas.iter().map(|replica| replica.name.as_str());
    Ok(ServiceStatus {
        slow: latency::judge(names.zip(&connects)),
        name: service.name.clone(),
        vip,
        port: service.port,
        mode: service.mode.to_string(),
        state: state.to_string(),
        // The caller knows both.
        challenge: ChallengeStatus::default(),
        hint: None,
        suspicion: control
            .suspicion(place)
            .map(|Suspicion { since, reason }| SuspicionStatus { since: *since, reason: reason.clone() }),
        replicas,
    })
}

fn replica_status(
    replica: &Replica,
    condition: &Condition,
    share: u16,
    (counters, flows): (ReplicaCounters, u64),
    stats: &FlowStats,
) -> ReplicaStatus {
    let ReplicaCounters {
        to_replica,
        to_client,
        new_flows,
        refused,
        unanswered,
        redispatched,
        reset,
        // For the agent's own judgment: see `control::replica`.
        data_to_client: _,
    } = counters;
    ReplicaStatus {
        name: replica.name.clone(),
        address: replica.address,
        host_name: replica.host_name.clone(),
        port: replica.port,
        state: condition.state.to_string(),
        reason: condition.reason.clone(),
        // The caller knows it.
        warning: None,
        agent: None,
        weight: replica.weight,
        backup: replica.backup,
        file_weight: replica.file_weight,
        effective_weight: share,
        admin: replica.admin,
        // The caller knows it.
        ordered: None,
        since: condition.since,
        history: condition.history.iter().map(state_change).collect(),
        last_probe: condition.last_probe.as_ref().map(probe_status),
        flows,
        packets: to_replica.packets + to_client.packets,
        bytes: to_replica.bytes + to_client.bytes,
        packets_to_replica: to_replica.packets,
        bytes_to_replica: to_replica.bytes,
        packets_to_client: to_client.packets,
        bytes_to_client: to_client.bytes,
        new_flows,
        refused,
        unanswered,
        redispatched,
        reset,
        // The caller knows both.
        connect_ms: None,
        client_rtt_ms: None,
        syns_again: stats.syns_again,
        ends: End::COUNTED.map(|end| (end.name().to_owned(), stats.ends[end.0 as usize])).into(),
        // And these.
        nat_ports: Vec::new(),
    }
}

/// By the last walk through the table; nothing before it has seen the replica.
fn nat_ports_of(replica: &Replica, range: &RangeInclusive<u16>, census: &Census) -> Vec<NatPortsStatus> {
    let (address, port) = (Address::from(replica.address), Be16::new(replica.port));
    let from: NatRange = (address, port, Address::NONE);
    let own = census.nat_ports.range(from..).take_while(|(range, _)| (range.0, range.1) == (address, port));
    let of = range.clone().count() as u64;
    own.map(|((_, _, nat), used)| NatPortsStatus { address: (*nat).into(), used: *used, of }).collect()
}

impl Status {
    /// Takes in what an operator has ordered, and when.
    pub(crate) fn take_orders(&mut self, changes: &Changes) {
        for service in &mut self.services {
            for replica in &mut service.replicas {
                replica.ordered = changes.ordered_at(&service.name, replica.address);
            }
        }
        let last = changes.last_order();
        self.last_order = last.map(|step| LastOrder { order: step.order.clone(), at: step.at });
    }
}

impl ReplicaStatus {
    /// Adds what the same replica counted for another VIP of its service.
    pub fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.packets_to_replica += other.packets_to_replica;
        self.bytes_to_replica += other.bytes_to_replica;
        self.packets_to_client += other.packets_to_client;
        self.bytes_to_client += other.bytes_to_client;
        self.new_flows += other.new_flows;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.redispatched += other.redispatched;
        self.reset += other.reset;
        self.syns_again += other.syns_again;
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
    }
}

fn state_change(change: &StateChange) -> StateChangeStatus {
    let StateChange { time, from, to, reason } = change;
    StateChangeStatus { time: *time, from: from.to_string(), to: to.to_string(), reason: reason.clone() }
}

fn probe_status(outcome: &Outcome) -> ProbeStatus {
    ProbeStatus {
        ok: outcome.ok(),
        status: outcome.status,
        ms: (outcome.took.as_secs_f64() * 1e5).round() / 100.0,
        error: outcome.error.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
pub(crate) mod tests;
