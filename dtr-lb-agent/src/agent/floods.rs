//! Which services are flooded with SYNs that nobody follows up, so that their clients have to prove their addresses: by what the
//! datapath counts. Pure but for the reading.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::{
    config::{Config, SynChallenge},
    control::Moment,
    datapath::{DatapathError, Handshakes, Meter},
};

/// A service's VIP.
type End = (String, IpAddr);

/// What is known of the handshakes with one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flood {
    pub(super) counted: Handshakes,
    at: Instant,
    /// Between the last two looks, a second.
    pub(super) syns: f64,
    pub(super) completed: f64,
    /// Since when it is flooded, while it is.
    pub(super) since: Option<Timestamp>,
}

/// What an operator wants to read once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum News {
    Begins { syns: f64, completed: f64 },
    Ends { since: Timestamp },
}

/// Of all services.
#[derive(Debug, Default)]
pub(super) struct Floods(BTreeMap<End, Flood>);

impl Floods {
    /// Reads what the datapath has counted, and logs what is new.
    pub(super) fn look(&mut self, config: &Config, meter: &Meter, now: Moment) -> Result<(), DatapathError> {
        let mut before = std::mem::take(&mut self.0);
        for service in &config.services {
            for vip in &service.vips {
                let Some(mut counted) = meter.pressure(*vip, service.port)? else { continue };
                // What was counted before it was turned off says nothing.
                if config.datapath.syn_challenge == SynChallenge::Off {
                    counted.challenging = 0;
                }
                let end = (service.name.clone(), *vip);
                let (flood, news) = take(before.remove(&end), counted, now);
                if config.datapath.syn_challenge == SynChallenge::Auto {
                    log(&service.name, *vip, news);
                }
                self.0.insert(end, flood);
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, service: &str, vip: IpAddr) -> Option<&Flood> {
        self.0.get(&(service.to_owned(), vip))
    }
}

/// Takes in what was counted. Says what has begun or ended.
fn take(before: Option<Flood>, counted: Handshakes, now: Moment) -> (Flood, Option<News>) {
    let Some(before) = before else {
        let since = (counted.challenging > 0).then_some(now.time);
        let first = Flood { counted, at: now.clock, syns: 0.0, completed: 0.0, since };
        return (first, since.map(|_| News::Begins { syns: 0.0, completed: 0.0 }));
    };
    let seconds = now.clock.duration_since(before.at).as_secs_f64().max(f64::EPSILON);
    // A number that another service had begins where that one ended.
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let syns = rate(counted.syns, before.counted.syns);
    let completed = rate(counted.completed, before.counted.completed);
    let (since, news) = match (before.since, counted.challenging > 0) {
        (None, true) => (Some(now.time), Some(News::Begins { syns, completed })),
        (Some(since), false) => (None, Some(News::Ends { since })),
        (since, _) => (since, None),
    };
    (Flood { counted, at: now.clock, syns, completed, since }, news)
}

fn log(service: &str, vip: IpAddr, news: Option<News>) {
    match news {
        None => {}
        Some(News::Begins { syns, completed }) => warn!(
            event = "flood_begin",
            service,
            %vip,
            syns_per_second = syns.round(),
            handshakes_per_second = completed.round(),
            "the service is flooded with SYNs that no handshake follows: until that ends, clients have to prove their addresses \
             before they connect, which costs each some milliseconds (datapath.syn_challenge)"
        ),
        Some(News::Ends { since }) => {
            info!(event = "flood_end", service, %vip, %since, "the flood is over: clients connect at once again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_told_when_it_begins_and_when_it_ends() {
        let begun = Moment::now();
        let at = |seconds: u64| {
            let span = Duration::from_secs(seconds);
            Moment { clock: begun.clock + span, time: begun.time + span }
        };
        let counted = |syns, completed, challenging| Handshakes { syns, completed, challenging };
        let (flood, news) = take(None, counted(100, 90, 0), at(0));
        assert_eq!((flood.since, news), (None, None));
        let (flood, news) = take(Some(flood), counted(2100, 190, 1), at(2));
        assert_eq!(news, Some(News::Begins { syns: 1000.0, completed: 50.0 }));
        let (flood, news) = take(Some(flood), counted(4100, 200, 2), at(4));
        assert_eq!((flood.since, news), (Some(at(2).time), None));
        let (flood, news) = take(Some(flood), counted(10, 0, 0), at(6));
        assert_eq!(news, Some(News::Ends { since: at(2).time }));
        assert_eq!((flood.syns, flood.since), (0.0, None), "another service's number");
        // An agent that finds one under way.
        let (_, news) = take(None, counted(5, 0, 1), at(8));
        assert!(matches!(news, Some(News::Begins { .. })));
    }
}
