//! Why a step of a conversation failed, in the words an operator reads.

use std::time::Duration;

/// Why a step of a conversation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepFailure {
    /// What was sent found no taker in time.
    #[error("not taken within {after:?}")]
    NotTaken {
        /// How long the probe waited.
        after: Duration,
    },
    /// Nothing that matches came in time.
    #[error("no match of /{pattern}/ within {after:?}, {}", describe_heard(.heard))]
    NoMatch {
        /// How long the probe waited.
        after: Duration,
        /// The pattern, as in the config.
        pattern: String,
        /// The start of what came, escaped; empty if nothing did.
        heard: String,
    },
    /// The replica closed the connection before something that matches came.
    #[error("connection closed without a match of /{pattern}/, {}", describe_heard(.heard))]
    Closed {
        /// The pattern, as in the config.
        pattern: String,
        /// The start of what came, escaped; empty if nothing did.
        heard: String,
    },
    /// What came matches a pattern that it must not.
    #[error("the answer matches /{pattern}/, which is rejected")]
    Rejected {
        /// The pattern, as in the config.
        pattern: String,
    },
    /// More came than a probe collects.
    #[error("no match of /{pattern}/ in {} KiB", limit / 1024)]
    TooLong {
        /// The most that a probe collects, in bytes.
        limit: usize,
        /// The pattern, as in the config.
        pattern: String,
    },
    /// It came in more pieces than a probe reads.
    #[error("answer in more than {limit} pieces, not read on")]
    TooManyPieces {
        /// The most that a probe reads.
        limit: usize,
    },
    /// The connection failed in another way.
    #[error("{reason}")]
    Broken {
        /// The cause.
        reason: String,
    },
}

fn describe_heard(heard: &str) -> String {
    if heard.is_empty() { "heard nothing".to_owned() } else { format!("heard \"{heard}\"") }
}
