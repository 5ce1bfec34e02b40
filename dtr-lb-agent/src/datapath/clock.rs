//! The clock by which flow entries age: the kernel's jiffies.

use std::time::Duration;

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

/// A duration in ticks, at least one.
pub(super) fn ticks(duration: Duration, per_second: u32) -> Ticks {
    let ticks = duration.as_millis().saturating_mul(u128::from(per_second)).div_ceil(1000);
    // Half the range: differences are signed.
    u32::try_from(ticks).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32)
}
