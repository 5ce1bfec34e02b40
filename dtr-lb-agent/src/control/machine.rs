//! One replica of a service as a state machine without IO: events and the time go in, changes of its state come out.
//!
//! ```text
//!                                    fall bad probes, or ejected by the passive check,
//!                  good probe        or "down" by its agent check
//!    +----------+ -----------> +----+ ------------------------------> +------+
//!    | starting |              | up |                                 | down |
//!    +----------+              +----+ <------------------------------ +------+
//!       ^     |                 |  ^    rise good probes; or, of what       ^
//!       |     | fall bad        |  |    took it out: fail_timeout is over,  |
//!       |     | probes          |  |    good probes, "up" by its agent      |
//!       |     |   drain, "drain"|  | ready, "ready",                        |
//!       |     |   or weight 0   v  | or a weight                            |
//! ready |     |            +----------+     fall bad probes ...             |
//! drain |     |            | draining | ----------------------------------->|
//!       |     |            +----------+ <----- ... rise good probes         |
//!       |     +------------------------------------------------------------>+
//!    +-------+
//!    | maint | <---- maint, from any state
//!    +-------+
//! ```
//!
//! An event changes what is known ([`ReplicaMachine::on`]); the state follows from that, and is brought up to date by
//! [`ReplicaMachine::settle`]: once after all events of one cause, so that one cause makes one change. Between the two the service
//! looks at all of its replicas, as a probe of one may say something about the others, or about this host (`suspicion`), and as
//! the last one is never ejected (`ejection`). Time is an argument; [`ReplicaMachine::next_deadline`] says when it matters.
//!
//! The table of all transitions is `tests/transition_table.rs`; `tests/machine_model.rs` has a plain model of it.

mod probed;
mod view;

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;

use super::{
    Moment,
    agent_check::{self, AgentCheck},
    answers::AnswerWatch,
    change::FailedConnections,
    health::{ReplicaHealth, RiseFall},
    passive::{Ejection, Evidence, Reading, Window},
    ramp::Ramp,
    replica::{Cause, Condition, ReplicaState},
    rules::Rules,
    suspicion::Silence,
};
use crate::config::{Admin, Replica};

pub(super) use probed::Probed;

/// What happens to a replica.
#[derive(Clone, Debug)]
pub(super) enum Event<'a> {
    /// It was probed. Nothing of it counts in maintenance.
    Probed(Probed),
    /// The datapath has counted its connections. Whether that is held against it is in [`News::evidence`].
    Counted(&'a Reading),
    /// The passive check of the service takes it out.
    Eject { evidence: &'a Evidence },
    /// The service lets it in again, if it was ejected, as it is needed.
    Readmit { why: &'a str },
    /// Its probes are not believed: it is taken for what it was before they failed.
    Hold {
        /// Others fell silent with it: the failures up to now do not count.
        together: bool,
        /// What this host suspects.
        why: Option<&'a str>,
    },
    /// Its probes are believed.
    Release,
    /// An operator's order, or another config.
    Configure { replica: Replica, rules: Arc<Rules> },
    /// The time is another.
    Tick,
}

/// What an event has shown besides a change of state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// This host could not ask it, and why; or, `Some(None)`, it can again.
    pub(super) probing: Option<Option<String>>,
    /// What is new of its agent.
    pub(super) agent: agent_check::News,
    /// It has failed too many connections.
    pub(super) evidence: Option<Evidence>,
}

/// What became of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Nothing.
    Unchanged,
    /// It is down as before, but its probes say so now and no longer the passive check.
    Confirmed {
        reason: String,
    },
    Changed(Transition),
}

/// A change of state; `from` is never `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: ReplicaState,
    pub(super) to: ReplicaState,
    pub(super) cause: Cause,
    /// For people.
    pub(super) reason: String,
    /// When it came into `from`.
    pub(super) since: Timestamp,
    pub(super) evidence: Option<FailedConnections>,
}

/// How a replica comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Return {
    /// With a slow start, where one is configured.
    Slow,
    /// At once, as it is needed.
    AtOnce,
}

/// What an event says of a change that may follow from it.
#[derive(Clone, Debug)]
struct Because {
    cause: Cause,
    reason: String,
    way: Return,
    evidence: Option<FailedConnections>,
}

impl Because {
    const fn new(cause: Cause, reason: String, way: Return) -> Self {
        Self { cause, reason, way, evidence: None }
    }
}

/// Why a replica is in maintenance.
const IN_MAINTENANCE: &str = "an operator put it into maintenance";
/// Why a replica drains though its weight is not 0.
const DRAINED: &str = "an operator drains it";

/// All that is known of a replica of a service, and the config that it obeys.
#[derive(Clone, Debug)]
pub(super) struct ReplicaMachine {
    replica: Replica,
    rules: Arc<Rules>,
    /// What its probes make of it.
    probes: RiseFall,
    /// Its probes that no one answered, up to now.
    silence: Silence,
    /// It is taken for what it was before its probes failed, as they may say more about this host.
    held: bool,
    /// What it says of itself.
    agent: AgentCheck,
    /// The connections that it failed.
    failures: Window,
    /// Where its answers go, in mode `dnat`.
    answers: AnswerWatch,
    /// While the passive check keeps it out.
    ejection: Option<Ejection>,
    /// While its share rises.
    ramp: Option<Ramp>,
    /// It was not serving before it was asked first: it begins slowly.
    away: bool,
    condition: Condition,
    /// The events since it was last settled, in a word.
    because: Option<Because>,
    /// Until when it is not said again that the passive check would have ejected it.
    pub(super) spared_until: Option<Instant>,
    /// Whether its flows were last notified to be reset.
    pub(super) notified_reset: bool,
}

impl ReplicaMachine {
    /// One that may have been serving all the time: the agent begins.
    pub(super) fn new(replica: Replica, rules: Arc<Rules>, now: Timestamp) -> Self {
        // Nothing else will say so: it is not probed.
        let (state, reason) = match replica.admin {
            Admin::Maint => (ReplicaState::Maint, Some(IN_MAINTENANCE.to_owned())),
            Admin::Ready | Admin::Drain => (ReplicaState::Starting, None),
        };
        Self {
            probes: RiseFall::new(rules.rise(), rules.fall()),
            replica,
            rules,
            silence: Silence::NONE,
            held: false,
            agent: AgentCheck::NONE,
            failures: Window::default(),
            answers: AnswerWatch::default(),
            ejection: None,
            ramp: None,
            away: false,
            condition: Condition::new(state, reason, now),
            because: None,
            spared_until: None,
            notified_reset: false,
        }
    }

    /// One that is new to a running agent.
    pub(super) fn added(replica: Replica, rules: Arc<Rules>, now: Timestamp) -> Self {
        Self { away: true, ..Self::new(replica, rules, now) }
    }

    /// Takes in what has happened. The state stays as it is until [`Self::settle`].
    pub(super) fn on(&mut self, event: Event<'_>, now: Instant) -> News {
        match event {
            Event::Probed(probed) => return self.probed(probed, now),
            Event::Counted(reading) => {
                return News { evidence: self.counted(reading, now), ..News::default() };
            }
            Event::Eject { evidence } => self.eject(evidence, now),
            Event::Readmit { why } => self.readmit(format!("tried again, as {why}"), Return::AtOnce),
            Event::Hold { together, why } => self.hold(together, why),
            Event::Release => self.release(),
            Event::Configure { replica, rules } => self.configure(replica, rules),
            Event::Tick => self.tick(now),
        }
        News::default()
    }

    /// Brings the state into line with what is known.
    pub(super) fn settle(&mut self, now: Moment) -> Settled {
        // Nothing has happened.
        let Some(Because { cause, reason, way, evidence }) = self.because.take() else {
            return Settled::Unchanged;
        };
        // What its probes say outweighs what the passive check said.
        let confirmed = self.judged() != ReplicaHealth::Up && self.end_ejection();
        let to = self.state();
        if self.condition.state == to {
            if !confirmed {
                return Settled::Unchanged;
            }
            self.condition.reason = Some(reason.clone());
            return Settled::Confirmed { reason };
        }
        let (from, since) = self.condition.enter(to, &reason, now.time);
        let back = match from {
            ReplicaState::Down | ReplicaState::Draining | ReplicaState::Maint => true,
            // A restarted agent finds replicas that were serving all the time.
            ReplicaState::Starting | ReplicaState::Up => self.away,
        };
        let slow =
            to == ReplicaState::Up && back && way == Return::Slow && !self.replica.slow_start.is_zero();
        self.away &= to == ReplicaState::Starting;
        self.ramp = slow.then(|| Ramp::new(now.clock, self.replica.slow_start));
        Settled::Changed(Transition { from, to, cause, reason, since, evidence })
    }

    /// When [`Event::Tick`] has to come though nothing else happens; `None` if it need not.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let ramp = self.ramp.map(|ramp| ramp.next(now).unwrap_or(now));
        ramp.into_iter().chain(self.ejection.as_ref().map(|ejection| ejection.until)).min()
    }

    /// The state that follows from what is known.
    fn state(&self) -> ReplicaState {
        match (self.replica.admin, self.judged()) {
            (Admin::Maint, _) => ReplicaState::Maint,
            (Admin::Ready | Admin::Drain, ReplicaHealth::Starting) => ReplicaState::Starting,
            (Admin::Ready | Admin::Drain, ReplicaHealth::Down) => ReplicaState::Down,
            (Admin::Ready | Admin::Drain, ReplicaHealth::Up) => {
                if self.ejection.is_some() || self.agent.unfit() {
                    ReplicaState::Down
                } else if self.offered() == 0 {
                    ReplicaState::Draining
                } else {
                    ReplicaState::Up
                }
            }
        }
    }

    fn counted(&mut self, reading: &Reading, now: Instant) -> Option<Evidence> {
        let new = self.failures.read(reading);
        if new.failures.count() == 0 {
            return None;
        }
        if let Some(ejection) = &mut self.ejection {
            ejection.failed(new.failures);
            return None;
        }
        if !self.eligible() {
            return None;
        }
        let evidence = self.failures.add(new, self.rules.max_fails, self.rules.fail_timeout, now)?;
        self.failures.clear();
        Some(evidence)
    }

    fn eject(&mut self, evidence: &Evidence, now: Instant) {
        if !self.eligible() || self.ejected() {
            return;
        }
        let timeout = self.rules.fail_timeout;
        self.ejection = Some(Ejection::new(evidence, now + timeout));
        self.because = Some(Because {
            evidence: Some(evidence.counts()),
            ..Because::new(Cause::PassiveCheck, evidence.describe(timeout), Return::Slow)
        });
    }

    fn readmit(&mut self, reason: String, way: Return) {
        // One that is down by its probes is not let in by it: they have the word, in `settle`.
        if self.judged() == ReplicaHealth::Up && self.end_ejection() {
            self.because(Cause::PassiveCheck, reason, way);
        }
    }

    /// Forgets what the passive check made of it. Returns whether that was anything.
    fn end_ejection(&mut self) -> bool {
        self.failures.clear();
        self.ejection.take().is_some()
    }

    fn hold(&mut self, together: bool, why: Option<&str>) {
        if together {
            self.silence.excuse();
        }
        if !std::mem::replace(&mut self.held, true) {
            let reason = why.map(str::to_owned).or_else(|| self.last_word());
            self.because_of_others(Cause::Suspicion, reason);
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.held) {
            self.because_of_others(Cause::Probe, self.last_word());
        }
    }

    fn configure(&mut self, replica: Replica, rules: Arc<Rules>) {
        let before = std::mem::replace(&mut self.replica, replica);
        let same_probe = self.rules.probe == rules.probe;
        self.rules = rules;
        let (rise, fall) = (self.rules.rise(), self.rules.fall());
        if self.rules.probe.agent_port.is_none() {
            self.agent = AgentCheck::NONE;
        }
        if self.replica.admin == Admin::Maint {
            self.end_ejection();
            self.condition.last_probe = None;
        } else if before.admin == Admin::Maint {
            // What it was before says nothing about it now.
            self.probes = RiseFall::new(rise, fall);
            self.silence = Silence::NONE;
            self.held = false;
            self.away = true;
        } else if !same_probe {
            self.probes = self.probes.clone().reconfigured(rise, fall);
        }
        let (cause, reason) = match (before.admin, self.replica.admin) {
            (_, Admin::Maint) => (Cause::Operator, IN_MAINTENANCE.to_owned()),
            (_, Admin::Drain) => (Cause::Operator, DRAINED.to_owned()),
            (Admin::Drain | Admin::Maint, Admin::Ready) => {
                (Cause::Operator, "an operator made it ready".to_owned())
            }
            (Admin::Ready, Admin::Ready) => (Cause::Config, format!("its weight is {}", self.replica.weight)),
        };
        self.because(cause, reason, Return::Slow);
        if self.rules.max_fails == 0 {
            self.readmit("tried again, as the passive check is turned off".to_owned(), Return::AtOnce);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.ramp.is_some_and(|ramp| ramp.next(now).is_none()) {
            self.ramp = None;
        }
        if self.ejection.as_ref().is_some_and(|ejection| ejection.until <= now) {
            self.readmit("tried again after fail_timeout".to_owned(), Return::Slow);
        }
    }

    /// The last event before the state is settled has the word.
    fn because(&mut self, cause: Cause, reason: String, way: Return) {
        self.because = Some(Because::new(cause, reason, way));
    }

    /// What other replicas' probes say of it has no word where its own event has one.
    fn because_of_others(&mut self, cause: Cause, reason: Option<String>) {
        if let Some(reason) = reason {
            self.because.get_or_insert(Because::new(cause, reason, Return::AtOnce));
        }
    }
}
