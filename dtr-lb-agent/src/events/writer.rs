//! The thread that writes events: whoever records one does not wait for a disk.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use tracing::{info, warn};

use super::file::Segments;

/// Events that wait for the thread at most; more are in memory only, and counted.
const QUEUE: usize = 4096;
/// Bytes of events that could not be written and are tried again.
const MOST_HELD: usize = 256 << 10;
/// From one trial to the next, where nothing else happens.
const PAUSE: Duration = Duration::from_secs(10);
/// How long the end waits for what is left.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// A handle of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    lines: Sender<String>,
    counts: Arc<Counts>,
    done: Receiver<()>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Events that wait for the thread.
    waiting: AtomicUsize,
    /// Events for which too many waited.
    missed: AtomicU64,
}

impl Writer {
    /// `problem`: why the file cannot be written for now, if that is known.
    pub(super) fn spawn(path: PathBuf, problem: Option<String>) -> Self {
        let (lines, queue) = mpsc::channel();
        let (ended, done) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let mut thread = Thread {
            shown: path.display().to_string(),
            segments: Segments::new(path),
            held: VecDeque::new(),
            held_bytes: 0,
            lost: 0,
            counts: Arc::clone(&counts),
            failing: false,
        };
        if let Some(problem) = problem {
            thread.failed(&problem);
        }
        let spawned = thread::Builder::new().name("events".into()).spawn(move || {
            thread.run(&queue);
            // Who waits for it may have given up.
            let _ = ended.send(());
        });
        if let Err(error) = spawned {
            warn!(%error, "events are kept in memory only: no thread could be started to write them");
        }
        Self { lines, counts, done }
    }

    /// Returns at once, whatever the disk does.
    pub(super) fn write(&self, line: String) {
        let Counts { waiting, missed } = &*self.counts;
        // One thread at a time gives it lines: they are numbered under a lock.
        if waiting.load(Ordering::Relaxed) >= QUEUE {
            missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.fetch_add(1, Ordering::Relaxed);
        if self.lines.send(line).is_err() {
            missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether something waits that the thread has not tried to write yet.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.counts.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn finish(self) {
        let Self { lines, counts: _, done } = self;
        drop(lines);
        // A disk that does not answer keeps no agent from its end.
        let _ = done.recv_timeout(FINISH_LIMIT);
    }
}

/// The thread's own end.
struct Thread {
    shown: String,
    segments: Segments,
    /// What could not be written, the oldest first.
    held: VecDeque<String>,
    held_bytes: usize,
    /// What will never be.
    lost: u64,
    counts: Arc<Counts>,
    /// Whether that was told.
    failing: bool,
}

impl Thread {
    fn run(&mut self, queue: &Receiver<String>) {
        loop {
            match queue.recv_timeout(PAUSE) {
                Ok(line) => {
                    self.hold(line);
                    self.flush();
                    self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn hold(&mut self, line: String) {
        self.held_bytes += line.len();
        self.held.push_back(line);
        while self.held_bytes > MOST_HELD
            && let Some(line) = self.held.pop_front()
        {
            self.held_bytes -= line.len();
            self.lost += 1;
        }
    }

    fn flush(&mut self) {
        while let Some(line) = self.held.front() {
            match self.segments.append(line) {
                Ok(()) => {
                    self.held_bytes -= line.len();
                    self.held.pop_front();
                }
                Err(error) => return self.failed(&error),
            }
        }
        let lost = std::mem::take(&mut self.lost) + self.counts.missed.swap(0, Ordering::Relaxed);
        if self.failing || lost > 0 {
            // None could be written yet where nothing has happened.
            if self.segments.is_open() {
                self.failing = false;
                info!(path = self.shown, missing = lost, "events are written to their file again");
            } else {
                self.lost = lost;
            }
        }
    }

    /// Told once, until it is over.
    fn failed(&mut self, error: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                path = self.shown,
                %error,
                "events cannot be written to their file: the last ones are in memory, and would not outlast the agent; the agent \
                 retries"
            );
        }
    }
}
