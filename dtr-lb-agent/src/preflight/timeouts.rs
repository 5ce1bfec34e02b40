//! Times that are set so that something is noticed late, or too soon.

use std::time::Duration;

use super::finding::Findings;
use crate::config::{Config, Scheme, Service};

/// What a client keeps an idle connection open for without a sign of life, as registries' clients do between layers.
const USUAL_IDLE: Duration = Duration::from_secs(5 * 60);

/// Intervals that a probe may take before it is told to be late.
const LATE: u32 = 3;

/// From the moment when a replica falls silent to the end of the last probe that it takes: the interval until the next one
/// begins, with its jitter, and then each waits for its time-out, or for the next to be due.
fn silent_for(service: &Service) -> Duration {
    let probe = &service.probe;
    let more = probe.fall.saturating_sub(1);
    let longest = 1.0 + probe.jitter;
    probe.interval.mul_f64(longest)
        + probe.timeout.max(probe.fast_interval.mul_f64(longest)) * more
        + probe.timeout
}

impl Findings {
    pub(super) fn timeouts(&mut self, config: &Config) {
        let idle = config.datapath.idle_timeout;
        if idle < USUAL_IDLE {
            self.warn(
                "datapath.idle_timeout",
                format!(
                    "connections without a packet for {idle:?} are forgotten, and what comes after that is reset: clients keep \
                     connections open for longer without a word; set datapath.idle_timeout to 5m or more"
                ),
            );
        }
        for service in &config.services {
            let (name, probe) = (&service.name, &service.probe);
            if probe.scheme == Scheme::None {
                continue;
            }
            let about = || format!("service {name}");
            self.fact(
                about(),
                format!(
                    "service {name}: a replica that falls silent is out after {:.1?} at most",
                    silent_for(service)
                ),
            );
            if probe.fall == 1 {
                self.warn(
                    about(),
                    format!(
                        "service {name}: one failed probe takes a replica out (fall = 1), and one lost packet may fail it; \
                         set service.probe.fall to 2 or more"
                    ),
                );
            }
            if probe.timeout > probe.interval * LATE {
                self.warn(
                    about(),
                    format!(
                        "service {name}: a probe may take {:?}, much longer than the interval ({:?}), so that silent replicas are \
                         found out late; set service.probe.timeout to about the interval",
                        probe.timeout, probe.interval
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostFacts;

    fn told(sets: &[&str]) -> Findings {
        let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n[[service]]\n\
                    name = \"https\"\nport = 443\n";
        let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
        let host = HostFacts { ephemeral_ports: 32768..=60999 };
        let config = Config::parse(text, "test", &sets, &host).expect("the config is valid");
        let mut found = Findings::default();
        found.timeouts(&config);
        found
    }

    #[test]
    fn the_defaults_are_good_and_say_how_soon_a_dead_replica_is_out() {
        let found = told(&[]);
        assert_eq!(found.warnings, []);
        // 2.2 s until the probe begins, 2 s that it takes, and twice the same again: the time-out is longer than 0.55 s.
        assert!(found.facts[0].contains("out after 8.2s at most"), "{found:?}");
    }

    #[test]
    fn times_that_do_harm_are_told() {
        for (sets, words) in [
            (&["datapath.idle_timeout=10s"][..], "datapath.idle_timeout to 5m"),
            (&["service.0.probe.fall=1"], "fall = 1"),
            (&["service.0.probe.timeout=10s"], "a probe may take 10s, much longer than the interval (2s)"),
        ] {
            let found = told(sets);
            assert!(
                matches!(&found.warnings[..], [warning] if warning.contains(words)),
                "{sets:?}: {found:?}"
            );
        }
        let found = told(&["service.0.probe.scheme=none", "service.0.probe.fall=1"]);
        assert_eq!((found.warnings.len(), found.facts.len()), (0, 0), "nobody is probed");
    }
}
