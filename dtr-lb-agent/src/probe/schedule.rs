//! When the next probe is due. Pure: randomness comes in as a number, the result is a span of time.
//!
//! Intervals run from the start of one probe to the start of the next, so a slow replica is not asked less often;
//! the task that probes sees to it that no two probes of a target overlap. Jitter, and the spread of the first
//! probes, keep replicas and balancers from asking in step.

use std::time::Duration;

/// First probes are spread over at most this, so that a service with many replicas is soon up all the same.
const FIRST_SPREAD: Duration = Duration::from_millis(100);

/// The least time between two probes' starts, so that no config makes the agent spin.
const SHORTEST: Duration = Duration::from_millis(1);

/// The rhythm of one target's probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    interval: Duration,
    fast_interval: Duration,
    jitter: f64,
}

impl Schedule {
    /// Probes every `interval`, every `fast_interval` while in doubt, each `jitter` (a fraction, 0 to 1) sooner
    /// or later than that. Config allows jitter up to 0.5; what lies outside 0 to 1 is brought inside.
    #[must_use]
    pub fn new(interval: Duration, fast_interval: Duration, jitter: f64) -> Self {
        Self { interval, fast_interval, jitter: fraction(jitter) }
    }

    /// How long to wait before the first probe. `random` is uniform in [0, 1).
    #[must_use]
    pub fn first(&self, random: f64) -> Duration {
        self.interval.min(FIRST_SPREAD).mul_f64(fraction(random))
    }

    /// From the start of a probe to the start of the next. `random` is uniform in [0, 1).
    #[must_use]
    pub fn next(&self, in_doubt: bool, random: f64) -> Duration {
        let interval = if in_doubt { self.fast_interval } else { self.interval };
        let swing = 2.0 * fraction(random) - 1.0;
        interval.mul_f64(1.0 + self.jitter * swing).max(SHORTEST)
    }
}

/// What is no fraction must not reach the arithmetic of `Duration`, which panics on negative and on NaN.
fn fraction(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}
