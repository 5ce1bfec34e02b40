//! How long handshakes take now: what the datapath counted in the last minute, as the difference of two readings of its histograms. Pure:
//! who reads them says when.

mod slow;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use dtr_lb_common::abi::{BOUNDS, FlowStats, HANDSHAKE_BOUNDS, Histogram};
use serde::{Deserialize, Serialize};

use crate::config::{Replica, Service};

pub use slow::{Slow, judge};

/// From one reading to the next.
const STEP: Duration = Duration::from_secs(10);
/// What is shown is of so long.
const WINDOW: Duration = Duration::from_secs(60);
/// So many are kept a replica: they cover the window.
const KEPT: usize = 7;
/// Fewer handshakes say nothing about how long others take.
const FEWEST: u64 = 5;

/// A replica of a service's VIP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub service: String,
    pub vip: IpAddr,
    pub address: IpAddr,
    pub port: u16,
}

impl Place {
    pub fn new(service: &Service, vip: IpAddr, replica: &Replica) -> Self {
        let Replica { address, port, .. } = *replica;
        Self { service: service.name.clone(), vip, address, port }
    }
}

/// The handshakes of some time, by how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// From the SYN to the replica until its SYN-ACK, in microseconds.
    pub connect: Histogram,
    /// From the SYN-ACK to the client until its ACK, in microseconds.
    pub client_rtt: Histogram,
}

impl From<&FlowStats> for Handshakes {
    fn from(stats: &FlowStats) -> Self {
        Self { connect: stats.connect, client_rtt: stats.client_rtt }
    }
}

/// How long something takes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them take no longer.
    pub p50: f64,
    /// 99 of 100 take no longer.
    pub p99: f64,
    pub mean: f64,
}

impl Latency {
    /// Of a histogram with [`HANDSHAKE_BOUNDS`]; none where there are too few.
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let count = count(histogram);
        (count >= FEWEST).then(|| Self {
            p50: milliseconds(quantile(histogram, 0.5)),
            p99: milliseconds(quantile(histogram, 0.99)),
            mean: milliseconds(histogram.sum as f64 / count as f64),
        })
    }
}

/// "1.2/8 ms": half of them, and 99 of 100.
impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ms", two_digits(self.p50), two_digits(self.p99))
    }
}

/// "120", "12", "2.4", "0.31": more is not known.
fn two_digits(number: f64) -> String {
    let places = (1.0 - number.max(1e-3).log10().floor()).max(0.0) as usize;
    let text = format!("{number:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// What was read when.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    read: Handshakes,
}

/// The readings of the last minute.
#[derive(Debug, Default)]
pub struct Readings {
    of: BTreeMap<Place, VecDeque<Reading>>,
    last: Option<Instant>,
}

impl Readings {
    /// Whether it is time for another one.
    pub fn is_due(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= STEP)
    }

    /// Takes in what all replicas have counted by `now`, and forgets the replicas that are not among them.
    pub fn take(&mut self, now: Instant, read: impl IntoIterator<Item = (Place, Handshakes)>) {
        self.last = Some(now);
        let mut before = std::mem::take(&mut self.of);
        for (place, read) in read {
            let mut readings = before.remove(&place).unwrap_or_default();
            if readings.len() == KEPT {
                readings.pop_front();
            }
            readings.push_back(Reading { at: now, read });
            self.of.insert(place, readings);
        }
    }

    /// The handshakes of a replica in about the last minute, which has counted `read` by `now`; none before its first reading.
    pub fn recent(&self, place: &Place, read: &Handshakes, now: Instant) -> Handshakes {
        let Some(readings) = self.of.get(place) else { return Handshakes::default() };
        // The last one from before the window, or else the first.
        let old = |reading: &&Reading| now.saturating_duration_since(reading.at) >= WINDOW;
        let Some(before) = readings.iter().rev().find(old).or(readings.front()) else {
            return Handshakes::default();
        };
        let Handshakes { connect, client_rtt } = &before.read;
        match since(connect, &read.connect).zip(since(client_rtt, &read.client_rtt)) {
            Some((connect, client_rtt)) => Handshakes { connect, client_rtt },
            // Counting has begun anew: another datapath, or the id is another replica's.
            None => *read,
        }
    }
}

/// What was counted between two readings; none where the later one has less.
fn since(before: &Histogram, now: &Histogram) -> Option<Histogram> {
    let mut difference = *now;
    difference.sum = now.sum.checked_sub(before.sum)?;
    for (bucket, before) in difference.buckets.iter_mut().zip(&before.buckets) {
        *bucket = bucket.checked_sub(*before)?;
    }
    Some(difference)
}

/// How many a histogram has.
pub fn count(histogram: &Histogram) -> u64 {
    histogram.buckets.iter().sum()
}

/// The time within which this part of them is, in microseconds, as if a bucket's were spread evenly over it. Of those above the last
/// bound no more is known than that.
fn quantile(histogram: &Histogram, part: f64) -> f64 {
    let rank = part * count(histogram) as f64;
    let mut below = 0.0;
    for (place, own) in histogram.buckets[..BOUNDS].iter().enumerate() {
        let own = *own as f64;
        if own > 0.0 && below + own >= rank {
            let from = place.checked_sub(1).map_or(0.0, |before| f64::from(HANDSHAKE_BOUNDS[before]));
            let to = f64::from(HANDSHAKE_BOUNDS[place]);
            return from + (to - from) * (rank - below) / own;
        }
        below += own;
    }
    f64::from(HANDSHAKE_BOUNDS[BOUNDS - 1])
}

/// Of microseconds, to the microsecond.
fn milliseconds(micros: f64) -> f64 {
    micros.round() / 1000.0
}

#[cfg(test)]
mod tests;
