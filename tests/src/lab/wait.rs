//! Waiting for a condition, with a limit. Nothing in the lab sleeps and hopes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Short against anything that is waited for, long enough to leave the machine's cores to it.
const INTERVAL: Duration = Duration::from_millis(5);

/// Asks `condition` until it holds or `limit` has passed, and says whether it held.
///
/// It is asked at least once, and once more after the limit, so that a slow machine is not taken for a failure.
pub fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        thread::sleep(INTERVAL);
    }
    condition()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_once_even_without_time() {
        let mut asked = 0;
        assert!(until(Duration::ZERO, || {
            asked += 1;
            true
        }));
        assert_eq!(asked, 1);
    }

    #[test]
    fn it_stops_at_the_first_yes_and_gives_up_at_the_limit() {
        let mut asked = 0;
        assert!(until(Duration::from_secs(10), || {
            asked += 1;
            asked == 3
        }));
        assert_eq!(asked, 3);
        assert!(!until(Duration::from_millis(12), || false));
    }
}
