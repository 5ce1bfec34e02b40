//! The loop of one target: wait, probe, report. It judges nothing: how often it asks goes by the [`Certainty`] that the receiver of its
//! reports has come to, and lets it know ([`ProbeTask::pace`]).
//!
//! Each target has a task of its own, so a slow replica delays no other's probe. The one thing they share is the
//! receiver of their reports. A task waits for it only until its own next probe is due, then lets the report go. What was in it
//! is not lost: the next report that gets through says how many probes in a row found the same.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::Sender, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    AgentFailure, AgentWord, Failure, Found, Outcome, Prober,
    schedule::{Certainty, Schedule},
};

/// How long a probe that is due already waits for the answer to the report before it, which may say that it is not. A receiver that has
/// time needs a millisecond.
const ANSWER: Duration = Duration::from_millis(50);

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<K> {
    /// Whom it is about, as given to [`spawn`].
    pub id: K,
    /// What this probe found.
    pub outcome: Outcome,
    /// What the replica's agent said beside it; `None`: it was not asked, or had not answered yet.
    pub agent: Option<Result<AgentWord, AgentFailure>>,
    /// How many probes in a row, this one the last, have passed, or have failed, since the last report that was taken: 1, unless the
    /// receiver was too busy. What this host could not ask is none of them.
    pub in_a_row: u32,
    /// Before these there were some that found the opposite, and no report of them was taken.
    pub opposite: bool,
    /// By how much the timer was late that began it: more than some milliseconds where this host has no time.
    pub late: Duration,
}

/// A running probe. Dropping it ends the probing, also in the midst of a probe; a report already sent stays sent.
#[derive(Debug)]
#[must_use = "dropping it ends the probing"]
pub struct ProbeTask {
    handle: JoinHandle<()>,
    pace: watch::Sender<Certainty>,
}

impl ProbeTask {
    /// Says what the reports have come to: the next probe is due by that. To be called after each report.
    pub fn pace(&self, certainty: Certainty) {
        // The same as before is an answer, too.
        self.pace.send_replace(certainty);
    }
}

impl Drop for ProbeTask {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Probes for ever, and sends a report of each probe to `sink`. The first comes within 100 ms. A probe that is
/// configured away sends one report that says up, and no more. The task ends when `sink` is closed.
///
/// If `sink` is full, a report waits until the next probe is due and is then dropped, with a warning. Probes go
/// on meanwhile; see [`Report::in_a_row`].
///
/// `pace`: what is known of the replica now; [`Certainty::InDoubt`] if nothing.
///
/// # Panics
/// If called outside a Tokio runtime.
pub fn spawn<K>(id: K, prober: Prober, pace: Certainty, sink: Sender<Report<K>>) -> ProbeTask
where
    K: Clone + Send + 'static,
{
    let schedule = prober.asks().then_some(prober.schedule);
    let prober = Arc::new(prober);
    let probe = move || {
        let prober = Arc::clone(&prober);
        async move { prober.probe_and_ask().await }
    };
    let (pace, receiver) = watch::channel(pace);
    let reporter = Reporter { id, sink, untaken: Untaken::default() };
    ProbeTask { handle: tokio::spawn(run(probe, schedule, receiver, rand::random, reporter)), pace }
}

/// The loop, with what it needs from outside as arguments. Without a schedule it probes once.
pub(super) async fn run<K, P, F, R>(
    probe: P,
    schedule: Option<Schedule>,
    mut pace: watch::Receiver<Certainty>,
    mut random: R,
    mut reporter: Reporter<K>,
) where
    K: Clone,
    P: Fn() -> F,
    F: Future<Output = Found>,
    R: FnMut() -> f64,
{
    let mut due = Due::first(schedule.map(|schedule| schedule.first(random())).unwrap_or_default());
    tokio::select! {
        biased;
        () = reporter.sink.closed() => return,
        () = sleep_until(due.at) => {}
    }
    loop {
        let start = Instant::now();
        let late = due.late(start);
        let found = probe().await;
        let Some(schedule) = schedule else {
            // Nothing else is kept waiting, so this one may wait for ever.
            let report = reporter.report(found, late);
            let _taken_or_closed = reporter.sink.send(report).await;
            return;
        };
        let random = random();
        let next = |certainty| Due::at(start + schedule.next(certainty, random));
        match reporter.send_until(found, late, &mut pace, next).await {
            Ok(next) => due = next,
            Err(Closed) => return,
        }
    }
}

/// When a probe is due.
struct Due {
    at: Instant,
    /// When that was known.
    known: Instant,
}

impl Due {
    fn first(after: Duration) -> Self {
        Self::at(Instant::now() + after)
    }

    fn at(at: Instant) -> Self {
        Self { at, known: Instant::now() }
    }

    /// By how much the timer was late, for a probe that begins at `start`. What was due before anybody knew, as after a probe that took
    /// longer than its interval, is not late for that.
    fn late(&self, start: Instant) -> Duration {
        start.duration_since(self.at.max(self.known))
    }
}

/// Sends reports, and remembers what the receiver does not know.
pub(super) struct Reporter<K> {
    pub(super) id: K,
    pub(super) sink: Sender<Report<K>>,
    pub(super) untaken: Untaken,
}

/// The probes in a row that found the same and of which no report was taken.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    ok: bool,
    count: u32,
    /// Before them there were some that found the opposite.
    opposite: bool,
}

/// Nobody takes reports any more.
struct Closed;

impl<K: Clone> Reporter<K> {
    fn report(&mut self, found: Found, late: Duration) -> Report<K> {
        let Found { outcome, agent } = found;
        let Untaken { ok, count, opposite } = &mut self.untaken;
        let in_a_row = if outcome.error.as_ref().is_some_and(Failure::is_local) {
            1
        } else {
            *opposite |= *count > 0 && *ok != outcome.ok();
            *count = if *ok == outcome.ok() { count.saturating_add(1) } else { 1 };
            *ok = outcome.ok();
            *count
        };
        Report { id: self.id.clone(), outcome, agent, in_a_row, opposite: self.untaken.opposite, late }
    }

    /// Sends a report, as soon as there is room, and returns when the next probe is due. That is `next` of the pace, which may change
    /// meanwhile: most likely by this very report.
    async fn send_until(
        &mut self,
        found: Found,
        late: Duration,
        pace: &mut watch::Receiver<Certainty>,
        next: impl Fn(Certainty) -> Due,
    ) -> Result<Due, Closed> {
        let report = self.report(found, late);
        let counts = !report.outcome.error.as_ref().is_some_and(Failure::is_local);
        let mut sending = std::pin::pin!(self.sink.send(report));
        let mut sent = false;
        let mut due = next(*pace.borrow_and_update());
        loop {
            tokio::select! {
                biased;
                taken = &mut sending, if !sent => match taken {
                    Ok(()) => {
                        sent = true;
                        due.at = due.at.max(Instant::now() + ANSWER);
                    }
                    Err(_closed) => return Err(Closed),
                },
                Ok(()) = pace.changed() => due = next(*pace.borrow_and_update()),
                () = self.sink.closed() => return Err(Closed),
                () = sleep_until(due.at) => break,
            }
        }
        if !sent {
            tracing::warn!("the agent is too busy to take a probe's report; the next one makes up for it");
        } else if counts {
            (self.untaken.count, self.untaken.opposite) = (0, false);
        }
        Ok(due)
    }
}
