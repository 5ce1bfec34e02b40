//! The clock by which flow entries age: the kernel's jiffies.

use std::time::{Duration, Instant};

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions},
};
use dtr_lb_common::abi::{Ticks, program};
use nix::time::{ClockId, clock_getres};

use super::{error::DatapathError, object};

/// Ticks in a second: the coarse clock advances once a tick, so its resolution is the tick's length.
pub(super) fn ticks_per_second() -> Result<u32, DatapathError> {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map(Duration::from)
        .map_err(|error| DatapathError::Clock { reason: error.to_string() })?;
    let ticks = (1.0 / resolution.as_secs_f64()).round();
    // The values that CONFIG_HZ takes.
    if !(100.0..=1200.0).contains(&ticks) {
        return Err(DatapathError::Clock {
            reason: format!("a tick of {resolution:?} is not to be believed"),
        });
    }
    Ok(ticks as u32)
}

/// The time now.
pub(super) fn now(ebpf: &mut Ebpf) -> Result<Ticks, DatapathError> {
    let program = object::tc_program(ebpf, program::CLOCK)?;
    let frame = [0u8; 64];
    program
        .test_run(TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() })
        .map(|result| result.return_value)
        .map_err(|error| DatapathError::Clock { reason: super::error::causes(&error) })
}

/// The clock without the kernel: jiffies follow the same clock as [`Instant`], from the moment of [`Self::start`] on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Instant,
    ticks: Ticks,
    per_second: u32,
}

impl Clock {
    pub(super) fn start(ebpf: &mut Ebpf, per_second: u32) -> Result<Self, DatapathError> {
        Ok(Self { ticks: now(ebpf)?, at: Instant::now(), per_second })
    }

    /// The time now, to a tick.
    pub(super) fn now(&self) -> Ticks {
        self.after(self.at.elapsed())
    }

    fn after(&self, elapsed: Duration) -> Ticks {
        // Ticks wrap.
        let ticks = elapsed.as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        self.ticks.wrapping_add(ticks as Ticks)
    }
}

/// The longest time-out: a quarter of the clock's range. Ages are signed differences, so that half the range tells old
/// from new; an entry that has outlived this one is known as old for as long again, time enough for a sweep to find it.
const LONGEST: Ticks = i32::MAX as Ticks / 2;

/// A duration in ticks, at least one.
pub(super) fn ticks(duration: Duration, per_second: u32) -> Ticks {
    let ticks = duration.as_millis().saturating_mul(u128::from(per_second)).div_ceil(1000);
    Ticks::try_from(ticks).unwrap_or(LONGEST).clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_by_itself_and_wraps() {
        let clock = Clock { at: Instant::now(), ticks: Ticks::MAX - 1, per_second: 250 };
        for (elapsed, expected) in [
            (Duration::ZERO, Ticks::MAX - 1),
            (Duration::from_millis(3), Ticks::MAX - 1),
            (Duration::from_millis(4), Ticks::MAX),
            (Duration::from_secs(1), 248),
        ] {
            assert_eq!(clock.after(elapsed), expected, "{elapsed:?}");
        }
    }

    #[test]
    fn ticks_round_up_and_stay_in_a_quarter_of_the_range() {
        let cases = [
            (Duration::ZERO, 1000, 1),
            (Duration::from_millis(1), 250, 1),
            (Duration::from_millis(5), 250, 2),
            (Duration::from_secs(3600), 250, 900_000),
            (Duration::from_millis(u64::from(LONGEST)), 1000, LONGEST),
            (Duration::from_millis(u64::from(LONGEST) + 1), 1000, LONGEST),
            (Duration::MAX, 1000, LONGEST),
        ];
        for (duration, per_second, expected) in cases {
            assert_eq!(ticks(duration, per_second), expected, "{duration:?} at {per_second} a second");
        }
        assert_eq!(LONGEST, 0x3fff_ffff);
    }
}
