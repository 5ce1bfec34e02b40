//! When a probe is made, how long it may take, and how many of them change a replica's state.

use std::time::Duration;

use super::super::field::{self, Field, Table};
use super::super::problems::Problems;
use super::super::raw::{RawProbe, Text};

/// The keys of `[service.probe]` that are about time; see [`super::Probe`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) interval: Duration,
    pub(super) fast_interval: Duration,
    pub(super) down_interval: Duration,
    pub(super) timeout: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) jitter: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            fast_interval: Duration::from_millis(500),
            down_interval: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            jitter: 0.1,
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60 * 60);

pub(super) fn read(table: &Table, raw: &RawProbe, problems: &mut Problems<'_>) -> Option<Timing> {
    let default = Timing::default();
    let mut time = |name, value: &Text| {
        table.field(name, value).map(|field| field::duration(&field, SHORTEST..=LONGEST, problems))
    };
    let interval = time("interval", &raw.interval).unwrap_or(Some(default.interval));
    let fast_interval = time("fast_interval", &raw.fast_interval);
    let down_interval = time("down_interval", &raw.down_interval).unwrap_or(interval);
    let timeout = time("timeout", &raw.timeout).unwrap_or(Some(default.timeout));
    let fast_interval = match (fast_interval, interval) {
        // Unwritten, it is never above `interval`.
        (None, interval) => interval.map(|interval| default.fast_interval.min(interval)),
        (Some(Some(fast)), Some(interval)) if fast > interval => {
            if let Some(field) = table.field("fast_interval", &raw.fast_interval) {
                let interval = humantime::format_duration(interval);
                problems.refuse(&field, format!("above `interval`, which is {interval}"));
            }
            None
        }
        (Some(fast), _) => fast,
    };
    let rise = table.field("rise", &raw.rise);
    let rise = rise.map_or(Some(default.rise), |field| field::whole_number(&field, 1..=1000, problems));
    let fall = table.field("fall", &raw.fall);
    let fall = fall.map_or(Some(default.fall), |field| field::whole_number(&field, 1..=1000, problems));
    let jitter = table.field("jitter", &raw.jitter);
    let jitter = jitter.map_or(Some(default.jitter), |field| percentage(&field, problems));
    Some(Timing {
        interval: interval?,
        fast_interval: fast_interval?,
        down_interval: down_interval?,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
        jitter: jitter?,
    })
}

fn percentage(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<f64> {
    let number = field.value.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let Some(number) = number else {
        problems.refuse(field, "not a percentage");
        return None;
    };
    // Also false for NaN, which `parse` accepts.
    if !(0.0..=50.0).contains(&number) {
        problems.refuse(field, "out of range: it is 0% to 50%");
        return None;
    }
    Some(number / 100.0)
}
