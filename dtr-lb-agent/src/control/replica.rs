//! What is known of one replica of a service, and the state that follows from it.

use std::{collections::VecDeque, fmt, time::Instant};

use jiff::Timestamp;

use super::{
    Moment,
    answers::AnswerWatch,
    own_word::OwnWord,
    passive::{Mark, Window},
    ramp::Ramp,
    suspicion::Silence,
};
use crate::{
    config::{Admin, Replica},
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

/// All that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) condition: Condition,
    /// What the probes make of it.
    pub(super) probed: State,
    /// Its probes that no one answered, up to now.
    pub(super) silence: Silence,
    /// It is taken for what it was before its probes failed, as they may say more about this host.
    pub(super) held: bool,
    /// What it says of itself.
    pub(super) own: OwnWord,
    pub(super) failures: Window,
    /// Where its answers go, in mode `dnat`.
    pub(super) answers: AnswerWatch,
    /// What the passive check makes of it, while that is nothing good.
    pub(super) mark: Option<Mark>,
    /// Until when it is not told again that the passive check would have taken it out.
    pub(super) spared_until: Option<Instant>,
    /// Whether its flows were last told to be reset.
    pub(super) told_reset: bool,
    /// While its share rises.
    pub(super) ramp: Option<Ramp>,
    /// It was not serving before it was asked first: it begins slowly.
    away: bool,
}

/// Why a replica is in maintenance.
const IN_MAINTENANCE: &str = "an operator put it into maintenance";
/// Why a replica drains though its weight is not 0.
const DRAINED: &str = "an operator drains it";

/// How a replica comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// With a slow start, where one is configured.
    Slow,
    /// At once, as it is needed.
    AtOnce,
}

impl Known {
    /// One that may have been serving all the time: the agent begins.
    pub(super) fn new(config: &Replica, now: Timestamp) -> Self {
        let condition = Condition {
            state: ReplicaState::Starting,
            since: now,
            reason: None,
            last_probe: None,
            history: VecDeque::new(),
        };
        let mut known = Self {
            condition,
            probed: State::Starting,
            silence: Silence::NONE,
            held: false,
            own: OwnWord::NONE,
            failures: Window::default(),
            answers: AnswerWatch::default(),
            mark: None,
            spared_until: None,
            told_reset: false,
            ramp: None,
            away: false,
        };
        // Nothing else will say so: it is not probed.
        known.condition.state = known.state(config);
        known.condition.reason = (config.admin == Admin::Maint).then(|| IN_MAINTENANCE.to_owned());
        known
    }

    /// One that is new to a running agent.
    pub(super) fn added(config: &Replica, now: Timestamp) -> Self {
        Self { away: true, ..Self::new(config, now) }
    }

    /// Whether probes, weight, operator and its own word let it have new flows, whatever the passive check says.
    pub(super) fn eligible(&self, config: &Replica) -> bool {
        self.judged() == State::Up && !self.own.unfit() && self.offered(config) > 0
    }

    /// The weight that it has for new flows: what the operator offers, as far as it wants that.
    pub(super) fn offered(&self, config: &Replica) -> u16 {
        self.own.weight(config.offered())
    }

    /// Why it gets no new flows though its probes pass; `None` if it does.
    pub(super) fn declined(&self, config: &Replica) -> Option<String> {
        match self.own.says() {
            Some(says) if self.own.unfit() => Some(format!("its agent says {says}")),
            _ if config.admin == Admin::Drain => Some(DRAINED.to_owned()),
            _ if config.offered() == 0 => Some("its weight is 0".to_owned()),
            Some(says) if self.offered(config) == 0 => Some(format!("its agent says {says}")),
            Some(_) | None => None,
        }
    }

    /// What it is taken for by its probes.
    pub(super) fn judged(&self) -> State {
        if self.held { self.silence.before() } else { self.probed }
    }

    /// Its part of new flows while it is up.
    pub(super) fn share(&self, config: &Replica, now: Instant) -> u16 {
        self.ramp.map_or(self.offered(config), |ramp| ramp.share(self.offered(config), now))
    }

    /// Forgets what the passive check made of it. Returns whether that was anything.
    pub(super) fn end_mark(&mut self) -> bool {
        self.failures.clear();
        self.mark.take().is_some()
    }

    /// Takes in that its config was `from` and is `to`. Returns what changes by that: the states before and after, and why.
    pub(super) fn reconfigured(
        &mut self,
        from: &Replica,
        to: &Replica,
        now: Moment,
    ) -> Option<(ReplicaState, ReplicaState, String)> {
        if to.admin == Admin::Maint {
            self.end_mark();
            self.condition.last_probe = None;
        } else if from.admin == Admin::Maint {
            // What it was before says nothing about it now.
            self.probed = State::Starting;
            self.silence = Silence::NONE;
            self.held = false;
            self.away = true;
        }
        let reason = match (from.admin, to.admin) {
            (_, Admin::Maint) => IN_MAINTENANCE.to_owned(),
            (Admin::Ready | Admin::Drain | Admin::Maint, Admin::Drain) => DRAINED.to_owned(),
            (Admin::Drain | Admin::Maint, Admin::Ready) => "an operator made it ready".to_owned(),
            (Admin::Ready, Admin::Ready) => format!("its weight is {}", to.weight),
        };
        let (from, to) = self.restate(to, &reason, Return::Slow, now)?;
        Some((from, to, reason))
    }

    fn state(&self, config: &Replica) -> ReplicaState {
        match (config.admin, self.judged()) {
            (Admin::Maint, _) => ReplicaState::Maint,
            (Admin::Ready | Admin::Drain, State::Starting) => ReplicaState::Starting,
            (Admin::Ready | Admin::Drain, State::Down) => ReplicaState::Down,
            (Admin::Ready | Admin::Drain, State::Up) if self.mark.is_some() => ReplicaState::Down,
            (Admin::Ready | Admin::Drain, State::Up) if self.own.unfit() => ReplicaState::Down,
            (Admin::Ready | Admin::Drain, State::Up) if self.offered(config) == 0 => ReplicaState::Draining,
            (Admin::Ready | Admin::Drain, State::Up) => ReplicaState::Up,
        }
    }

    /// Brings the state into line with what is known. Returns the states before and after if they differ.
    pub(super) fn restate(
        &mut self,
        config: &Replica,
        reason: &str,
        way: Return,
        now: Moment,
    ) -> Option<(ReplicaState, ReplicaState)> {
        let to = self.state(config);
        let from = std::mem::replace(&mut self.condition.state, to);
        if from == to {
            return None;
        }
        self.condition.since = now.time;
        self.condition.reason = Some(reason.to_owned());
        if self.condition.history.len() == HISTORY {
            self.condition.history.pop_front();
        }
        self.condition.history.push_back(StateChange { time: now.time, from, to, reason: reason.to_owned() });
        let back = match from {
            ReplicaState::Down | ReplicaState::Draining | ReplicaState::Maint => true,
            // A restarted agent finds replicas that were serving all the time.
            ReplicaState::Starting | ReplicaState::Up => self.away,
        };
        let slow = to == ReplicaState::Up && back && way == Return::Slow && !config.slow_start.is_zero();
        self.away &= to == ReplicaState::Starting;
        self.ramp = slow.then(|| Ramp::new(now.clock, config.slow_start));
        Some((from, to))
    }
}
