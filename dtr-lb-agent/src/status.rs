//! What `dtr-lb status` shows: the shape of its JSON, a contract with scripts (fields are added, never renamed). `text` is
//! the same for people.

mod made;
mod names;
mod text;

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    changes::Changes,
    config::Admin,
    latency::{Latency, Slow},
};

pub use made::Observed;
pub(crate) use made::host_name;
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

#[cfg(test)]
pub(crate) mod tests;
