//! What an operator wants to read once.

use std::net::IpAddr;

use super::ReplicaState;
use crate::next_hop::{NextHop, NextHopError};

/// Something that an operator wants to read once.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Replica {
        service: String,
        replica: String,
        address: IpAddr,
        port: u16,
        /// The same as `to` where only the reason is another: probes have come to say what the passive check said.
        from: ReplicaState,
        to: ReplicaState,
        reason: String,
    },
    /// All replicas of the service have been found to be down, or one is up (again).
    Service {
        service: String,
        up: bool,
        consequence: &'static str,
    },
    /// Packets of the replica's flows are answered by resets from now on, or no longer.
    Resets {
        service: String,
        replica: String,
        reset: bool,
        /// It is in maintenance, and not found to be dead.
        maint: bool,
    },
    /// This host could not ask a replica, or can again: no word about the replica, whose state stays as it is.
    Probing {
        service: String,
        replica: String,
        /// Why it could not.
        failure: Option<String>,
    },
    /// A replica's agent says something else than before.
    OwnWord {
        service: String,
        replica: String,
        /// In its own words, as far as they were heard.
        says: String,
    },
    /// A replica's agent is not heard any more, or is again.
    OwnWordFailed {
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
    /// A replica has failed the passive check of the service, which has taken out half of them already.
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

/// What [`Change::UnseenInterface`] means, and what to do.
pub const UNSEEN_INTERFACE: &str = "the replica is reached by an interface that is not in `interfaces`, so its answers \
     would not pass the datapath: add it to the config";

/// What [`Change::NarrowPath`] means, and what to do.
pub const NARROW_PATH: &str = "the way to the replica takes smaller packets than an interface that packets come in by, and \
     the datapath does not cut packets up: large ones are answered by an ICMP error that says what fits, which costs time and \
     which firewalls may lose; give both the same MTU";

/// What [`Change::Macs`] means.
pub const MACS_UNCHECKED: &str = "this host has so many Ethernet addresses that frames to other hosts are not told from \
     its own: SYNs in any frame are taken, as with datapath.macs = \"any\"";

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
    "the passive check has taken out half of the service's replicas, and takes out no more: probes decide";

/// What [`Change::PassiveSetAside`] means.
pub const PASSIVE_SET_ASIDE: &str = "every replica that is up fails connections, so none is taken out for it: all are tried, \
     and what one fails goes to another";
