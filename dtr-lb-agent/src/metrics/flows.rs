//! What the datapath has counted of connections as a whole: how they ended, how long that took, and how long their handshakes did.

use std::collections::BTreeMap;

use dtr_lb_common::abi::{BOUNDS, DURATION_BOUNDS, End, FlowStats, HANDSHAKE_BOUNDS, Histogram};

use super::{
    page::{Family, Page},
    replicas::ReplicaRow,
};
use crate::control::ReplicaKey;

/// By replica of a service, since the datapath was loaded.
#[derive(Clone, Debug, Default)]
pub struct FlowCounts {
    replicas: BTreeMap<ReplicaKey, FlowStats>,
    lost: u64,
}

impl FlowCounts {
    /// Of no replica yet. `lost`: ends of connections, and SYNs that opened none, which nobody was told.
    pub fn new(lost: u64) -> Self {
        Self { lost, ..Self::default() }
    }

    /// Adds what a replica has counted for a VIP of a service.
    pub fn add(&mut self, replica: ReplicaKey, stats: &FlowStats) {
        let sum = self.replicas.entry(replica).or_default();
        *sum = sum.plus(stats);
    }
}

/// A histogram of each replica. (A classic one: Prometheus reads native ones only where that is turned on, and in 2.42, which Debian 12
/// has, that is an experiment.)
struct OfReplica {
    name: &'static str,
    help: &'static str,
    histogram: fn(&FlowStats) -> &Histogram,
    bounds: &'static [u32; BOUNDS],
    /// Of the bounds' unit, in a second.
    second: f64,
}

const MICROSECONDS: f64 = 1e6;
const MILLISECONDS: f64 = 1e3;

const HISTOGRAMS: [OfReplica; 3] = [
    OfReplica {
        name: "dtr_lb_connect_seconds",
        help: "Time from a SYN to the replica until its SYN-ACK; empty in direct modes, where the balancer does not see it.",
        histogram: |stats| &stats.connect,
        bounds: &HANDSHAKE_BOUNDS,
        second: MICROSECONDS,
    },
    OfReplica {
        name: "dtr_lb_client_rtt_seconds",
        help: "Time from the SYN-ACK to the client until its ACK; empty in direct modes.",
        histogram: |stats| &stats.client_rtt,
        bounds: &HANDSHAKE_BOUNDS,
        second: MICROSECONDS,
    },
    OfReplica {
        name: "dtr_lb_flow_duration_seconds",
        help: "Duration of connections that have ended, from the SYN on.",
        histogram: |stats| &stats.duration,
        bounds: &DURATION_BOUNDS,
        second: MILLISECONDS,
    },
];

pub(super) fn add(counts: &FlowCounts, replicas: &[&ReplicaRow], page: &mut Page) {
    let FlowCounts { replicas: stats, lost } = counts;
    let known: Vec<_> = replicas.iter().filter_map(|row| Some((*row, stats.get(&row.key)?))).collect();
    for OfReplica { name, help, histogram, bounds, second } in HISTOGRAMS {
        let mut family = Family::histogram(name, help);
        for (ReplicaRow { key, label, .. }, stats) in &known {
            let Histogram { buckets, sum } = histogram(stats);
            let seconds = bounds.iter().map(|bound| f64::from(*bound) / second);
            let labels = [("service", key.service.as_str()), ("replica", label)];
            family.observe(&labels, seconds.zip(*buckets), buckets.iter().sum(), *sum as f64 / second);
        }
        page.add(family);
    }
    let help = "Connections of the replica that have ended, or never began, by how.";
    let mut ends = Family::counter("dtr_lb_flow_ends_total", help);
    let help = "SYNs that clients of the replica sent again.";
    let mut again = Family::counter("dtr_lb_syns_again_total", help);
    for (ReplicaRow { key, label, .. }, stats) in &known {
        let (service, replica) = (("service", key.service.as_str()), ("replica", label.as_str()));
        for end in End::counted() {
            ends.set(&[service, replica, ("end", end.name())], stats.ends[end.0 as usize] as f64);
        }
        again.set(&[service, replica], stats.syns_again as f64);
    }
    page.add(ends);
    page.add(again);
    page.counter(
        "dtr_lb_flow_events_lost_total",
        "Ends of connections that the datapath could not tell the agent; they are not in the flow log.",
        *lost as f64,
    );
}
