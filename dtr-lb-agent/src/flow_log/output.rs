//! Where the lines go: nowhere, into a file, or into the journal; and what is told of it when that fails. A failure costs the lines
//! that come while it lasts, and nothing else.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{info, warn};

use super::{
    FlowRecord,
    file::{LogFile, Unwritten},
    journal::{Fields, Journal},
    line::{LoggedFlow, Note, append},
};
use crate::config::FlowLogTarget;

/// Between two tries, and between two looks at the path of the file.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Bytes of lines that wait for the end of a batch at most.
const LARGEST_WRITE: usize = 256 << 10;

/// The log's place.
#[derive(Debug)]
pub(super) struct Output {
    place: Place,
    /// Where the journal is.
    journal: PathBuf,
    /// Lines for the file that are not written yet.
    text: Vec<u8>,
    lines: u64,
    /// The next look at the file's path.
    look: Instant,
    failing: Option<Failing>,
    /// What became of lines since that was asked.
    tally: Tally,
}

#[derive(Debug)]
enum Place {
    Off,
    File(LogFile),
    Journal(Journal),
}

/// It could not be written to.
#[derive(Debug)]
struct Failing {
    again: Instant,
    lost: u64,
}

/// Lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) written: u64,
    pub(super) lost: u64,
}

impl Output {
    pub(super) fn new(target: Option<&FlowLogTarget>, journal: PathBuf, now: Instant) -> Self {
        let mut output = Self {
            place: Place::Off,
            journal,
            text: Vec::new(),
            lines: 0,
            look: now,
            failing: None,
            tally: Tally::default(),
        };
        output.go_to(target, now);
        output
    }

    pub(super) const fn is_off(&self) -> bool {
        matches!(self.place, Place::Off)
    }

    /// Writes what waits, and goes on there; to the same place, it looks whether the file is still that of its path.
    pub(super) fn go_to(&mut self, target: Option<&FlowLogTarget>, now: Instant) {
        let stays = match (&self.place, target) {
            (Place::Off, None) | (Place::Journal(_), Some(FlowLogTarget::Journal)) => true,
            (Place::File(file), Some(FlowLogTarget::File(path))) => file.path() == path,
            (Place::Off | Place::File(_) | Place::Journal(_), _) => false,
        };
        if !stays {
            self.flush(now);
            self.failing = None;
            self.place = match target {
                None => Place::Off,
                Some(FlowLogTarget::Journal) => Place::Journal(Journal::new(self.journal.clone())),
                Some(FlowLogTarget::File(path)) => Place::File(LogFile::new(path.clone())),
            };
        }
        self.look = now;
        self.look_after(now);
    }

    /// Once a second: the file of the path is the one that is written to.
    pub(super) fn look_after(&mut self, now: Instant) {
        if now < self.look {
            return;
        }
        self.look = now + AGAIN;
        let Place::File(file) = &mut self.place else { return };
        match (file.follow(), &mut self.failing) {
            (Err(error), _) => self.failed(&error, now),
            // It may be another file by now: the next lines try it.
            (Ok(()), Some(failing)) => failing.again = now,
            (Ok(()), None) => {}
        }
    }

    pub(super) fn add(&mut self, record: &FlowRecord, now: Instant) {
        if self.is_off() {
            return;
        }
        append(&mut self.text, &LoggedFlow::from(record));
        let FlowRecord { service, replica, end, .. } = record;
        self.added(Some(&Fields { service, replica: replica.as_deref(), end: *end }), now);
    }

    /// That so many lines are left out here.
    pub(super) fn omitted(&mut self, count: u64, time: Timestamp, now: Instant) {
        if self.is_off() {
            return;
        }
        append(&mut self.text, &Note::omitted(time, count));
        self.added(None, now);
    }

    fn added(&mut self, fields: Option<&Fields<'_>>, now: Instant) {
        self.lines += 1;
        if let Place::Journal(journal) = &mut self.place {
            let sent = match &self.failing {
                Some(failing) if now < failing.again => None,
                _ => Some(journal.send(self.text.trim_ascii_end(), fields)),
            };
            self.text.clear();
            self.lines = 0;
            match sent {
                Some(Ok(())) => self.wrote(1),
                Some(Err(error)) => {
                    self.lost(1);
                    self.failed(&error, now);
                }
                None => self.lost(1),
            }
        } else if self.text.len() >= LARGEST_WRITE {
            self.flush(now);
        }
    }

    /// Writes what waits: whole lines.
    pub(super) fn flush(&mut self, now: Instant) {
        let lines = std::mem::take(&mut self.lines);
        if lines == 0 {
            return;
        }
        let Place::File(file) = &mut self.place else {
            self.text.clear();
            return;
        };
        if self.failing.as_ref().is_some_and(|failing| now < failing.again) {
            self.text.clear();
            self.lost(lines);
            return;
        }
        match file.append(&self.text) {
            Ok(()) => {
                self.text.clear();
                self.wrote(lines);
            }
            Err(Unwritten { written, error }) => {
                let whole = self.text[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.text.clear();
                self.tally.written += whole;
                self.lost(lines - whole);
                self.failed(&error, now);
            }
        }
    }

    fn wrote(&mut self, lines: u64) {
        self.tally.written += lines;
        if let Some(Failing { lost, .. }) = self.failing.take() {
            info!(event = "flow_log_resumed", lost, "the flow log is written again");
        }
    }

    fn lost(&mut self, lines: u64) {
        self.tally.lost += lines;
        if let Some(failing) = &mut self.failing {
            failing.lost += lines;
        }
    }

    /// Told once, until it is written again.
    fn failed(&mut self, error: &io::Error, now: Instant) {
        let again = now + AGAIN;
        if let Some(failing) = &mut self.failing {
            failing.again = again;
            return;
        }
        let path = match &self.place {
            Place::Off => return,
            Place::File(file) => file.path(),
            Place::Journal(journal) => journal.path(),
        };
        warn!(
            event = "flow_log_failed",
            path = %path.display(),
            %error,
            "the flow log cannot be written: its lines are lost until it can; retrying every second"
        );
        self.failing = Some(Failing { again, lost: 0 });
    }

    /// What became of lines since the last time.
    pub(super) fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}
