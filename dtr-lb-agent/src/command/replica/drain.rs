//! `dtr-lb replica drain --wait`: the order, and the waiting until no connection is left.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    path::Path,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    super::{Failure, complain, print, print_json, runtime},
    wait::{GivenUp, Waited, Waiting},
};
use crate::{
    api::{self, Ordered, ReplicaOrder, Replicas},
    cli::OfAll,
};

/// From one look to the next. Connections are counted once a second at most.
const PERIOD: Duration = Duration::from_millis(500);
/// From one line to the next where they are not rewritten.
const LINES: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long there may be no agent: a restart takes seconds.
const AWAY_LIMIT: Duration = Duration::from_secs(30);

/// All of it, as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    done: &'a [String],
    notes: &'a [String],
    waited_seconds: f64,
    /// Connections of all that were still waited for.
    left: u64,
    replicas: &'a [Waited],
}

/// Drains, and waits.
pub(super) fn and_wait(
    socket: &Path,
    of: &OfAll,
    timeout: Option<Duration>,
    json: bool,
) -> Result<(), Failure> {
    let OfAll { replicas, service } = of;
    let order = ReplicaOrder::Drain { replica: Replicas(replicas.clone()), service: service.clone() };
    runtime()?.block_on(async {
        // From here on Ctrl-C ends the waiting, and that is said.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let ordered = api::ask_replica(socket, &order).await?;
        let begun = Instant::now();
        if !json {
            let Ordered { done, notes } = &ordered;
            notes.iter().for_each(|note| complain(&format!("note: {note}")));
            print(&done.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        }
        let status = api::ask_status_within(socket, ANSWER_LIMIT).await?;
        let mut waiting = Waiting::new(&status, replicas, service.as_deref());
        let mut progress = Progress::new(json);
        let deadline = async {
            match timeout.and_then(|timeout| begun.checked_add(timeout)) {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let given_up = tokio::select! {
            over = until_none_is_left(socket, &mut waiting, &mut progress, begun) => over.map(|()| None),
            () = deadline => Ok(Some(GivenUp::Timeout(signed(timeout.unwrap_or_default())))),
            _ = interrupt.recv() => Ok(Some(GivenUp::Interrupted)),
        };
        progress.end_line();
        conclude(given_up?, &waiting, &ordered, signed(begun.elapsed()), json)
    })
}

/// # Errors
/// There is no agent any more.
async fn until_none_is_left(
    socket: &Path,
    waiting: &mut Waiting,
    progress: &mut Progress,
    begun: Instant,
) -> Result<(), Failure> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = Instant::now();
    while !waiting.is_over() {
        ticks.tick().await;
        match api::ask_status_within(socket, ANSWER_LIMIT).await {
            Ok(status) => {
                answered = Instant::now();
                waiting.take(&status).iter().for_each(|line| progress.tell(line));
                if !waiting.is_over() {
                    progress.show(&waiting.line(signed(begun.elapsed())));
                }
            }
            // An agent that is started anew goes on with the drain.
            Err(_) if answered.elapsed() < AWAY_LIMIT => {}
            Err(error) => {
                let Failure { status, message } = error.into();
                let message =
                    format!("{message}; what is left is not known, and the drain is kept for the next agent");
                return Err(Failure { status, message });
            }
        }
    }
    Ok(())
}

fn conclude(
    given_up: Option<GivenUp>,
    waiting: &Waiting,
    Ordered { done, notes }: &Ordered,
    waited: SignedDuration,
    json: bool,
) -> Result<(), Failure> {
    if json {
        let (left, replicas) = (waiting.left(), waiting.replicas.as_slice());
        print_json(&Outcome { done, notes, waited_seconds: waited.as_secs_f64(), left, replicas })?;
    }
    match given_up
        .map_or_else(|| waiting.outcome(waited), |why| Err(waiting.given_up(&why, Timestamp::now())))
    {
        Ok(_) if json => Ok(()),
        Ok(words) => print(&format!("{words}\n")),
        Err(words) => Err(Failure::failed(words)),
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// What is left, on standard error: a line that is rewritten on a terminal, else one every few seconds; nothing for scripts.
struct Progress {
    quiet: bool,
    terminal: bool,
    /// A line stands there that is to be rewritten.
    open: bool,
    told: Option<Instant>,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        Self { quiet, terminal: stderr().is_terminal(), open: false, told: None }
    }

    fn show(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        if self.terminal {
            // To the line's start, the text, and nothing behind it. Where it cannot be written, nobody reads it.
            let _ = write!(stderr(), "\r{line}\x1b[K");
            self.open = true;
        } else if self.told.is_none_or(|told| told.elapsed() >= LINES) {
            complain(line);
            self.told = Some(Instant::now());
        }
    }

    /// A line that stays.
    fn tell(&mut self, line: &str) {
        self.end_line();
        if !self.quiet {
            complain(line);
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.open) {
            complain("");
        }
    }
}
