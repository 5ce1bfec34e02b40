//! How many tests passed, failed and were skipped, and why.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Result, bail};

use super::progress::clock;

/// How many of the slowest tests are named.
const SLOWEST: usize = 5;

/// What came of some tests.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// How many were skipped for what reason.
    pub(super) reasons: BTreeMap<String, usize>,
    /// How long those took that said when they began.
    pub(super) times: Vec<(Duration, String)>,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        let Self { passed, failed, skipped, reasons, times } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        for (reason, count) in reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.times.extend(times);
    }

    pub(super) fn skip(&mut self, count: usize, reason: &str) {
        self.skipped += count;
        *self.reasons.entry(reason.to_owned()).or_default() += count;
    }

    /// Why tests were skipped, which took long, and how long all took.
    pub(super) fn tell(&mut self, elapsed: Duration) {
        for (reason, count) in &self.reasons {
            println!("test: skipped {count}: {reason}");
        }
        self.times.sort_by(|left, right| right.cmp(left));
        let slowest = self.times.iter().take(SLOWEST);
        let slowest: Vec<_> =
            slowest.map(|(time, name)| format!("{name} {:.0} s", time.as_secs_f64())).collect();
        if !slowest.is_empty() {
            println!("test: the slowest were {}", slowest.join(", "));
        }
        println!("test: ran for {}; what each said is in target/tests", clock(elapsed));
    }

    /// An error if one failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            1 => bail!("a test failed; what it said is above"),
            many => bail!("{many} tests failed; what they said is above"),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_are_one_line() {
        let mut counts = Counts { passed: 3, ..Counts::default() };
        counts.skip(2, "needs root");
        let mut more = Counts { passed: 1, failed: 1, ..Counts::default() };
        more.skip(1, "needs root");
        more.skip(1, "no tshark");
        counts.add(more);
        assert_eq!(counts.to_string(), "4 passed, 1 failed, 4 skipped");
        assert_eq!(
            counts.reasons,
            BTreeMap::from([("needs root".to_owned(), 3), ("no tshark".to_owned(), 1)])
        );
        assert!(counts.verdict().is_err() && Counts::default().verdict().is_ok());
    }
}
