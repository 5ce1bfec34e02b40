//! What is done to a replica while clients connect, and what they notice.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::Original;
use crate::lab::{Client, Lab, Replica, until};

/// Clients at once, each with one new connection after the other.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);
/// What a person waits for.
const PATIENCE: &str = "5";
/// What comes before the deed, and how long its effect is watched.
const BEFORE: Duration = Duration::from_secs(1);

/// Something that happens to the first replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Its servers die; its host refuses.
    Killed,
    /// Its cable is cut: nothing comes from it.
    Cut,
    /// Its servers stand still; its host takes connections.
    Frozen,
    /// `/health` answers 503; all else works.
    Sick,
}

impl Deed {
    pub const ALL: [Self; 4] = [Self::Killed, Self::Cut, Self::Frozen, Self::Sick];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Cut => "cut off",
            Self::Frozen => "frozen",
            Self::Sick => "sick (503)",
        }
    }

    fn begin(self, replica: &Replica) -> Result<()> {
        Ok(match self {
            Self::Killed => replica.kill(),
            Self::Cut => replica.cut(),
            Self::Frozen => replica.freeze(),
            Self::Sick => replica.sicken(),
        }?)
    }

    fn undo(self, replica: &Replica) -> Result<()> {
        Ok(match self {
            Self::Killed => replica.start(),
            Self::Cut => replica.join(),
            Self::Frozen => replica.thaw(),
            Self::Sick => replica.heal(),
        }?)
    }
}

/// What clients noticed of a deed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    pub requests: usize,
    pub failed: usize,
    /// In curl's words, each with how often.
    pub errors: BTreeMap<String, usize>,
    /// Of those that did not fail.
    pub slowest: Duration,
    /// In the last quarter of the time: requests that failed, or that this replica still answered.
    pub still_failed: usize,
    pub still_answered: usize,
}

/// Plays the deed for `time`, and waits until all replicas serve again.
pub fn play(lab: &Lab, original: Original, deed: Deed, time: Duration) -> Result<Noticed> {
    let replica = &lab.replicas()[0];
    let over = AtomicBool::new(false);
    let late = AtomicBool::new(false);
    let noticed = thread::scope(|scope| -> Result<Noticed> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let client = lab.client().clone();
                let (over, late) = (&over, &late);
                scope.spawn(move || ask(&client, original, replica.name(), over, late))
            })
            .collect();
        thread::sleep(BEFORE);
        let begun = deed.begin(replica);
        thread::sleep(time * 3 / 4);
        late.store(true, Ordering::Relaxed);
        thread::sleep(time / 4);
        over.store(true, Ordering::Relaxed);
        let mut all = Noticed::default();
        for client in clients {
            all.add(client.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)));
        }
        begun?;
        deed.undo(replica)?;
        Ok(all)
    })?;
    // nginx leaves a server alone for 30 s after it failed.
    let mut seen = BTreeMap::new();
    let all_serve = until(Duration::from_secs(60), || {
        if let Ok(answer) = lab.client().curl(original.url(), &["--insecure", "--max-time", "1"])
            && answer.is_ok()
        {
            *seen.entry(answer.text()).or_insert(0) += 1;
        }
        seen.len() == lab.replicas().len()
    });
    ensure!(all_serve, "a minute after {} was {}, only these serve: {seen:?}", replica.name(), deed.name());
    Ok(noticed)
}

fn ask(client: &Client, original: Original, replica: &str, over: &AtomicBool, late: &AtomicBool) -> Noticed {
    let mut noticed = Noticed::default();
    while !over.load(Ordering::Relaxed) {
        let is_late = late.load(Ordering::Relaxed);
        let begun = Instant::now();
        let answer = client.curl(original.url(), &["--insecure", "--max-time", PATIENCE]);
        noticed.requests += 1;
        match answer {
            Ok(answer) if answer.is_ok() => {
                noticed.slowest = noticed.slowest.max(begun.elapsed());
                noticed.still_answered += usize::from(is_late && answer.text() == replica);
            }
            failed => {
                let why = match failed {
                    Ok(answer) => format!("curl {}, status {}", answer.exit, answer.http_code),
                    Err(error) => error.to_string(),
                };
                *noticed.errors.entry(why).or_insert(0) += 1;
                noticed.failed += 1;
                noticed.still_failed += usize::from(is_late);
            }
        }
        thread::sleep(PAUSE);
    }
    noticed
}

impl Noticed {
    fn add(&mut self, other: Self) {
        let Self { requests, failed, errors, slowest, still_failed, still_answered } = other;
        self.requests += requests;
        self.failed += failed;
        for (why, count) in errors {
            *self.errors.entry(why).or_insert(0) += count;
        }
        self.slowest = self.slowest.max(slowest);
        self.still_failed += still_failed;
        self.still_answered += still_answered;
    }
}
