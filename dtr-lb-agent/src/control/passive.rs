//! The passive check: what the datapath saw fail, counted as nginx counts it (`max_fails` within `fail_timeout`). Pure:
//! counters and time in, a word about the replica out. What becomes of the word is for the service.

use std::{
    collections::VecDeque,
    ops::{Add, Sub},
    time::{Duration, Instant},
};

use super::ReplicaPlace;

/// What the datapath has counted for a replica of a service, since it has had the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub place: ReplicaPlace,
    /// SYNs that were answered by a reset.
    pub refused: u64,
    /// SYNs that had to be repeated, as there was no answer.
    pub unanswered: u64,
}

impl Reading {
    pub(super) fn failures(&self) -> Failures {
        let Self { place: _, refused, unanswered } = *self;
        Failures { refused, unanswered }
    }
}

/// Failed handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) refused: u64,
    pub(super) unanswered: u64,
}

impl Failures {
    pub(super) fn count(self) -> u64 {
        self.refused.saturating_add(self.unanswered)
    }

    /// For people: "2 connections refused within 30s".
    pub(super) fn describe(self, within: Duration) -> String {
        let noun = |count| if count == 1 { "connection" } else { "connections" };
        let what = match (self.refused, self.unanswered) {
            (refused, 0) => format!("{refused} {} refused", noun(refused)),
            (0, unanswered) => format!("{unanswered} {} unanswered", noun(unanswered)),
            (refused, unanswered) => {
                format!("{refused} {} refused and {unanswered} unanswered", noun(refused))
            }
        };
        format!("passive check: {what} within {}", humantime::format_duration(within))
    }
}

impl Add for Failures {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            refused: self.refused.saturating_add(other.refused),
            unanswered: self.unanswered.saturating_add(other.unanswered),
        }
    }
}

impl Sub for Failures {
    type Output = Option<Self>;

    /// `None` if a counter went backwards.
    fn sub(self, before: Self) -> Option<Self> {
        Some(Self {
            refused: self.refused.checked_sub(before.refused)?,
            unanswered: self.unanswered.checked_sub(before.unanswered)?,
        })
    }
}

/// The failures of one replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// What was counted when it was last looked at.
    seen: Option<Failures>,
    /// The failures of the last while; not more of them than it takes to have too many.
    recent: VecDeque<(Instant, Failures)>,
}

impl Window {
    /// Takes in the counters, which only ever rise, and returns what is new. The first reading, and one where a counter
    /// went backwards (another replica had them), says nothing.
    pub(super) fn read(&mut self, counted: Failures) -> Failures {
        match self.seen.replace(counted) {
            Some(before) => (counted - before).unwrap_or_default(),
            None => Failures::default(),
        }
    }

    /// Takes in new failures. Returns those of the last `within`, if they are `limit` or more.
    pub(super) fn add(
        &mut self,
        new: Failures,
        limit: u32,
        within: Duration,
        now: Instant,
    ) -> Option<Failures> {
        let limit = u64::from(limit);
        let fresh = |at: Instant| now.duration_since(at) < within;
        self.recent.retain(|(at, _)| fresh(*at));
        self.recent.push_back((now, new));
        let sum = self.recent.iter().fold(Failures::default(), |sum, (_, failures)| sum + *failures);
        (sum.count() >= limit).then_some(sum)
    }

    /// A probe has passed: what was not answered before it may never have been sent by whom it seemed to come from, or was not
    /// whole. A refusal was, as the replica's own word.
    pub(super) fn answered(&mut self) {
        self.recent.iter_mut().for_each(|(_, failures)| failures.unanswered = 0);
    }

    /// Forgets the failures, not the counters.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }
}

/// The word that a replica fails connections: it gets no new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// When it is tried again.
    pub(super) until: Instant,
    /// Good probes in a row since it last failed.
    pub(super) good_probes: u32,
    /// It has refused connections. What is only said to be unanswered loses against the first probe that passes.
    pub(super) refused: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(refused: u64, unanswered: u64) -> Failures {
        Failures { refused, unanswered }
    }

    #[test]
    fn what_is_new_is_the_difference() {
        type Readings = &'static [(u64, u64)];
        let cases: [(&str, Readings, (u64, u64)); 6] = [
            ("the first says nothing", &[(7, 8)], (0, 0)),
            ("nothing new", &[(7, 8), (7, 8)], (0, 0)),
            ("both", &[(7, 8), (9, 9)], (2, 1)),
            ("one went backwards", &[(7, 8), (1, 9)], (0, 0)),
            ("and on from there", &[(7, 8), (1, 0), (2, 0)], (1, 0)),
            ("to the end", &[(0, 0), (u64::MAX, u64::MAX)], (u64::MAX, u64::MAX)),
        ];
        for (name, readings, expected) in cases {
            let mut window = Window::default();
            let mut new = failures(9, 9);
            for (refused, unanswered) in readings {
                new = window.read(failures(*refused, *unanswered));
            }
            assert_eq!(new, failures(expected.0, expected.1), "{name}");
        }
    }

    #[test]
    fn too_many_within_the_time_are_too_many() {
        // Each: at which millisecond how many failed, and whether it was too many then, for 3 within 10 s.
        type Steps = &'static [(u64, u64, bool)];
        let cases: [(&str, Steps); 5] = [
            ("one by one", &[(0, 1, false), (1, 1, false), (2, 1, true)]),
            ("all at once", &[(0, 3, true)]),
            ("the first is too old", &[(0, 1, false), (5000, 1, false), (10_000, 1, false)]),
            ("the first is just young enough", &[(0, 1, false), (5000, 1, false), (9999, 1, true)]),
            ("old ones do not come back", &[(0, 2, false), (20_000, 2, false), (29_999, 1, true)]),
        ];
        let start = Instant::now();
        for (name, steps) in cases {
            let mut window = Window::default();
            for (at, refused, expected) in steps {
                let now = start + Duration::from_millis(*at);
                let found = window.add(failures(*refused, 0), 3, Duration::from_secs(10), now);
                assert_eq!(found.is_some(), *expected, "{name}, at {at} ms");
            }
        }
    }

    #[test]
    fn the_reason_says_what_was_seen() {
        let cases = [
            (failures(2, 0), "passive check: 2 connections refused within 30s"),
            (failures(0, 1), "passive check: 1 connection unanswered within 30s"),
            (failures(1, 2), "passive check: 1 connection refused and 2 unanswered within 30s"),
        ];
        for (seen, expected) in cases {
            assert_eq!(seen.describe(Duration::from_secs(30)), expected);
        }
    }
}
