//! When the next probe is due. Pure: randomness comes in as a number, the result is a span of time.
//!
//! Intervals run from the start of one probe to the start of the next, so a slow replica is not asked less often;
//! the task that probes sees to it that no two probes of a target overlap. Jitter, and the spread of the first
//! probes, keep replicas and balancers from asking in step.

use std::time::Duration;

/// First probes are spread over this, or over the interval where that is shorter ...
const FIRST_SPREAD: Duration = Duration::from_millis(100);

/// ... and over so much for each target, where that is more: a TLS handshake takes a processor about this long, and what is
/// waited for at the start of the agent should not be waiting for a processor ...
const SPREAD_A_TARGET: Duration = Duration::from_millis(1);

/// ... but over no more than this, so that thousands of replicas are soon up all the same.
pub(crate) const LONGEST_SPREAD: Duration = Duration::from_secs(2);

/// The least time between two probes' starts, so that no config makes the agent spin.
const SHORTEST: Duration = Duration::from_millis(1);

/// How sure it is what a replica is. Whoever judges the outcomes of its probes says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It is not known yet, or the last outcome spoke against it, so that it may be about to change.
    InDoubt,
    /// It is up, and the last outcome said so.
    Up,
    /// It is down, and the last outcome said so.
    Down,
}

/// The rhythm of one target's probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    interval: Duration,
    fast_interval: Duration,
    down_interval: Duration,
    jitter: f64,
    /// The first probes of all targets are spread over this.
    spread: Duration,
}

impl Schedule {
    /// Probes every `interval`, every `fast_interval` while in doubt, every `down_interval` while surely down, each `jitter` (a
    /// fraction, 0 to 1) sooner or later than that. Config allows jitter up to 0.5; what lies outside 0 to 1 is brought inside.
    #[must_use]
    pub fn new(interval: Duration, fast_interval: Duration, down_interval: Duration, jitter: f64) -> Self {
        Self { interval, fast_interval, down_interval, jitter: fraction(jitter), spread: FIRST_SPREAD }
    }

    /// For one of `targets` that are first probed at the same time.
    #[must_use]
    pub fn among(self, targets: usize) -> Self {
        Self { spread: first_spread(targets), ..self }
    }

    /// How long to wait before the first probe. `random` is uniform in [0, 1).
    #[must_use]
    pub fn first(&self, random: f64) -> Duration {
        self.interval.min(self.spread).mul_f64(fraction(random))
    }

    /// From the start of a probe to the start of the next. `random` is uniform in [0, 1).
    #[must_use]
    pub fn next(&self, certainty: Certainty, random: f64) -> Duration {
        let interval = match certainty {
            Certainty::InDoubt => self.fast_interval,
            Certainty::Up => self.interval,
            Certainty::Down => self.down_interval,
        };
        let swing = 2.0 * fraction(random) - 1.0;
        interval.mul_f64(1.0 + self.jitter * swing).max(SHORTEST)
    }
}

/// The time over which the first probes of so many targets are spread, where no interval is shorter.
pub(crate) fn first_spread(targets: usize) -> Duration {
    let all = SPREAD_A_TARGET.saturating_mul(u32::try_from(targets).unwrap_or(u32::MAX));
    all.clamp(FIRST_SPREAD, LONGEST_SPREAD)
}

/// What is no fraction must not reach the arithmetic of `Duration`, which panics on negative and on NaN.
fn fraction(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}
