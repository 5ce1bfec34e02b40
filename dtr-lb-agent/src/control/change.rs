//! What an operator wants to read once, and the stable name of each: what a log line has as `event`.

use std::{net::IpAddr, time::Duration};

use super::{Cause, ReplicaState};
use crate::next_hop::{NextHop, NextHopError};

/// A replica of a service came into another state.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaChange {
    pub service: String,
    pub replica: String,
    pub address: IpAddr,
    pub port: u16,
    pub from: ReplicaState,
    /// Never `from`.
    pub to: ReplicaState,
    /// Who moved it.
    pub cause: Cause,
    /// Why, for people.
    pub reason: String,
    /// How long it was in `from`.
    pub after: Duration,
    /// The replicas of the service that are up after it.
    pub replicas_left: usize,
    /// Whether its connections are reset from now on.
    pub reset: bool,
    /// What the passive check has against it, where it was that which ejected it.
    pub evidence: Option<FailedConnections>,
}

/// What a replica was ejected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedConnections {
    /// Connections that it refused.
    pub refused: u64,
    /// Connections that it did not answer.
    pub unanswered: u64,
    /// The clients of these, as far as they are known, and their networks.
    pub clients: usize,
    pub networks: usize,
}

/// Something that an operator wants to read once. [`Change::event`] has its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A replica came into another state: one for each change and service.
    Replica(ReplicaChange),
    /// A replica that the passive check had ejected is down by its probes, too. Its state is as before.
    Confirmed {
        service: String,
        replica: String,
        /// What the probes say.
        reason: String,
    },
    /// Packets of the flows of a replica whose state is as before are answered by resets from now on, or no longer.
    Resets {
        service: String,
        replica: String,
        address: IpAddr,
        port: u16,
        reset: bool,
        /// Why it is in its state.
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
    /// A replica's agent says something else than before.
    AgentCheck {
        service: String,
        replica: String,
        /// In its own words, as far as they were heard.
        says: String,
    },
    /// A replica's agent is not heard any more, or is again.
    AgentCheckFailed {
        service: String,
        replica: String,
        /// Why not.
        failure: Option<String>,
    },
    /// The answers of a replica in mode `dnat` do not come by here though its probes pass, or do again.
    AnswersPast {
        service: String,
        replica: String,
        past: bool,
    },
    /// This host has come to doubt its own probes of the service, or no longer does.
    Suspicion {
        service: String,
        reason: Option<String>,
    },
    /// A replica has failed the passive check of the service, which has ejected half of them already.
    PassiveSpared {
        service: String,
        replica: String,
        /// What it did.
        reason: String,
    },
    /// Every replica that is up has failed the passive check of the service, which is not applied for that reason.
    PassiveSetAside {
        service: String,
        /// What the last of them did.
        reason: String,
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
    /// This host has too many Ethernet addresses for the datapath to tell from others', or no longer.
    Macs {
        fit: bool,
        count: usize,
    },
    /// There is no source address for connections to this replica.
    NoNatAddress {
        address: IpAddr,
    },
}

impl Change {
    /// Its name, for scripts and alerts: as stable as a metric's. This list is closed; `docs/messages.md` has those of replicas and
    /// services.
    #[must_use]
    pub const fn event(&self) -> &'static str {
        match self {
            Self::Replica(ReplicaChange { to, .. }) => match to {
                ReplicaState::Starting => "replica_starting",
                ReplicaState::Up => "replica_up",
                ReplicaState::Down => "replica_down",
                ReplicaState::Draining => "replica_draining",
                ReplicaState::Maint => "replica_maint",
            },
            Self::Confirmed { .. } => "replica_down_confirmed",
            Self::Resets { reset: true, .. } => "replica_resets_begin",
            Self::Resets { reset: false, .. } => "replica_resets_end",
            Self::Service { up: true, .. } => "service_up",
            Self::Service { up: false, .. } => "service_down",
            Self::Probing { failure: Some(_), .. } => "probing_failed",
            Self::Probing { failure: None, .. } => "probing_resumed",
            Self::AgentCheck { .. } => "agent_check",
            Self::AgentCheckFailed { failure: Some(_), .. } => "agent_check_failed",
            Self::AgentCheckFailed { failure: None, .. } => "agent_check_resumed",
            Self::AnswersPast { past: true, .. } => "answers_past_begin",
            Self::AnswersPast { past: false, .. } => "answers_past_end",
            Self::Suspicion { reason: Some(_), .. } => "suspicion_begin",
            Self::Suspicion { reason: None, .. } => "suspicion_end",
            Self::PassiveSpared { .. } => "passive_check_spared",
            Self::PassiveSetAside { .. } => "passive_check_set_aside",
            Self::NextHop { result: Ok(_), .. } => "next_hop",
            Self::NextHop { result: Err(_), .. } => "next_hop_missing",
            Self::UnseenInterface { .. } => "interface_unseen",
            Self::NarrowPath { .. } => "path_narrow",
            Self::Macs { fit: false, .. } => "macs_unchecked",
            Self::Macs { fit: true, .. } => "macs_checked",
            Self::NoNatAddress { .. } => "nat_address_missing",
        }
    }
}

/// What [`Change::UnseenInterface`] means, and what to do.
pub const UNSEEN_INTERFACE: &str = "the replica is reached by an interface that is not in `interfaces`, so its answers \
     would not pass the datapath: add it to the config";

/// What [`Change::NarrowPath`] means, and what to do.
pub const NARROW_PATH: &str = "the path to the replica takes smaller packets than an interface that packets come in by, and \
     the datapath does not cut packets up: large ones are answered by an ICMP error that says what fits, which costs time and \
     which firewalls may lose; give both the same MTU";

/// What [`Change::Macs`] means.
pub const MACS_UNCHECKED: &str = "this host has more Ethernet addresses than the datapath can tell apart from those of \
     others: SYNs in any frame are taken, as with datapath.macs = \"any\"";

/// What [`Change::NoNatAddress`] means, and what to do.
pub const NO_NAT_ADDRESS: &str = "this host has no address of the replica's family to connect to it from, so packets to it \
     are dropped: give the interface that leads there one, or write one into `datapath.nat_addresses`";

/// What [`Change::AnswersPast`] means, and what to do.
pub const ANSWERS_PAST: &str = "answers its clients past this balancer: its route to them does not lead here, so that its \
     connections stay unanswered though its probes pass; set its route (docs/client-addresses.md)";

/// What [`Change::Suspicion`] means.
pub const SUSPICION: &str = "this balancer suspects itself: replicas keep their share of new connections though their probes \
     fail, and nothing is reset; if it goes on, probes are believed";

/// What [`Change::PassiveSpared`] means.
pub const PASSIVE_SPARED: &str =
    "the passive check has ejected half of the service's replicas, and ejects no more: probes decide";

/// What [`Change::PassiveSetAside`] means.
pub const PASSIVE_SET_ASIDE: &str = "every replica that is up fails connections, so the passive check ejects none: all are tried, \
     and what one fails goes to another";
