//! When a service's clients have to prove their addresses: while more SYNs come than handshakes follow.

use crate::abi::{Pressure, Ticks};

/// For how many seconds after the last sign of a flood.
pub const HOLD: Ticks = 10;

impl Pressure {
    /// Takes in a SYN. Says whether its source has to prove itself: once more than `above` SYNs of a second were followed by
    /// no handshake, and until for some seconds it was less than half of that; always, where that is 0. `second` is in ticks.
    #[inline(always)]
    pub fn asks(&mut self, above: u32, second: Ticks, now: Ticks) -> bool {
        if now.wrapping_sub(self.second) >= second {
            (self.second, self.excess) = (now, 0);
        }
        self.syns += 1;
        self.excess = self.excess.saturating_add(1);
        let limit = if self.challenging == 0 { above } else { above / 2 };
        if above == 0 || i64::from(self.excess) > i64::from(limit) {
            self.challenging = 1;
            self.until = now.wrapping_add(HOLD * second);
        } else if now.wrapping_sub(self.until) as i32 >= 0 {
            self.challenging = 0;
        }
        self.challenging != 0
    }

    /// Whether the source of a SYN would have to prove itself now: also where none has come since.
    #[inline(always)]
    pub const fn is_challenging(&self, now: Ticks) -> bool {
        self.challenging != 0 && (now.wrapping_sub(self.until) as i32) < 0
    }

    /// Takes in that a handshake was completed, or that who was asked for a proof gave it.
    #[inline(always)]
    pub fn proves(&mut self) {
        self.excess = self.excess.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Ticks = 250;
    const ABOVE: u32 = 100;

    /// Plays so many seconds of so many SYNs, of which so many are followed by a handshake. Says whether the last one had to
    /// prove itself.
    fn play(pressure: &mut Pressure, now: &mut Ticks, seconds: u32, syns: u32, handshakes: u32) -> bool {
        let mut asked = false;
        for _ in 0..seconds {
            for syn in 0..syns {
                asked = pressure.asks(ABOVE, SECOND, now.wrapping_add(syn * SECOND / syns));
                if syn < handshakes {
                    pressure.proves();
                }
            }
            *now = now.wrapping_add(SECOND);
        }
        asked
    }

    #[test]
    fn a_flood_is_noticed_within_its_first_second_and_for_some_after_its_last() {
        // The clock wraps meanwhile.
        let (mut pressure, mut now) = (Pressure::default(), 0u32.wrapping_sub(5 * SECOND));
        assert!(!play(&mut pressure, &mut now, 20, 10_000, 10_000), "ten thousand connections a second");
        assert!(!play(&mut pressure, &mut now, 20, 10_000, 9_901), "one in a hundred fails");
        assert!(play(&mut pressure, &mut now, 1, ABOVE + 1, 0));
        assert!(play(&mut pressure, &mut now, 60, ABOVE / 2 + 1, 0), "a flood that ebbs");
        assert!(play(&mut pressure, &mut now, HOLD - 1, ABOVE / 2, 0));
        assert!(!play(&mut pressure, &mut now, 2, ABOVE / 2, 0));
        assert!(!play(&mut pressure, &mut now, 60, ABOVE, 0), "below what begins it");
        // One whose last SYN was the last of all.
        assert!(play(&mut pressure, &mut now, 1, ABOVE + 1, 0));
        assert!(pressure.is_challenging(now) && !pressure.is_challenging(now.wrapping_add(HOLD * SECOND)));
    }

    #[test]
    fn it_begins_with_the_first_syn_or_never() {
        let mut pressure = Pressure::default();
        for tick in 0..5000 {
            assert!(pressure.asks(0, SECOND, tick), "always");
            (0..3).for_each(|_| pressure.proves());
        }
        let mut pressure = Pressure::default();
        assert!(!play(&mut pressure, &mut 0, 2, ABOVE, 0));
        assert_eq!((pressure.syns, pressure.excess), (200, 100));
    }

    #[test]
    fn handshakes_of_a_second_that_is_over_do_not_count_for_ever() {
        let (mut pressure, mut now) = (Pressure::default(), 0);
        for _ in 0..1_000_000 {
            pressure.proves();
        }
        now += SECOND;
        assert!(play(&mut pressure, &mut now, 1, ABOVE + 1, 0));
    }
}
