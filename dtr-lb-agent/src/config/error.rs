//! What can be wrong with a config, in words an operator can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no config to work with. `Display` of [`ConfigError::Invalid`] is one problem a line.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the config {}: {source}; {}", path.display(), what_to_do(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not UTF-8, so it cannot be TOML.
    #[error("{}:{line}: the config is not UTF-8 text from this line on; save it as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// The host did not say what the config has to agree with.
    #[error("cannot read the host's ephemeral port range from {}: {reason}; \
             is /proc mounted and readable here?", path.display())]
    Host {
        /// The file under `/proc`.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// An option of the command line is missing that has to be there where no config file is read.
    #[error("{option} is missing, and with the others no config file is read; give it, as in {example}")]
    NoOption { option: &'static str, example: &'static str },
    /// The config breaks at least one rule. Sorted as in the file; those of `--set` come last.
    #[error("{}", one_a_line(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// Each thing that is wrong inside the config; empty if it could not even be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Read { .. } | Self::NotText { .. } | Self::Host { .. } | Self::NoOption { .. } => &[],
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The key, dotted, tables counted from 0 (`service[1].probe.rise`); empty if the text is not TOML.
    pub key: String,
    /// The value as written, if one was.
    pub value: Option<String>,
    /// What is wrong, and what to do where that is not simply another value.
    pub what: String,
    /// What would be accepted, if it can be said in short.
    pub allowed: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.place)?;
        match (self.key.as_str(), &self.value) {
            ("", _) => {}
            (key, None) => write!(out, "`{}`: ", one_line(key))?,
            (key, Some(value)) => write!(out, "`{} = {}`: ", one_line(key), one_line(value))?,
        }
        write!(out, "{}", one_line(&self.what))?;
        self.allowed.as_ref().map_or(Ok(()), |allowed| write!(out, "; allowed: {allowed}"))
    }
}

/// Where a problem was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    File {
        /// The file, as the config was named when it was loaded.
        name: String,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// On the command line: the `KEY=VALUE` of a `--set`.
    Override(String),
    /// On the command line, or in a variable of the environment: the option that stands for a line of the config.
    Option(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(out, "{name}:{line}:{column}"),
            Self::Override(item) => write!(out, "--set {}", one_line(item)),
            Self::Option(option) => write!(out, "{}", one_line(option)),
        }
    }
}

fn one_a_line(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The most characters of a text from the file that are shown: a whole file may stand in one pair of quotes.
const LONGEST_SHOWN: usize = 300;

/// Keys and values come from the file: a line break in one must not look like the next problem, and its end is left out
/// where it is long.
fn one_line(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(LONGEST_SHOWN)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run the command as root, or make the file readable",
        io::ErrorKind::IsADirectory => "name the file in it with --config FILE",
        _ => {
            "name another with --config FILE, print one with `dtr-lb init`, start from examples/minimal.toml, \
             which comes with dtr-lb, or run without one by --vip and --replica"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_file_is_shown_on_one_line_and_not_without_end() {
        assert_eq!(one_line("a\nb"), "a\\nb");
        let most = "ä".repeat(LONGEST_SHOWN);
        assert_eq!(one_line(&most), most);
        assert_eq!(one_line(&format!("{most}ä")), format!("{most}…"));
    }
}
