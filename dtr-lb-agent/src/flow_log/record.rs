//! What is known of a connection that is over, or that never began: whoever watches the datapath makes it, the flow log shows it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dtr_lb_common::{
    abi::{Mode, Traffic, Tuple},
    address::Be16,
    hash,
    verdict::Verdict,
};
use jiff::Timestamp;

/// A connection that has ended or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// When it ended, or failed.
    pub time: Timestamp,
    pub service: Arc<str>,
    /// None: no replica was chosen.
    pub replica: Option<Arc<str>>,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// Where the replica saw it come from; none if it saw the client itself.
    pub nat: Option<SocketAddr>,
    pub mode: Mode,
    pub start: Timestamp,
    pub duration: Duration,
    /// From the SYN to the SYN-ACK; none: not measured.
    pub connect: Option<Duration>,
    /// From the SYN-ACK to the ACK; none: not measured.
    pub client_rtt: Option<Duration>,
    pub to_replica: Traffic,
    pub to_client: Traffic,
    /// Replicas asked; none: not known.
    pub attempts: Option<u32>,
    pub end: FlowEnd,
}

/// How it ended, or why it never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    Closed,
    ClientReset,
    ReplicaReset,
    Idle,
    ReplicaDown,
    Evicted,
    Detached,
    /// No replica answered.
    Unanswered,
    /// The client never completed the handshake.
    Abandoned,
    /// Every replica that was asked refused.
    Refused,
    /// Its handshake made room for another one, in a flood most likely.
    Crowded,
    /// The datapath did not let it begin.
    Failed(Verdict),
}

impl FlowEnd {
    /// The word in outputs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClientReset => "client_reset",
            Self::ReplicaReset => "replica_reset",
            Self::Idle => "idle",
            Self::ReplicaDown => "replica_down",
            Self::Evicted => "evicted",
            Self::Detached => "detached",
            Self::Unanswered => "unanswered",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Crowded => "crowded",
            Self::Failed(verdict) => verdict.name(),
        }
    }

    /// It never began.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Closed
            | Self::ClientReset
            | Self::ReplicaReset
            | Self::Idle
            | Self::ReplicaDown
            | Self::Evicted
            | Self::Detached => false,
            Self::Unanswered | Self::Abandoned | Self::Refused | Self::Crowded | Self::Failed(_) => true,
        }
    }

    /// The `event` of its line.
    #[must_use]
    pub const fn event(self) -> &'static str {
        if self.is_failure() { "fail" } else { "end" }
    }
}

impl FlowRecord {
    /// The same number on every host, for a choice by connection.
    pub(super) fn hash(&self) -> u64 {
        let Self { client, vip, .. } = self;
        let tuple = Tuple {
            source: client.ip().into(),
            destination: vip.ip().into(),
            source_port: Be16::new(client.port()),
            destination_port: Be16::new(vip.port()),
        };
        hash::flow(0, &tuple)
    }
}
