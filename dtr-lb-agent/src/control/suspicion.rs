//! Probes that nobody answers: whether they speak against the replica, or against this host, its network, or its own lack of time.
//!
//! - A replica is *dead* if it said nothing to any client, either, while its probes failed. The kernel of a process that is frozen still
//!   acknowledges; who answers clients with data, or closes their connections, is at work.
//! - If most replicas of a service fall silent together, what they have in common is this host.
//! - If the probes' own timers run late, this host has no time for answers that may have come.
//!
//! A replica that falls down in one of these ways is *held*: it is taken for what it was before. For a while only: a rack may really
//! have lost its power. Probes that fail for [`ROUNDS`] more times what takes a replica down are believed. So are refusals and bad
//! answers, always: they came.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{
    Change, Moment,
    health::ReplicaHealth,
    machine::{Event, ReplicaMachine},
    service::ServiceState,
};
use crate::{
    config::{Admin, Probe},
    probe::{Failure, Outcome},
};

/// How late a timer of a probe may be. On a host that has time it is a millisecond or two; a scheduler lets nobody wait for so long
/// while there is a processor to be had.
const OVERLOADED: Duration = Duration::from_millis(200);
/// How many times as many failures as take a replica down it takes more, where this host is the one in doubt: with the default probe
/// some 20 seconds. Meanwhile clients of a replica that is really gone lose a second each, as their SYN goes to another one.
const ROUNDS: u32 = 3;

/// What a probe has told besides its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// By how much the timers of the probe were late.
    pub late: Duration,
    /// Packets with data or a FIN that the replica has sent to clients, ever, by the datapath's count.
    pub data_to_client: u64,
}

/// Why this host doubts its own probes, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub since: Timestamp,
    pub reason: String,
}

/// The probes of a replica that nobody answered, one after the other, up to now.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// How many. A refusal is one of them: it comes from a kernel.
    count: u32,
    /// When the first of those began that nothing at all came back from, and what the replica was taken for then.
    began: Option<Instant>,
    before: ReplicaHealth,
    /// How many of these there were while this host had time.
    clear: u32,
    /// How many of those do not count, as others fell silent with it.
    excused: u32,
    /// By how much the last of the others was late.
    late: Option<Duration>,
    /// How many the replica said nothing to clients between, either.
    mute: u32,
    /// What it had said at the last of them.
    data_to_client: u64,
    /// It is dead, as far as this tells.
    pub(super) dead: bool,
}

impl Silence {
    /// None.
    pub(super) const NONE: Self = Self {
        count: 0,
        began: None,
        before: ReplicaHealth::Starting,
        clear: 0,
        excused: 0,
        late: None,
        mute: 0,
        data_to_client: 0,
        dead: false,
    };

    /// Takes in a probe of a replica that is taken for `judged`.
    pub(super) fn take(
        &mut self,
        probe: &Probe,
        (outcome, circumstances): (&Outcome, Circumstances),
        judged: ReplicaHealth,
        now: Instant,
    ) {
        let Circumstances { late, data_to_client } = circumstances;
        match &outcome.error {
            Some(failure) if failure.is_local() => {}
            Some(failure) if !failure.answered() => {
                let speaks = self.count > 0 && self.data_to_client != data_to_client;
                self.data_to_client = data_to_client;
                self.count = self.count.saturating_add(1);
                let in_time = u32::from(late < OVERLOADED);
                self.mute = if speaks { 0 } else { self.mute.saturating_add(in_time) };
                if *failure == Failure::Refused {
                    (self.began, self.clear, self.excused, self.late) = (None, 0, 0, None);
                } else {
                    if self.began.is_none() {
                        self.before = judged;
                        self.began = Some(now.checked_sub(outcome.took).unwrap_or(now));
                    }
                    self.clear = self.clear.saturating_add(in_time);
                    self.late = if in_time == 0 { Some(late) } else { self.late };
                }
                // The others have been asked once more since: if they fell silent with it, that is known by now.
                let alone = self.began.is_none_or(|began| now.duration_since(began) >= together(probe));
                // One probe is over as soon as it has begun, and nothing was heard meanwhile: it takes two.
                self.dead = alone && self.mute >= probe.fall.max(2);
            }
            Some(_) => *self = Self::NONE,
            // What it was before is what it is until it has passed often enough.
            None => *self = Self { before: self.before, ..Self::NONE },
        }
    }

    /// What the replica was taken for when it fell silent.
    pub(super) fn before(&self) -> ReplicaHealth {
        self.before
    }

    /// Those up to now do not count, as others fell silent with it.
    pub(super) fn excuse(&mut self) {
        self.excused = self.clear;
    }
}

/// Replicas whose first silent probes began within this fell silent together: each is probed once an interval, sooner or later by its
/// jitter (half of it at most).
fn together(probe: &Probe) -> Duration {
    probe.interval.mul_f64(1.5)
}

/// Why a replica that probes say to be down is held.
enum Doubt {
    /// So many of so many fell silent with it.
    Together(usize, usize),
    Late(Duration),
    /// No more: it answers again, or the others do, but its probes have not yet said so often enough what it is by itself.
    Over,
}

impl ServiceState {
    /// Looks which replicas are held, after a probe of one was taken in. Returns what there is to tell.
    pub(super) fn doubt(&mut self, now: Moment) -> Option<Change> {
        let doubts: Vec<_> = self.replicas.iter().map(|replica| self.doubt_of(replica)).collect();
        let window = humantime::format_duration(together(&self.rules.probe));
        let words = |doubt: &Doubt| match doubt {
            Doubt::Together(silent, of) => {
                Some(format!("{silent} of {of} replicas fell silent within {window} of each other"))
            }
            Doubt::Late(late) => {
                Some(format!("timers of probes run {} ms late: this host is overloaded", late.as_millis()))
            }
            Doubt::Over => None,
        };
        let reason = doubts.iter().flatten().find_map(words);
        for (replica, doubt) in self.replicas.iter_mut().zip(doubts) {
            let event = match doubt {
                Some(doubt) => {
                    Event::Hold { together: matches!(doubt, Doubt::Together(..)), why: reason.as_deref() }
                }
                None => Event::Release,
            };
            replica.on(event, now.clock);
        }
        let since = self.suspicion.take().map(|suspicion| suspicion.since);
        self.suspicion = reason.clone().map(|reason| Suspicion { since: since.unwrap_or(now.time), reason });
        let is_new = since.is_some() != reason.is_some();
        is_new.then(|| Change::Suspicion { service: self.rules.service.clone(), reason })
    }

    fn doubt_of(&self, replica: &ReplicaMachine) -> Option<Doubt> {
        let answers = replica.condition().last_probe.as_ref().is_some_and(Outcome::ok);
        if replica.held() && answers && replica.health() == ReplicaHealth::Down {
            return Some(Doubt::Over);
        }
        let &Silence { began: Some(began), before, clear, excused, late, .. } = replica.silence() else {
            return None;
        };
        if replica.health() != ReplicaHealth::Down || before == ReplicaHealth::Down {
            return None;
        }
        let fall = self.rules.fall();
        let window = together(&self.rules.probe);
        let near = |other: Instant| other.max(began).duration_since(other.min(began)) <= window;
        let probed = || self.replicas.iter().filter(|other| other.replica().admin != Admin::Maint);
        let silent = probed().filter(|other| other.silence().began.is_some_and(near)).count();
        let of = probed().count();
        let doubtful = clear < fall.saturating_mul(1 + ROUNDS);
        if doubtful && silent >= 2 && 2 * silent > of {
            return Some(Doubt::Together(silent, of));
        }
        if doubtful && replica.held() && excused > 0 && clear < excused.saturating_add(fall) {
            return Some(Doubt::Over);
        }
        late.filter(|_| clear < fall).map(Doubt::Late)
    }
}
