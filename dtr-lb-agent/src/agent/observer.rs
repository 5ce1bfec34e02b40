//! What the agent notices beside its decisions, for the log, the status and the plots: dropped packets, floods, a flow table
//! that fills up, and what would fit where all probes of a service fail.

use std::{collections::BTreeMap, future::pending, time::Instant};

use dtr_lb_common::verdict::Verdict;
use jiff::Timestamp;
use tokio::time::{Duration, sleep_until};
use tracing::{info, warn};

use super::{
    fill::{Fill, Level},
    fit::{Fits, Found},
    floods::{Flood, Floods},
    flow_counts,
    plots::Plots,
};
use crate::{
    config::{Config, SynChallenge},
    control::Moment,
    datapath::{Census, Datapath, Dropped, Events, Meter},
    history,
    latency::{Handshakes, Place, Readings},
    status::{ChallengeStatus, Status},
};

/// A drop verdict is logged at most so often.
const DROP_LOG: Duration = Duration::from_secs(10);

/// What is noticed.
pub(super) struct Observer {
    /// `None` where the kernel does not tell of dropped packets.
    events: Option<Events>,
    /// When each drop verdict was last logged.
    drops: BTreeMap<Verdict, Instant>,
    /// How full the flow table was.
    fill: Fill,
    floods: Floods,
    /// What the datapath had counted of handshakes.
    readings: Readings,
    /// That they cannot be read is told once.
    unread: bool,
    pub(super) fits: Fits,
    /// The walk that `fill` and `floods` have taken in.
    walks: u64,
    plots: Plots,
    next_sample: tokio::time::Instant,
}

/// Something to notice.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Noticed {
    Dropped(Vec<Dropped>),
    Fits(Found),
    /// It is time to look at everything.
    Sample,
}

impl Observer {
    /// Takes the datapath's events, within a tokio runtime.
    pub(super) fn new(datapath: &mut Datapath, plots: Plots) -> Self {
        let events = datapath.events();
        let events = events.inspect_err(|error| warn!(%error, "dropped packets are counted but not logged"));
        Self {
            events: events.ok(),
            drops: BTreeMap::new(),
            fill: Fill::default(),
            floods: Floods::default(),
            readings: Readings::default(),
            unread: false,
            fits: Fits::default(),
            walks: 0,
            plots,
            next_sample: tokio::time::Instant::now(),
        }
    }

    /// Waits for the next thing to notice. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Noticed {
        tokio::select! {
            dropped = next_events(&mut self.events) => Noticed::Dropped(dropped),
            Some(found) = self.fits.news() => Noticed::Fits(found),
            () = sleep_until(self.next_sample) => Noticed::Sample,
        }
    }

    /// Takes down what the dashboard's plots show; without a status there is a gap in them, and who asks for it is told why.
    pub(super) fn sample(&mut self, status: Option<&Status>) {
        if let Some(status) = status {
            self.plots.add(status, Timestamp::now());
        }
        self.next_sample = tokio::time::Instant::now() + history::STEP;
    }

    /// Reads how long handshakes took, where it is time for that.
    pub(super) fn read_handshakes(&mut self, config: &Config, meter: &Meter) {
        let now = Instant::now();
        if !self.readings.is_due(now) {
            return;
        }
        let read = flow_counts::each(config, meter, |place, stats| (place, Handshakes::from(stats)));
        let failed = read.is_err();
        match read {
            Ok(read) => self.readings.take(now, read),
            Err(error) if !self.unread => {
                warn!(%error, "handshakes were not read; what the status says of their times may be old");
            }
            Err(_) => {}
        }
        self.unread = failed;
    }

    /// The handshakes of a replica in the last minute, of all that it has counted.
    pub(super) fn recent_handshakes(&self, place: &Place, read: &Handshakes) -> Handshakes {
        self.readings.recent(place, read, Instant::now())
    }

    /// The agent ends.
    pub(super) fn finish(&self) {
        self.plots.finish();
    }

    /// Takes in a whole walk through the flow table, once.
    pub(super) fn take_walk(&mut self, walks: u64, census: &Census, config: &Config, meter: &Meter) {
        if walks == self.walks {
            return;
        }
        self.walks = walks;
        self.log_fill(census, config.datapath.max_flows, meter);
        if let Err(error) = self.floods.look(config, meter, Moment::now()) {
            warn!(%error, "handshakes were not counted; what the status says of floods may be old");
        }
    }

    /// Says when the flow table gets full, and when it has room again.
    fn log_fill(&mut self, census: &Census, max_flows: u32, meter: &Meter) {
        let verdicts = meter.verdicts().unwrap_or_default();
        let refused = verdicts.get(&Verdict::AnsweredTableFull).map(|traffic| traffic.packets);
        let entries = census.entries;
        match self.fill.take(entries, max_flows, refused.unwrap_or_default()) {
            Some((Level::Full, refused)) => warn!(
                event = "flow_table_full",
                entries,
                max_flows,
                refused,
                "the flow table is full: new connections are refused by a reset (verdict answered_table_full), \
                 open ones go on. Raise datapath.max_flows and restart the agent after `dtr-lb detach`, or shorten \
                 datapath.idle_timeout"
            ),
            Some((Level::Near, _)) => warn!(
                event = "flow_table_near_full",
                entries,
                max_flows,
                "the flow table is 80 % full; when it is full, new connections are refused. Raise datapath.max_flows"
            ),
            Some((Level::Room, _)) => {
                info!(event = "flow_table_room", entries, max_flows, "the flow table has room again");
            }
            None => {}
        }
    }

    /// Logs one packet of each verdict, now and then.
    pub(super) fn log_drops(&mut self, dropped: &[Dropped]) {
        for example in dropped {
            let now = Instant::now();
            let due =
                self.drops.get(&example.verdict).is_none_or(|last| now.duration_since(*last) >= DROP_LOG);
            if due {
                self.drops.insert(example.verdict, now);
                warn!(
                    verdict = example.verdict.name(),
                    source = %example.source,
                    destination = %example.destination,
                    "packets are dropped; this is one of them, `dtr-lb status` counts them all"
                );
            }
        }
    }

    /// Whether the clients of a service's VIP have to prove their addresses.
    pub(super) fn challenge(
        &self,
        service: &str,
        vip: std::net::IpAddr,
        mode: SynChallenge,
    ) -> ChallengeStatus {
        self.floods.of(service, vip).map(|flood| challenge_status(flood, mode)).unwrap_or_default()
    }
}

fn challenge_status(flood: &Flood, mode: SynChallenge) -> ChallengeStatus {
    let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
    ChallengeStatus {
        on: flood.since.is_some() || mode == SynChallenge::Always,
        flooded: flood.since.is_some() && mode == SynChallenge::Auto,
        since: flood.since.filter(|_| mode == SynChallenge::Auto),
        syns: flood.counted.syns,
        handshakes: flood.counted.completed,
        syns_per_second: tenths(flood.syns),
        handshakes_per_second: tenths(flood.completed),
    }
}

/// Waits for events; for ever where there are none to be had.
async fn next_events(events: &mut Option<Events>) -> Vec<Dropped> {
    if let Some(source) = events {
        match source.next().await {
            Ok(dropped) => return dropped,
            Err(error) => {
                warn!(%error, "dropped packets are counted but no longer logged");
                *events = None;
            }
        }
    }
    pending().await
}
