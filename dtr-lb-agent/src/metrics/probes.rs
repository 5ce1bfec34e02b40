//! Counts probes, by replica of a service.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    config::{Config, Scheme},
    control::ReplicaKey,
    probe::{Failure, Outcome},
};

/// Upper bounds of the histogram's buckets, in seconds. The default time-out is one of them.
pub(super) const BOUNDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

/// The name of a good answer among the results; the others are [`Failure::kind`].
pub(super) const OK: &str = "ok";

/// What the probes of each replica found, since the agent's start.
#[derive(Clone, Debug, Default)]
pub struct ProbeCounts {
    tallies: BTreeMap<ReplicaKey, Tally>,
}

/// What the probes of one replica found.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// By result; those that were never seen are not in it, but for the good ones.
    pub results: BTreeMap<&'static str, u64>,
    /// By the buckets of [`BOUNDS`]; longer ones are only in the sum.
    pub(super) buckets: [u64; BOUNDS.len()],
    pub(super) took: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self { results: BTreeMap::from([(OK, 0)]), buckets: [0; BOUNDS.len()], took: Duration::ZERO }
    }
}

impl ProbeCounts {
    /// Takes in the outcome of a probe.
    pub fn count(&mut self, replica: ReplicaKey, outcome: &Outcome) {
        self.tallies.entry(replica).or_default().count(outcome);
    }

    /// Forgets the replicas that `config` no longer has.
    pub fn keep(&mut self, config: &Config) {
        self.tallies.retain(|key, _| {
            let mut services = config.services.iter().filter(|service| service.name == key.service);
            services.any(|service| {
                let mut replicas = service.replicas.iter();
                service.probe.scheme != Scheme::None
                    && replicas.any(|replica| (replica.address, replica.port) == (key.address, key.port))
            })
        });
    }

    pub fn of(&self, replica: &ReplicaKey) -> Option<&Tally> {
        self.tallies.get(replica)
    }
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        let Outcome { status: _, took, error } = outcome;
        let result = error.as_ref().map_or(OK, Failure::kind);
        *self.results.entry(result).or_default() += 1;
        self.took += *took;
        if let Some(bucket) = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    /// How many probes there were.
    pub(super) fn probes(&self) -> u64 {
        self.results.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(milliseconds: u64, error: Option<Failure>) -> Outcome {
        Outcome { status: None, took: Duration::from_millis(milliseconds), error }
    }

    #[test]
    fn a_probe_is_in_one_bucket_and_has_one_result() {
        let mut tally = Tally::default();
        assert_eq!(tally.results, BTreeMap::from([("ok", 0)]), "so that its rate is known from the start");
        tally.count(&outcome(1, None));
        tally.count(&outcome(2, None));
        tally.count(&outcome(2000, Some(Failure::Refused)));
        tally.count(&outcome(9000, Some(Failure::Closed)));
        assert_eq!(tally.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], "a bound is in its own bucket");
        assert_eq!(tally.results, BTreeMap::from([("ok", 2), ("refused", 1), ("closed", 1)]));
        assert_eq!((tally.probes(), tally.took), (4, Duration::from_millis(11_003)));
    }

    #[test]
    fn what_the_config_no_longer_has_is_forgotten() {
        let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n";
        let config = crate::metrics::tests::config(text);
        let key = |service: &str, replica: &str| {
            let replica: std::net::SocketAddr = replica.parse().expect("an address");
            ReplicaKey { service: service.into(), address: replica.ip(), port: replica.port() }
        };
        let kept = key("http", "10.0.0.11:80");
        let gone = [key("http", "10.0.0.12:80"), key("http", "10.0.0.11:81"), key("ftp", "10.0.0.11:80")];
        let mut counts = ProbeCounts::default();
        for key in gone.iter().chain([&kept]) {
            counts.count(key.clone(), &outcome(1, None));
        }
        counts.keep(&config);
        assert_eq!(counts.of(&kept).map(Tally::probes), Some(1));
        assert!(gone.iter().all(|key| counts.of(key).is_none()));
        let unprobed =
            format!("{text}[[service]]\nname = \"http\"\nport = 80\n[service.probe]\nscheme = \"none\"\n");
        counts.keep(&crate::metrics::tests::config(&unprobed));
        assert!(counts.of(&kept).is_none(), "its probe is turned off");
    }
}
