//! What an unattended run does, and when: a pure list from the length of the run.

use std::time::Duration;

/// A thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The download begins; it is to last through everything that fails.
    Download,
    Push,
    Sicken,
    Heal,
    /// Pull what was pushed.
    Pull,
    Kill,
    Start,
}

/// The steps, each with its place in the run as a percentage.
const STEPS: [(u32, Step); 7] = [
    (2, Step::Download),
    (5, Step::Push),
    (20, Step::Sicken),
    (45, Step::Heal),
    // With time to be over before the kill: what the kill cuts is shown by the short requests.
    (48, Step::Pull),
    (55, Step::Kill),
    (75, Step::Start),
];

/// The download ends here, as a percentage of the run: after the last step, and with time in hand for a machine that
/// is slower than it should be.
const DOWNLOAD_ENDS: u32 = 85;

/// The steps of a run of this length with the time of each, in order.
pub(super) fn steps(length: Duration) -> impl Iterator<Item = (Duration, Step)> {
    STEPS.into_iter().map(move |(percent, step)| (part(length, percent), step))
}

/// The rate at which `bytes` take up the download's part of the run, in bytes a second.
pub(super) fn download_rate(length: Duration, bytes: u64) -> u64 {
    let lasts = part(length, DOWNLOAD_ENDS - STEPS[0].0);
    // Whole milliseconds keep it in integers; the length was checked to be seconds at least.
    bytes * 1000 / u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn part(length: Duration, percent: u32) -> Duration {
    length * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_in_order_and_scale_with_the_run() {
        for seconds in [10, 30, 600] {
            let length = Duration::from_secs(seconds);
            let times: Vec<_> = steps(length).map(|(time, _)| time).collect();
            assert!(times.is_sorted() && times.iter().all(|time| *time < length), "{times:?}");
        }
        let kill = steps(Duration::from_secs(30)).find(|(_, step)| *step == Step::Kill);
        assert_eq!(kill, Some((Duration::from_millis(16_500), Step::Kill)));
    }

    #[test]
    fn the_download_outlasts_the_last_step_and_not_the_run() {
        let length = Duration::from_secs(30);
        let bytes = 64 << 20;
        let lasts = bytes / download_rate(length, bytes);
        let (begins, last) = (steps(length).next().unwrap().0, steps(length).last().unwrap().0);
        let ends = begins + Duration::from_secs(lasts);
        assert!(last < ends && ends < length, "{ends:?}");
    }
}
