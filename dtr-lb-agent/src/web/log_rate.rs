//! A log line for many events: with their number, and at most one every few seconds.

use std::time::{Duration, Instant};

/// The log gets a line at most once in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// What was logged, and what was not.
#[derive(Debug, Default)]
pub(super) struct LogRate {
    last: Option<Instant>,
    since: u64,
}

impl LogRate {
    /// How many there were since the last line, if it is time for another.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_one_line_with_their_number() {
        let begin = Instant::now();
        let mut rate = LogRate::default();
        assert_eq!(rate.count(begin), Some(1));
        for second in 1..10 {
            assert_eq!(rate.count(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(rate.count(begin + PAUSE), Some(10));
    }
}
