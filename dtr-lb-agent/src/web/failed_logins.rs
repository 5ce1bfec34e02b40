//! Failed logins, by a request's header or at the dashboard: how many of a source await their reply, and a log line that there were
//! some and from where, with a limited rate, and never with the token.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tracing::warn;

use super::{log_rate::LogRate, source::Source};

/// Failed logins of one source that may await their replies at once, each after the usual time.
pub(super) const FEW: usize = 8;

#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    log: Mutex<LogRate>,
    /// How many of a source await their reply. Bounded by the connections that there are.
    pending: Mutex<HashMap<Source, usize>>,
}

/// A failed login that awaits its reply, until this is dropped.
#[derive(Debug)]
pub(super) struct PendingReply<'a> {
    all: &'a FailedLogins,
    source: Source,
    /// Others of its source that were pending when it came.
    others: usize,
}

impl FailedLogins {
    pub(super) fn hold_reply(&self, source: Source) -> PendingReply<'_> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let own = pending.entry(source).or_default();
        let others = *own;
        *own += 1;
        PendingReply { all: self, source, others }
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

impl PendingReply<'_> {
    pub(super) const fn is_one_of_few(&self) -> bool {
        self.others < FEW
    }
}

impl Drop for PendingReply<'_> {
    fn drop(&mut self) {
        let mut pending = self.all.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = pending.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                pending.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_few_of_its_own_and_nothing_is_kept_of_those_that_are_over() {
        let logins = FailedLogins::default();
        let [one, other] =
            ["192.0.2.1", "192.0.2.2"].map(|address| Source::V4(address.parse().expect("good")));
        let mut pending: Vec<_> = (0..FEW).map(|_| logins.hold_reply(one)).collect();
        assert!(pending.iter().all(PendingReply::is_one_of_few));
        assert!(!logins.hold_reply(one).is_one_of_few());
        assert!(logins.hold_reply(other).is_one_of_few());
        pending.pop();
        assert!(logins.hold_reply(one).is_one_of_few(), "one is over");
        drop(pending);
        assert!(logins.pending.lock().expect("no panic").is_empty());
    }
}
