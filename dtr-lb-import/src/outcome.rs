//! What becomes of a statement as a rule: the tables of directives say it, and docs/import.md counts it.

use crate::report::{At, Ledger};

/// As in the report's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Differs,
    LeftOut,
    /// Left out, though it decides who is served or let in.
    Decides,
}

impl Outcome {
    /// The report's list.
    pub const fn list(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Differs => "differs",
            Self::LeftOut | Self::Decides => "left out",
        }
    }

    /// Says so of a statement.
    pub fn say(self, at: At, why: &str, ledger: &mut Ledger) {
        match self {
            Self::Taken => ledger.taken(at, why),
            Self::Differs => ledger.differs(at, why),
            Self::LeftOut => ledger.left_out(at, why),
            Self::Decides => ledger.left_out_that_decides(at, why),
        }
    }
}
