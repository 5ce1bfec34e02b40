//! Wrong admin tokens in the log: that there were some, and from where, but not one line each, and never the token.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tracing::warn;

use super::{source::Source, tally::Tally};

#[derive(Debug, Default)]
pub(super) struct WrongTokens(Mutex<Tally>);

impl WrongTokens {
    pub(super) fn log(&self, source: Source, now: Instant) {
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner).count(now);
        if let Some(count) = due {
            warn!(
                from = %source,
                count,
                "a wrong admin token was given over HTTP; `count` is since the last such line, the sender is of the last one"
            );
        }
    }
}
