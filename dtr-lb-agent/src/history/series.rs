//! One curve of each quantity: numbers of flows as they were, and rates from the differences of counters.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// What the counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Connections that there are.
    pub(super) flows: u64,
    /// The others are counters.
    pub(super) new_flows: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Totals {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            flows: self.flows + other.flows,
            new_flows: self.new_flows + other.new_flows,
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// The curves, one number a sample; none where it was not there, or where a rate has no sample before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    pub flows: Vec<Option<f64>>,
    /// Connections a second.
    pub new_flows: Vec<Option<f64>>,
    /// Packets a second, both directions.
    pub packets: Vec<Option<f64>>,
    /// Bytes a second, both directions.
    pub bytes: Vec<Option<f64>>,
}

/// In the order of [`Curves`]; NaN is none. Single precision does for a plot.
pub(super) type Sample = [f32; 4];
const NONE: Sample = [f32::NAN; 4];

/// The samples of one service or replica.
#[derive(Debug)]
pub(super) struct Series {
    samples: VecDeque<Sample>,
    /// What the last sample's rates were made from; none where it was not there.
    last: Option<Totals>,
}

impl Series {
    /// One that was not there for so many samples.
    pub(super) fn blank(samples: usize) -> Self {
        Self { samples: vec![NONE; samples].into(), last: None }
    }

    /// What was kept of one. Its next sample has no rates, as nobody knows what was counted meanwhile.
    pub(super) fn of(samples: impl Iterator<Item = Sample>) -> Self {
        Self { samples: samples.collect(), last: None }
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        self.samples.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether it has nothing to show.
    pub(super) fn is_blank(&self) -> bool {
        self.samples.iter().all(|sample| sample[0].is_nan())
    }

    pub(super) fn forget_oldest(&mut self) {
        self.samples.pop_front();
    }

    /// It was not there this time.
    pub(super) fn add_none(&mut self) {
        self.last = None;
        self.samples.push_back(NONE);
    }

    /// `seconds`: since the sample before, if there was one.
    pub(super) fn add(&mut self, now: Totals, seconds: Option<f64>) {
        let before = self.last.replace(now);
        let rate = |of: fn(&Totals) -> u64| match (&before, seconds) {
            (Some(before), Some(seconds)) if seconds > 0.0 => {
                // A counter that has gone back began anew: a replica was removed and added again.
                of(&now).checked_sub(of(before)).map_or(f32::NAN, |more| (more as f64 / seconds) as f32)
            }
            _ => f32::NAN,
        };
        self.samples.push_back([
            now.flows as f32,
            rate(|totals| totals.new_flows),
            rate(|totals| totals.packets),
            rate(|totals| totals.bytes),
        ]);
    }

    pub(super) fn curves(&self) -> Curves {
        let curve = |place: usize| {
            let points = self.samples.iter().map(|sample| sample[place]);
            // One place after the point: more is noise, and a longer answer.
            points.map(|point| (!point.is_nan()).then(|| (f64::from(point) * 10.0).round() / 10.0)).collect()
        };
        Curves { flows: curve(0), new_flows: curve(1), packets: curve(2), bytes: curve(3) }
    }
}
