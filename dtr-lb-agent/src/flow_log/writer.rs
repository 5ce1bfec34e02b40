//! The thread "flow-log": takes what was offered, leaves out what is to be left out, and writes.

use std::{
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{broadcast, oneshot};
use tracing::warn;

use super::{
    FlowRecord, Settings,
    counts::Counts,
    omission::{FailedLimit, Repeats, is_sampled},
    output::{AGAIN, Output, Tally},
};

/// Records that are taken before lines are written: those who offer few at a time do not make a write of each.
const BATCH: usize = 4096;

/// Between two lines in the agent's log about what the queue had no room for.
const BETWEEN_TELLING: Duration = Duration::from_secs(60);

/// What the thread is told, in this order.
#[derive(Debug)]
pub(super) enum Message {
    Records(Vec<FlowRecord>),
    /// Another config, or the same once more.
    Settings(Settings),
    /// To be answered when all that was said before is done.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) messages: Receiver<Message>,
    pub(super) counts: Arc<Counts>,
    pub(super) followers: broadcast::Sender<Arc<FlowRecord>>,
    pub(super) output: Output,
    pub(super) sample: u32,
    pub(super) failed: FailedLimit,
    pub(super) repeats: Repeats,
    pub(super) telling: Telling,
}

/// What was told of records that the queue had no room for.
#[derive(Debug, Default)]
pub(super) struct Telling {
    told: u64,
    last: Option<Instant>,
}

impl Telling {
    /// How many are to be told now, of so many in all.
    pub(super) fn due(&mut self, lost: u64, now: Instant) -> Option<u64> {
        let more = lost - self.told;
        let is_soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN_TELLING);
        if more == 0 || is_soon {
            return None;
        }
        self.told = lost;
        self.last = Some(now);
        Some(more)
    }
}

impl Writer {
    /// Until nobody is left who could offer anything.
    pub(super) fn run(mut self) {
        loop {
            let first = if self.output.is_off() && !self.failed.is_due() {
                self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.messages.recv_timeout(AGAIN)
            };
            let now = Instant::now();
            match first {
                Ok(first) => self.take_batch(first, now),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write_omitted(now);
            self.output.flush(now);
            self.output.look_after(now);
            self.count();
            if let Some(lost) = self.telling.due(self.counts.queue_full.load(Relaxed), now) {
                warn!(
                    event = "flow_log_behind",
                    lost,
                    "the flow log does not keep up, and lines were lost: its disk or its journal is too slow for so many \
                     connections; set agent.flow_log_sample higher"
                );
            }
        }
        self.end_second(Instant::now());
        self.output.flush(Instant::now());
        self.count();
    }

    /// Takes the first message and those that wait behind it, but not for ever.
    fn take_batch(&mut self, first: Message, now: Instant) {
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Records(records) => {
                    taken += records.len();
                    self.counts.queued.fetch_sub(records.len(), Relaxed);
                    records.into_iter().for_each(|record| self.take(record, now));
                }
                Message::Settings(Settings { target, sample }) => {
                    self.end_second(now);
                    self.output.go_to(target.as_ref(), now);
                    self.sample = sample;
                }
                Message::Flush(done) => {
                    self.end_second(now);
                    self.output.flush(now);
                    self.count();
                    // Who asked may have gone.
                    let _ = done.send(());
                }
            }
            next = if taken < BATCH { self.messages.try_recv().ok() } else { None };
        }
    }

    /// Those who follow get all; the log what it takes.
    fn take(&mut self, record: FlowRecord, now: Instant) {
        if !self.output.is_off() {
            if record.end.is_failure() {
                self.write_omitted(now);
                if self.failed.takes(now) {
                    self.output.add(&record, now);
                } else {
                    self.counts.omitted.fetch_add(1, Relaxed);
                }
            } else if self.repeats.is_too_many(&record, now) {
                self.write_omitted(now);
                self.failed.omit(now);
                self.counts.omitted.fetch_add(1, Relaxed);
            } else if is_sampled(&record, self.sample) {
                self.output.add(&record, now);
            }
        }
        if self.followers.receiver_count() > 0 {
            // The last one may have gone this moment.
            let _ = self.followers.send(Arc::new(record));
        }
    }

    /// Of a second that is over.
    fn write_omitted(&mut self, now: Instant) {
        if let Some(count) = self.failed.omitted(now) {
            self.output.omitted(count, Timestamp::now(), now);
        }
    }

    /// Before the log goes elsewhere, or ends.
    fn end_second(&mut self, now: Instant) {
        let count = self.failed.end();
        if count > 0 {
            self.output.omitted(count, Timestamp::now(), now);
        }
    }

    fn count(&mut self) {
        let Tally { written, lost } = self.output.tally();
        self.counts.lines.fetch_add(written, Relaxed);
        self.counts.not_written.fetch_add(lost, Relaxed);
    }
}
