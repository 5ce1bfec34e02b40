//! What a replica of a service is shown as: its state, since when, why, and what it was before.

use std::{collections::VecDeque, fmt};

use jiff::Timestamp;

use crate::probe::Outcome;

/// The state of a replica: what probes and passive check found, and what the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// No verdict yet.
    Starting,
    /// It gets its share of new flows.
    Up,
    /// It gets none, as it is not fit to serve.
    Down,
    /// It gets none, as it is not to: its weight is 0, or an operator drains it. Those that it has go on.
    Draining,
    /// It gets none and is not probed, as an operator says.
    Maint,
}

impl ReplicaState {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Starting, Self::Up, Self::Down, Self::Draining, Self::Maint];

    /// The word for it in the status and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Maint => "maint",
        }
    }
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// Who or what moved a replica into another state. The reason beside it has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its probes.
    Probe,
    /// The passive check of its service took it out, or let it in again.
    PassiveCheck,
    /// Its agent, at `probe.agent_port`.
    AgentCheck,
    /// An order: drain, maint, ready.
    Operator,
    /// Its weight, in the file or as ordered, or what else the config says.
    Config,
    /// This host came to doubt its own probes.
    Suspicion,
}

impl Cause {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Probe, Self::PassiveCheck, Self::AgentCheck, Self::Operator, Self::Config, Self::Suspicion];

    /// The word for it in the log. Stable: scripts go by it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::PassiveCheck => "passive_check",
            Self::AgentCheck => "agent_check",
            Self::Operator => "operator",
            Self::Config => "config",
            Self::Suspicion => "suspicion",
        }
    }
}

/// What is known of a replica of a service, for whoever wants to show it.
#[derive(Clone, Debug)]
pub struct Condition {
    pub state: ReplicaState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why; `None` before the first word.
    pub reason: Option<String>,
    /// `None` before the first, and in maintenance.
    pub last_probe: Option<Outcome>,
    /// The last changes of its state, [`HISTORY`] at most, the oldest first.
    pub history: VecDeque<StateChange>,
}

/// So many changes of state are remembered of a replica.
pub const HISTORY: usize = 16;

/// That a replica came into another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub time: Timestamp,
    pub from: ReplicaState,
    pub to: ReplicaState,
    pub reason: String,
}

impl Condition {
    /// Nothing has happened yet.
    pub(super) fn new(state: ReplicaState, reason: Option<String>, since: Timestamp) -> Self {
        Self { state, since, reason, last_probe: None, history: VecDeque::new() }
    }

    /// Goes over into another state. Returns the one before, and since when that was.
    pub(super) fn enter(
        &mut self,
        to: ReplicaState,
        reason: &str,
        now: Timestamp,
    ) -> (ReplicaState, Timestamp) {
        let from = std::mem::replace(&mut self.state, to);
        let since = std::mem::replace(&mut self.since, now);
        self.reason = Some(reason.to_owned());
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(StateChange { time: now, from, to, reason: reason.to_owned() });
        (from, since)
    }
}
