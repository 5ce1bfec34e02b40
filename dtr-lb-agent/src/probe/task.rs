//! The loop of one target: wait, probe, judge, report.
//!
//! Each target has a task of its own, so a slow replica delays no other's probe. The one thing they share is the
//! receiver of their reports. A task waits for it only until its own next probe is due, then lets the report go;
//! the transition in it is not lost, it goes with the next one that gets through.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::Sender,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    AgentFailure, AgentWord, Found, Outcome, Prober,
    health::{Health, State, Transition},
    schedule::Schedule,
};

/// What a probe found, and what it made of the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<K> {
    /// Whom it is about, as given to [`spawn`].
    pub id: K,
    /// What this probe found.
    pub outcome: Outcome,
    /// What the replica's agent said beside it; `None`: it was not asked, or had not answered yet.
    pub agent: Option<Result<AgentWord, AgentFailure>>,
    /// The replica's state after it.
    pub state: State,
    /// The change since the last report that was taken, if there is one.
    pub transition: Option<Transition>,
    /// By how much the timer was late that began it: more than some milliseconds where this host has no time.
    pub late: Duration,
}

/// A running probe. Dropping it ends the probing, also in the midst of a probe; a report already sent stays sent.
#[derive(Debug)]
#[must_use = "dropping it ends the probing"]
pub struct ProbeTask {
    handle: JoinHandle<()>,
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
/// on meanwhile, and `Report::transition` tells the change since the last report that was taken.
///
/// A failure of this host's own ([`super::Failure::is_local`]) is reported, but leaves the state as it is.
///
/// `known`: what earlier probes have made of the replica, in another way of asking; [`State::Starting`] if nothing.
///
/// # Panics
/// If called outside a Tokio runtime.
pub fn spawn<K>(id: K, prober: Prober, known: State, sink: Sender<Report<K>>) -> ProbeTask
where
    K: Clone + Send + 'static,
{
    let schedule = prober.asks().then_some(prober.schedule);
    // One that is not asked is up at once, whatever it was.
    let known = if schedule.is_some() { known } else { State::Starting };
    let health = Health::known(prober.rise, prober.fall, known);
    let prober = Arc::new(prober);
    let probe = move || {
        let prober = Arc::clone(&prober);
        async move { prober.probe_and_ask().await }
    };
    let reporter = Reporter { id, reported: health.state(), sink };
    ProbeTask { handle: tokio::spawn(run(probe, health, schedule, rand::random, reporter)) }
}

/// The loop, with what it needs from outside as arguments. Without a schedule it probes once.
pub(super) async fn run<K, P, F, R>(
    probe: P,
    mut health: Health,
    schedule: Option<Schedule>,
    mut random: R,
    mut reporter: Reporter<K>,
) where
    K: Clone,
    P: Fn() -> F,
    F: Future<Output = Found>,
    R: FnMut() -> f64,
{
    let mut due = Instant::now() + schedule.map(|schedule| schedule.first(random())).unwrap_or_default();
    loop {
        // A probe that took longer than its interval is followed by the next at once, which is not late for that.
        let free = Instant::now();
        tokio::select! {
            biased;
            () = reporter.sink.closed() => return,
            () = sleep_until(due) => {}
        }
        let start = Instant::now();
        let late = start.duration_since(due.max(free));
        let found = probe().await;
        let outcome = &found.outcome;
        if !outcome.error.as_ref().is_some_and(super::Failure::is_local) {
            health.observe(outcome.ok());
        }
        let Some(schedule) = schedule else {
            // Nothing else is kept waiting, so this one may wait for ever.
            let _taken_or_closed = reporter.report(found, health.state(), late).await;
            return;
        };
        due = start + schedule.next(health.certainty(), random());
        match timeout_at(due, reporter.report(found, health.state(), late)).await {
            Ok(Ok(())) => {}
            Ok(Err(Closed)) => return,
            Err(_elapsed) => {
                tracing::warn!(state = %health.state(), "the agent is too busy to take a probe's report; dropped");
            }
        }
    }
}

/// Sends reports, and remembers which state the receiver knows of.
pub(super) struct Reporter<K> {
    pub(super) id: K,
    pub(super) reported: State,
    pub(super) sink: Sender<Report<K>>,
}

/// Nobody takes reports any more.
struct Closed;

impl<K: Clone> Reporter<K> {
    /// Waits for room and sends. Nothing is sent, and nothing taken as known, if it is dropped before it is done.
    async fn report(&mut self, found: Found, state: State, late: Duration) -> Result<(), Closed> {
        let room = self.sink.reserve().await.map_err(|_closed| Closed)?;
        let from = std::mem::replace(&mut self.reported, state);
        let transition = (from != state).then_some(Transition { from, to: state });
        let Found { outcome, agent } = found;
        room.send(Report { id: self.id.clone(), outcome, agent, state, transition, late });
        Ok(())
    }
}
