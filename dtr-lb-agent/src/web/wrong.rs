//! Wrong admin tokens in the log: that there were some, and from where, but not one line each, and never the token.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

use super::gate::Peer;

/// The log gets a line at most so often.
const PAUSE: Duration = Duration::from_secs(10);

/// What was logged, and what was not.
#[derive(Debug, Default)]
pub(super) struct WrongTokens(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    last: Option<Instant>,
    since: u64,
}

impl Tally {
    /// How many there were since the last line, if it is time for another.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl WrongTokens {
    pub(super) fn log(&self, from: Option<Peer>, now: Instant) {
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner).count(now);
        if let Some(count) = due {
            let from = from.map(|Peer(address)| address.to_string()).unwrap_or_default();
            warn!(
                from,
                count, "a wrong admin token was given over HTTP; `count` is since the last such line"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_one_line_with_their_number() {
        let begin = Instant::now();
        let mut tally = Tally::default();
        assert_eq!(tally.count(begin), Some(1));
        for second in 1..10 {
            assert_eq!(tally.count(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(tally.count(begin + PAUSE), Some(10));
    }
}
