//! What is known of one replica of a service, and the state that follows from it.

use std::{fmt, time::Instant};

use jiff::Timestamp;

use super::{
    Moment,
    passive::{Mark, Window},
    ramp::Ramp,
};
use crate::{
    config::Replica,
    probe::{Outcome, State},
};

/// The state of a replica: what probes and passive check found, and what the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// No verdict yet.
    Starting,
    /// It gets its share of new flows.
    Up,
    /// It gets none, as it is not fit to serve.
    Down,
    /// It gets none, as it is not to: its weight is 0. Those that it has go on.
    Draining,
}

impl ReplicaState {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Starting, Self::Up, Self::Down, Self::Draining];

    /// The word for it in the status and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
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
    pub last_probe: Option<Outcome>,
}

/// All that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) condition: Condition,
    /// What the probes make of it.
    pub(super) probed: State,
    /// Probes in a row that no one answered, up to now.
    pub(super) silent: u32,
    pub(super) failures: Window,
    /// What the passive check makes of it, while that is nothing good.
    pub(super) mark: Option<Mark>,
    /// Whether its flows were last told to be reset.
    pub(super) told_reset: bool,
    /// While its share rises.
    pub(super) ramp: Option<Ramp>,
}

/// How a replica comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// With a slow start, where one is configured.
    Slow,
    /// At once, as it is needed.
    AtOnce,
}

impl Known {
    pub(super) fn new(now: Timestamp) -> Self {
        let condition =
            Condition { state: ReplicaState::Starting, since: now, reason: None, last_probe: None };
        Self {
            condition,
            probed: State::Starting,
            silent: 0,
            failures: Window::default(),
            mark: None,
            told_reset: false,
            ramp: None,
        }
    }

    /// Whether probes and weight let it have new flows, whatever the passive check says.
    pub(super) fn eligible(&self, config: &Replica) -> bool {
        self.probed == State::Up && config.weight > 0
    }

    /// Its probes fail because nobody answers them, as often in a row as it takes to be down: it does not work on what it
    /// has either.
    pub(super) fn dead(&self, fall: u32) -> bool {
        self.probed == State::Down && self.silent >= fall
    }

    /// Its part of new flows while it is up.
    pub(super) fn share(&self, config: &Replica, now: Instant) -> u16 {
        self.ramp.map_or(config.weight, |ramp| ramp.share(config.weight, now))
    }

    /// Forgets what the passive check made of it. Returns whether that was anything.
    pub(super) fn end_mark(&mut self) -> bool {
        self.failures.clear();
        self.mark.take().is_some()
    }

    /// Brings the state into line with what is known. Returns the states before and after if they differ.
    pub(super) fn restate(
        &mut self,
        config: &Replica,
        reason: &str,
        way: Return,
        now: Moment,
    ) -> Option<(ReplicaState, ReplicaState)> {
        let to = match self.probed {
            State::Starting => ReplicaState::Starting,
            State::Down => ReplicaState::Down,
            State::Up if self.mark.is_some() => ReplicaState::Down,
            State::Up if config.weight == 0 => ReplicaState::Draining,
            State::Up => ReplicaState::Up,
        };
        let from = std::mem::replace(&mut self.condition.state, to);
        if from == to {
            return None;
        }
        self.condition.since = now.time;
        self.condition.reason = Some(reason.to_owned());
        // Not from `Starting`: a restarted agent finds replicas that were serving all the time.
        let slow = match (from, to, way) {
            (ReplicaState::Down | ReplicaState::Draining, ReplicaState::Up, Return::Slow) => {
                !config.slow_start.is_zero()
            }
            _ => false,
        };
        self.ramp = slow.then(|| Ramp::new(now.clock, config.slow_start));
        Some((from, to))
    }
}
