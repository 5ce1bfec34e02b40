//! Delays stay in their bounds, reach them, and are spread evenly between them.

use std::time::Duration;

use proptest::prelude::*;

use crate::probe::{Certainty, schedule::Schedule};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Just below 1, the most that a random unit can be.
const ALMOST_ONE: f64 = 1.0 - f64::EPSILON;

#[test]
fn delays() {
    let schedule = Schedule::new(ms(2000), ms(500), ms(8000), 0.1);
    for (certainty, random, expected) in [
        (Certainty::Up, 0.0, ms(1800)),
        (Certainty::Up, 0.5, ms(2000)),
        (Certainty::Up, 0.75, ms(2100)),
        (Certainty::InDoubt, 0.0, ms(450)),
        (Certainty::InDoubt, 0.5, ms(500)),
        (Certainty::InDoubt, 0.75, ms(525)),
        (Certainty::Down, 0.0, ms(7200)),
        (Certainty::Down, 0.5, ms(8000)),
        (Certainty::Down, 0.75, ms(8400)),
    ] {
        let delay = schedule.next(certainty, random);
        assert!(delay.abs_diff(expected) < ms(1), "{certainty:?}, random {random}: {delay:?}");
    }
    assert!(schedule.next(Certainty::Up, ALMOST_ONE) > ms(2199));
}

#[test]
fn without_jitter_the_interval_is_exact() {
    let schedule = Schedule::new(ms(2000), ms(500), ms(8000), 0.0);
    for random in [0.0, 0.3, ALMOST_ONE] {
        assert_eq!(schedule.next(Certainty::Up, random), ms(2000));
        assert_eq!(schedule.next(Certainty::InDoubt, random), ms(500));
    }
}

#[test]
fn the_first_probe_is_spread_over_a_tenth_of_a_second_at_most() {
    for (interval, random, expected) in [
        (ms(2000), 0.0, ms(0)),
        (ms(2000), 0.5, ms(50)),
        (ms(60_000), 0.5, ms(50)),
        (ms(40), 0.5, ms(20)),
        (ms(0), 0.5, ms(0)),
    ] {
        let schedule = Schedule::new(interval, interval, interval, 0.1);
        assert_eq!(schedule.first(random), expected, "interval {interval:?}, random {random}");
    }
    assert!(Schedule::new(ms(2000), ms(500), ms(8000), 0.1).first(ALMOST_ONE) <= ms(100));
}

#[test]
fn first_probes_of_many_are_spread_over_more_but_not_over_long() {
    for (targets, interval, expected) in [
        (1, ms(1000), ms(100)),
        (100, ms(1000), ms(100)),
        (1000, ms(1000), ms(1000)),
        (1000, ms(500), ms(500)),
        (100_000, ms(60_000), ms(2000)),
        (usize::MAX, ms(60_000), ms(2000)),
    ] {
        let schedule = Schedule::new(interval, interval, interval, 0.1).among(targets);
        assert_eq!(schedule.first(0.5), expected / 2, "{targets} targets, interval {interval:?}");
        assert!(schedule.first(ALMOST_ONE) <= expected);
    }
}

#[test]
fn what_is_no_fraction_does_no_harm() {
    for jitter in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -0.5, 7.0] {
        let schedule = Schedule::new(ms(100), ms(10), ms(100), jitter);
        for random in [f64::NAN, -1.0, 0.0, ALMOST_ONE, 2.0] {
            assert!(schedule.next(Certainty::Up, random) <= ms(200));
            assert!(schedule.first(random) <= ms(100));
        }
    }
}

#[test]
fn an_interval_of_nothing_does_not_spin() {
    assert!(Schedule::new(ms(0), ms(0), ms(0), 0.5).next(Certainty::InDoubt, 0.0) >= ms(1));
}

proptest! {
    #[test]
    fn delays_stay_within_the_jitter(
        interval in 1_u64..3_600_000,
        fast in 1_u64..3_600_000,
        jitter in 0.0..=0.5_f64,
        random in 0.0..1.0_f64,
        down in 1_u64..3_600_000,
        (certainty, middle) in prop::sample::select(vec![
            (Certainty::Up, 0), (Certainty::InDoubt, 1), (Certainty::Down, 2),
        ]),
    ) {
        let schedule = Schedule::new(ms(interval), ms(fast), ms(down), jitter);
        let delay = schedule.next(certainty, random).as_secs_f64();
        let middle = ms([interval, fast, down][middle]).as_secs_f64();
        let slack = 1e-6 * middle;
        prop_assert!(delay >= (middle * (1.0 - jitter)).max(0.001) - slack);
        prop_assert!(delay <= (middle * (1.0 + jitter)).max(0.001) + slack);
    }

    #[test]
    fn equal_steps_of_chance_are_equal_steps_of_delay(jitter in 0.01..=0.5_f64, random in 0.0..0.5_f64) {
        let schedule = Schedule::new(ms(2000), ms(500), ms(8000), jitter);
        let step = schedule.next(Certainty::Up, random + 0.5).as_secs_f64() - schedule.next(Certainty::Up, random).as_secs_f64();
        prop_assert!((step - 2.0 * jitter).abs() < 1e-6, "{step}");
    }
}
