//! What the HTTP side refuses: counted by reason for `/metrics`, and logged with a limited rate.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing::warn;

use super::{
    log_rate::LogRate,
    places::{Phase, Turn},
    source::Source,
};

/// Why a connection was closed early, or a request not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Another connection needed its place before its request was complete.
    HalfSent,
    /// Another connection needed its place while the answer to a wrong token was held back.
    Delayed,
    /// Another connection needed its place between two requests.
    Idle,
    /// Others needed its place, and the client had not read the answer for a long time.
    SlowReader,
    /// Its source had the most places, and another one, which had none, needed one.
    MostPlaces,
    /// The headers of the request did not arrive in time.
    HeadersTimeout,
    /// Its source has all the connections that one source may have.
    SourceConnections,
    /// All places of connections are taken.
    Connections,
    /// Its source has all the requests that one source may have in progress.
    SourceRequests,
    /// All places of requests are taken.
    Requests,
    WrongToken,
    /// A wrong token while many others of its source wait for their answer.
    ManyWrongTokens,
}

impl Reason {
    pub(super) const ALL: [Self; 12] = [
        Self::HalfSent,
        Self::Delayed,
        Self::Idle,
        Self::SlowReader,
        Self::MostPlaces,
        Self::HeadersTimeout,
        Self::SourceConnections,
        Self::Connections,
        Self::SourceRequests,
        Self::Requests,
        Self::WrongToken,
        Self::ManyWrongTokens,
    ];

    /// The label in `/metrics`; docs/monitoring.md describes each.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::HalfSent => "half_sent",
            Self::Delayed => "delayed",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::MostPlaces => "most_places",
            Self::HeadersTimeout => "headers_timeout",
            Self::SourceConnections => "source_connections",
            Self::Connections => "connections",
            Self::SourceRequests => "source_requests",
            Self::Requests => "requests",
            Self::WrongToken => "wrong_token",
            Self::ManyWrongTokens => "many_wrong_tokens",
        }
    }

    /// Why a connection had to go for another one.
    pub(super) const fn pushed_out(turn: Turn) -> Self {
        match turn {
            Turn::Phase(Phase::HalfSent) => Self::HalfSent,
            Turn::Phase(Phase::Delayed) => Self::Delayed,
            Turn::Phase(Phase::Idle) => Self::Idle,
            Turn::Phase(Phase::Answering) => Self::SlowReader,
            Turn::MostPlaces => Self::MostPlaces,
        }
    }

    /// Whether the places are short. Wrong tokens have a log line of their own, and headers that never come concern
    /// their sender only.
    const fn is_overload(self) -> bool {
        match self {
            Self::HalfSent
            | Self::Delayed
            | Self::Idle
            | Self::SlowReader
            | Self::MostPlaces
            | Self::SourceConnections
            | Self::Connections
            | Self::SourceRequests
            | Self::Requests => true,
            Self::HeadersTimeout | Self::WrongToken | Self::ManyWrongTokens => false,
        }
    }
}

/// The counters. Clones share them, so that they outlive a change of `agent.http`.
#[derive(Clone, Debug, Default)]
pub struct RefusalCounters(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    refused: [AtomicU64; Reason::ALL.len()],
    log: Mutex<LogRate>,
}

/// What `/metrics` says of the HTTP side, by label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpCounts {
    /// Open connections by state.
    pub connections: BTreeMap<&'static str, u64>,
    /// Refusals by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

impl RefusalCounters {
    pub(super) fn count(&self, reason: Reason, source: Source, now: Instant) {
        self.0.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
        if !reason.is_overload() {
            return;
        }
        let due = self.0.log.lock().unwrap_or_else(PoisonError::into_inner).count(now);
        if let Some(count) = due {
            warn!(
                reason = reason.as_str(),
                from = %source,
                count,
                "the HTTP side is short of places and refuses connections or requests; `count` is since the last such line, \
                 reason and sender are of the last one; see dtr_lb_http_refused_total"
            );
        }
    }

    fn so_far(&self, reason: Reason) -> u64 {
        self.0.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// `connections`: how many there are in each phase.
    pub(super) fn counts(&self, connections: impl Fn(Phase) -> usize) -> HttpCounts {
        HttpCounts {
            connections: Phase::ALL.map(|phase| (phase.as_str(), connections(phase) as u64)).into(),
            refused: Reason::ALL.map(|reason| (reason.as_str(), self.so_far(reason))).into(),
        }
    }

    /// Of a host without an HTTP side.
    #[must_use]
    pub fn counts_without_connections(&self) -> HttpCounts {
        self.counts(|_| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let counters = RefusalCounters::default();
        let now = Instant::now();
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            for _ in 0..=number {
                counters.clone().count(reason, Source::Local, now);
            }
        }
        let counts = counters.counts(|phase| usize::from(phase == Phase::Idle));
        for (reason, number) in Reason::ALL.into_iter().zip(1..) {
            assert_eq!(counts.refused[reason.as_str()], number, "{reason:?}");
        }
        assert_eq!(counts.refused.len(), Reason::ALL.len(), "no label twice");
        assert_eq!(counts.connections.values().sum::<u64>(), 1);
        assert_eq!(counts.connections["idle"], 1);
    }
}
