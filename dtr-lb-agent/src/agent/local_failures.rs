//! Replicas that this host cannot probe, as it has no socket, port or memory for it: one log line, however many they are, and
//! at most one a minute where it comes and goes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::{info, warn};

/// From one line that replicas cannot be probed to the next.
const QUIET: Duration = Duration::from_secs(60);

/// Who cannot be asked.
#[derive(Debug, Default)]
pub(super) struct LocalFailures {
    /// Service and replica.
    now: BTreeSet<(String, String)>,
    /// When the operator was last notified that some cannot be asked.
    notified: Option<Instant>,
    /// The end of it is not notified yet.
    open: bool,
}

/// What an operator wants to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This is the first.
    Cannot { service: String, replica: String, reason: String },
    /// All can be asked again.
    Again,
}

impl LocalFailures {
    /// Takes in that a replica cannot be asked, and why; or, without a reason, that it can be again.
    pub(super) fn take(
        &mut self,
        service: String,
        replica: String,
        failure: Option<String>,
        now: Instant,
    ) -> Option<News> {
        let Some(reason) = failure else {
            self.now.remove(&(service, replica));
            let over = self.now.is_empty() && std::mem::take(&mut self.open);
            return over.then_some(News::Again);
        };
        self.now.insert((service.clone(), replica.clone()));
        if self.open || self.notified.is_some_and(|at| now.duration_since(at) < QUIET) {
            return None;
        }
        (self.notified, self.open) = (Some(now), true);
        Some(News::Cannot { service, replica, reason })
    }

    /// Forgets those that are asked no more.
    pub(super) fn keep(&mut self, asked: impl Fn(&str, &str) -> bool) {
        self.now.retain(|(service, replica)| asked(service, replica));
        self.open &= !self.now.is_empty();
    }
}

impl News {
    pub(super) fn log(&self) {
        match self {
            Self::Cannot { service, replica, reason } => warn!(
                event = "probing_failed",
                service,
                replica,
                reason,
                "replicas cannot be probed, this one and maybe others (`dtr-lb status` has all); their states stay as they are"
            ),
            Self::Again => info!(event = "probing_resumed", "all replicas can be probed again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told {
        local_failures: LocalFailures,
        begun: Instant,
    }

    impl Told {
        fn at(&mut self, seconds: u64, replica: &str, failure: Option<&str>) -> Option<News> {
            let now = self.begun + Duration::from_secs(seconds);
            self.local_failures.take("https".into(), replica.into(), failure.map(str::to_owned), now)
        }
    }

    #[test]
    fn a_thousand_that_cannot_be_asked_are_two_lines() {
        let mut told = Told { local_failures: LocalFailures::default(), begun: Instant::now() };
        let first = told.at(0, "r0", Some("no sockets"));
        assert!(
            matches!(&first, Some(News::Cannot { replica, reason, .. }) if replica == "r0" && reason == "no sockets")
        );
        for n in 1..1000 {
            assert_eq!(told.at(0, &format!("r{n}"), Some("no sockets")), None);
        }
        for n in 1..1000 {
            assert_eq!(told.at(70, &format!("r{n}"), None), None);
        }
        assert_eq!(told.at(71, "r7", Some("no sockets")), None, "it is going on");
        assert_eq!(told.at(72, "r7", None), None);
        assert_eq!(told.at(73, "r0", None), Some(News::Again));
        assert_eq!(told.at(74, "r0", None), None);
    }

    #[test]
    fn those_that_are_asked_no_more_keep_nothing_open() {
        let mut told = Told { local_failures: LocalFailures::default(), begun: Instant::now() };
        told.at(0, "r0", Some("no sockets"));
        told.at(0, "r1", Some("no sockets"));
        told.local_failures.keep(|service, replica| (service, replica) == ("https", "r1"));
        assert_eq!(told.at(1, "r1", None), Some(News::Again));
        told.at(70, "r1", Some("no sockets"));
        told.local_failures.keep(|_, _| false);
        assert!(told.at(140, "r0", Some("no sockets")).is_some(), "told as the first");
    }

    #[test]
    fn what_comes_and_goes_is_told_once_a_minute() {
        let mut told = Told { local_failures: LocalFailures::default(), begun: Instant::now() };
        let mut lines = 0;
        for second in 0..120 {
            lines += usize::from(told.at(second, "r0", Some("no sockets")).is_some());
            lines += usize::from(told.at(second, "r0", None).is_some());
        }
        assert_eq!(lines, 4, "twice the beginning and twice the end");
    }
}
