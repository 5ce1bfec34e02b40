//! Every ten seconds: is the kernel still what the agent made it? In small pieces, between which everything else goes on.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::datapath::{Datapath, DatapathError, Repaired, Round};

/// From the end of a round to the next.
pub(super) const PAUSE: Duration = Duration::from_secs(10);
/// The part of the time that a round may take from the processor.
const SHARE: u32 = 20;

/// After a piece that could not be looked at.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be remembered between the pieces.
#[derive(Debug, Default)]
pub(super) struct Compare {
    /// Whether the round under way could not look at something.
    failing: bool,
    /// Whether the one before could not, which was told.
    failed: bool,
}

impl Compare {
    /// Looks at the next piece, tells what was repaired, and returns when the one after it is due.
    pub(super) fn step(&mut self, datapath: &mut Datapath) -> Instant {
        let begun = Instant::now();
        let result = datapath.compare();
        let took = begun.elapsed();
        Instant::now() + self.take(result, took)
    }

    /// Returns for how long to wait before the next piece, after one that took so long.
    fn take(&mut self, result: Result<Round, DatapathError>, took: Duration) -> Duration {
        let Round { repaired, done } = match result {
            Ok(round) => round,
            Err(error) => {
                if !self.failing && !self.failed {
                    warn!(
                        %error,
                        "the agent cannot compare the datapath with what it has written; it retries every few seconds"
                    );
                }
                self.failing = true;
                return RETRY;
            }
        };
        if let Some(Repaired { map, entries, first }) = repaired {
            warn!(
                event = "datapath_repaired",
                map,
                entries,
                first,
                "the datapath was not as the agent had made it, and was repaired; something else on this host changes it"
            );
        }
        if done {
            if self.failed && !self.failing {
                info!("all of the datapath can be looked at again");
            }
            (self.failed, self.failing) = (self.failing, false);
            return PAUSE;
        }
        took * SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(2);

    #[test]
    fn a_round_takes_a_part_of_the_time_and_then_there_is_a_pause() {
        let mut compare = Compare::default();
        let piece = |done| Ok(Round { repaired: None, done });
        assert_eq!(compare.take(piece(false), TOOK), TOOK * SHARE);
        assert_eq!(compare.take(piece(true), TOOK), PAUSE);
    }

    #[test]
    fn what_cannot_be_looked_at_keeps_the_processor_for_others_and_is_known_until_a_round_is_good() {
        let mut compare = Compare::default();
        let error = || Err(DatapathError::Clock { reason: "it stands still".into() });
        assert_eq!(compare.take(error(), TOOK), RETRY);
        assert!(compare.failing);
        assert_eq!(compare.take(Ok(Round { repaired: None, done: true }), TOOK), PAUSE);
        assert!(compare.failed && !compare.failing);
        assert_eq!(compare.take(Ok(Round { repaired: None, done: true }), TOOK), PAUSE);
        assert!(!compare.failed);
    }
}
