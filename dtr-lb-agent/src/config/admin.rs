//! What an operator orders for a replica while the agent runs. It is no key of the file: it lives as long as the datapath.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operator wants of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// It serves, as far as probes and weight let it.
    #[default]
    Ready,
    /// No new flows; those that it has go on, and it is probed.
    Drain,
    /// No new flows and no probes; those that it has are reset, unless `on_down` is "leave".
    Maint,
}

impl Admin {
    /// The word for it in commands, in the API and in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}
