//! Slow start: the share of a replica that has come back rises to its weight in even steps. Pure.

use std::time::{Duration, Instant};

/// Steps of a ramp. Each is a rewrite of the service's table.
const STEPS: u32 = 20;

/// The rise of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    begun: Instant,
    over: Duration,
}

impl Ramp {
    /// `over`: from the first step to the whole weight.
    pub(super) fn new(begun: Instant, over: Duration) -> Self {
        Self { begun, over }
    }

    /// Its share at `now`, 1 at least if `weight` is.
    pub(super) fn share(&self, weight: u16, now: Instant) -> u16 {
        let share = u32::from(weight) * self.steps_taken(now) / STEPS;
        u16::try_from(share).unwrap_or(weight).max(weight.min(1))
    }

    /// When the next step is due; `None` if it has reached the top.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let next = self.steps_taken(now) + 1;
        (next <= STEPS).then(|| self.step(next))
    }

    fn steps_taken(&self, now: Instant) -> u32 {
        (1..=STEPS).take_while(|step| self.step(*step) <= now).last().unwrap_or(0)
    }

    fn step(&self, step: u32) -> Instant {
        self.begun + self.over * step / STEPS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_share_rises_evenly_to_the_weight() {
        let begun = Instant::now();
        let ramp = Ramp::new(begun, Duration::from_secs(20));
        let cases = [
            (0, 1),
            (999, 1),
            (1000, 5),
            (1999, 5),
            (10_000, 50),
            (19_999, 95),
            (20_000, 100),
            (90_000, 100),
        ];
        for (at, share) in cases {
            assert_eq!(ramp.share(100, begun + Duration::from_millis(at)), share, "after {at} ms");
        }
        assert_eq!((ramp.share(0, begun), ramp.share(1, begun)), (0, 1), "never more than the weight");
    }

    proptest! {
        #[test]
        fn whoever_wakes_when_a_step_is_due_takes_20_steps_to_the_top(weight in 0_u16..=256, over in 1_u64..4_000_000) {
            let begun = Instant::now();
            let ramp = Ramp::new(begun, Duration::from_micros(over));
            let (mut now, mut before, mut steps) = (begun, ramp.share(weight, begun), 0);
            while let Some(due) = ramp.next(now) {
                prop_assert!(due > now, "it gets on");
                now = due;
                let share = ramp.share(weight, now);
                prop_assert!(share >= before && share <= weight);
                before = share;
                steps += 1;
            }
            prop_assert_eq!((before, steps), (weight, STEPS));
            prop_assert_eq!(now, begun + Duration::from_micros(over));
        }
    }
}
