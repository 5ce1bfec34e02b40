//! What of the connections the log leaves out: of those that ended all but one of so many, of those that failed what is more
//! than a disk should take. Pure.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use super::{FlowEnd, FlowRecord};

/// Lines of connections that failed, a second: a flood must not fill the disk.
pub(super) const FAILED_PER_SECOND: u32 = 1000;

const SECOND: Duration = Duration::from_secs(1);

/// Whether one of `sample` is this one. By the connection alone, so that balancers that share a VIP log the same ones.
pub(super) fn is_sampled(record: &FlowRecord, sample: u32) -> bool {
    sample <= 1 || record.hash().is_multiple_of(u64::from(sample))
}

/// Counts the lines of connections that failed.
#[derive(Debug, Default)]
pub(super) struct FailedLimit {
    /// When the second under way has begun; none before the first line.
    begun: Option<Instant>,
    written: u32,
    omitted: u64,
}

impl FailedLimit {
    /// How many were left out in a second that is over, if any; to be asked before [`Self::takes`].
    pub(super) fn omitted(&mut self, now: Instant) -> Option<u64> {
        let is_over = self.begun.is_some_and(|begun| now.saturating_duration_since(begun) >= SECOND);
        if !is_over {
            return None;
        }
        Some(self.end()).filter(|omitted| *omitted > 0)
    }

    /// Ends the second under way, and returns how many were left out in it.
    pub(super) fn end(&mut self) -> u64 {
        std::mem::take(self).omitted
    }

    /// Whether one more is written.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        self.begun.get_or_insert(now);
        let takes = self.written < FAILED_PER_SECOND;
        if takes {
            self.written += 1;
        } else {
            self.omitted += 1;
        }
        takes
    }

    /// Leaves one out.
    pub(super) fn omit(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
        self.omitted += 1;
    }

    /// Whether a count waits to be written.
    pub(super) const fn is_due(&self) -> bool {
        self.omitted > 0
    }
}

/// Lines of one connection that was reset, a minute.
const LINES: u8 = 2;
const MINUTE: Duration = Duration::from_secs(60);
/// Connections that are remembered.
const REMEMBERED: usize = 65_536;

/// Connections that were reset of late. A client that pretends to reset its own connection and talks on ends it as often as it likes.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    begun: Option<Instant>,
    seen: HashMap<u64, u8>,
    /// So that nobody knows which connections are taken for each other.
    hasher: RandomState,
}

impl Repeats {
    /// Whether a line of this connection is one too many.
    pub(super) fn is_too_many(&mut self, record: &FlowRecord, now: Instant) -> bool {
        let FlowRecord { client, vip, start, end, .. } = record;
        if !matches!(end, FlowEnd::ClientReset | FlowEnd::ReplicaReset) {
            return false;
        }
        let is_over = self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= MINUTE);
        if is_over || self.seen.len() >= REMEMBERED {
            self.begun = Some(now);
            self.seen.clear();
        }
        let lines = self.seen.entry(self.hasher.hash_one((client, vip, start.as_second()))).or_default();
        *lines = lines.saturating_add(1);
        *lines > LINES
    }
}
