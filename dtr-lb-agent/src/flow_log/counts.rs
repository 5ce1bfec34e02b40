//! What became of the lines, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Shared by those who offer and the thread that writes.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Records that wait; no count of what became of them.
    pub(super) queued: AtomicUsize,
    pub(super) lines: AtomicU64,
    pub(super) queue_full: AtomicU64,
    pub(super) not_written: AtomicU64,
    pub(super) omitted: AtomicU64,
    pub(super) overtaken: AtomicU64,
}

/// Since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowLogCounts {
    /// Lines that were written.
    pub lines: u64,
    /// Lost: more connections ended than the log keeps up with.
    pub queue_full: u64,
    /// Lost: the file or the journal did not take them.
    pub not_written: u64,
    /// Left out on purpose: more connections failed in a second than are written.
    pub omitted: u64,
    /// Lost: another connection took the entry of an ended one in the moment in which it was told.
    pub overtaken: u64,
}

impl FlowLogCounts {
    /// Lines that are not there, by reason. Those that the sample leaves out are not meant to be.
    #[must_use]
    pub const fn lost(self) -> [(&'static str, u64); 4] {
        let Self { lines: _, queue_full, not_written, omitted, overtaken } = self;
        [
            ("queue_full", queue_full),
            ("not_written", not_written),
            ("omitted", omitted),
            ("overtaken", overtaken),
        ]
    }
}

impl Counts {
    pub(super) fn read(&self) -> FlowLogCounts {
        FlowLogCounts {
            lines: self.lines.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            not_written: self.not_written.load(Relaxed),
            omitted: self.omitted.load(Relaxed),
            overtaken: self.overtaken.load(Relaxed),
        }
    }
}
