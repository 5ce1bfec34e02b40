//! Regular expressions in the config: over bytes, as nothing promises that what a replica says is UTF-8.

use std::fmt;

use regex::bytes::Regex;

use super::takes::Text;

/// A regular expression that has to be found somewhere in what a replica says. Equal if written the same.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// A key that takes one.
pub(super) const PATTERN: Text<Pattern> = Text {
    words: "a regular expression in quotes; single quotes leave its backslashes alone",
    parse: Pattern::new,
    show: Pattern::to_string,
};

impl Pattern {
    /// Does it match?
    #[must_use]
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }

    /// Where the first match ends; `None` if there is none.
    #[must_use]
    pub fn end_of_match(&self, bytes: &[u8]) -> Option<usize> {
        self.0.find(bytes).map(|found| found.end())
    }

    /// As written in the config.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// One that this program brings.
    pub(super) fn of(pattern: &'static str) -> Self {
        Self::new(pattern).expect("a pattern of ours is one; the tests make each")
    }

    /// Of this text, or what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| {
            // Several lines, with a drawing of where; the last one says what.
            let whole = error.to_string();
            let last = whole.lines().last().unwrap_or_default();
            let what = last.strip_prefix("error: ").unwrap_or(last).trim();
            format!("not a regular expression: {what}")
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
