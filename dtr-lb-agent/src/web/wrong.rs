//! Wrong admin tokens: how many of a source wait for their answer, and a log line that there were some and from where, with a
//! limited rate, and never with the token.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tracing::warn;

use super::{log_rate::LogRate, source::Source};

/// Wrong tokens of one source that may wait at once and be answered as usual.
pub(super) const FEW: usize = 8;

#[derive(Debug, Default)]
pub(super) struct WrongTokens {
    log: Mutex<LogRate>,
    /// How many of a source wait. Bounded by the connections that there are.
    waiting: Mutex<HashMap<Source, usize>>,
}

/// A wrong token that waits for its answer, until this is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    all: &'a WrongTokens,
    source: Source,
    /// Others of its source that waited when it came.
    others: usize,
}

impl WrongTokens {
    pub(super) fn wait(&self, source: Source) -> Waiting<'_> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.entry(source).or_default();
        let others = *own;
        *own += 1;
        Waiting { all: self, source, others }
    }

    pub(super) fn log(&self, source: Source, now: Instant) {
        let due = self.log.lock().unwrap_or_else(PoisonError::into_inner).count(now);
        if let Some(count) = due {
            warn!(
                from = %source,
                count,
                "a wrong admin token was given over HTTP; `count` is since the last such line, the sender is of the last one"
            );
        }
    }
}

impl Waiting<'_> {
    pub(super) const fn is_one_of_few(&self) -> bool {
        self.others < FEW
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.all.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_few_of_its_own_and_nothing_is_kept_of_those_that_are_over() {
        let tokens = WrongTokens::default();
        let [one, other] =
            ["192.0.2.1", "192.0.2.2"].map(|address| Source::V4(address.parse().expect("good")));
        let mut waiting: Vec<_> = (0..FEW).map(|_| tokens.wait(one)).collect();
        assert!(waiting.iter().all(Waiting::is_one_of_few));
        assert!(!tokens.wait(one).is_one_of_few());
        assert!(tokens.wait(other).is_one_of_few());
        waiting.pop();
        assert!(tokens.wait(one).is_one_of_few(), "one is over");
        drop(waiting);
        assert!(tokens.waiting.lock().expect("no panic").is_empty());
    }
}
