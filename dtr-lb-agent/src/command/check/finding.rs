//! What `dtr-lb check` has found, and how it is told: facts, and what is wrong with what to do about it.

use std::fmt;

use serde::Serialize;

use super::super::{Failure, complain, print};

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is about: `interface eth0`, `kernel`, `service https`.
    about: String,
    /// What was found, and what follows from it.
    what: String,
    /// What to do about it, where there is something to do.
    remedy: Option<String>,
}

impl Finding {
    /// From a text as all our errors are: what is so and why, and after the last `; ` what to do.
    fn new(about: impl Into<String>, text: &str) -> Self {
        let (what, remedy) = match text.rsplit_once("; ") {
            Some((what, remedy)) => (what, Some(remedy.to_owned())),
            None => (text, None),
        };
        Self { about: about.into(), what: what.to_owned(), remedy }
    }

    fn told(&self, level: Level) -> Told<'_> {
        let Self { about, what, remedy } = self;
        Told { level, about, what, remedy: remedy.as_deref() }
    }

    #[cfg(test)]
    pub(super) fn contains(&self, words: &str) -> bool {
        self.to_string().contains(words)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { about: _, what, remedy } = self;
        f.write_str(what)?;
        remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Would keep the agent from starting.
    Error,
    /// Would let it start and not work as it should.
    Warning,
    /// How things are.
    Fact,
}

/// All that was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) facts: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) errors: Vec<Finding>,
}

/// A finding as `--json` has it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    level: Level,
    about: &'a str,
    what: &'a str,
    remedy: Option<&'a str>,
}

/// The whole as `--json` has it.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    version: &'static str,
    /// Whether an agent would start.
    would_start: bool,
    /// The worst first.
    findings: Vec<Told<'a>>,
}

impl Report {
    /// Notes how something is.
    pub(super) fn fact(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        // A fact has no remedy: it is told as it is.
        self.facts.push(Finding { about: about.into(), what: text.to_string(), remedy: None });
    }

    /// Notes what would let an agent start and not work as it should. `text` ends with what to do, after a `; `.
    pub(super) fn warn(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        self.warnings.push(Finding::new(about, &text.to_string()));
    }

    /// Notes what would keep an agent from starting. `text` ends with what to do, after a `; `.
    pub(super) fn error(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        self.errors.push(Finding::new(about, &text.to_string()));
    }

    /// Tells it, and fails if an agent would not start.
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            print(&self.json()?)?;
        } else {
            print(&self.facts.iter().map(|fact| format!("{fact}\n")).collect::<String>())?;
            self.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
            self.errors.iter().for_each(|error| complain(&format!("error: {error}")));
        }
        match self.errors.len() {
            0 => Ok(()),
            1 => Err(Failure::failed("the agent would not start on this host: see the error")),
            count => Err(Failure::failed(format!(
                "the agent would not start on this host: see the {count} errors"
            ))),
        }
    }

    fn json(&self) -> Result<String, Failure> {
        let errors = self.errors.iter().map(|finding| finding.told(Level::Error));
        let warnings = self.warnings.iter().map(|finding| finding.told(Level::Warning));
        let facts = self.facts.iter().map(|finding| finding.told(Level::Fact));
        let findings = errors.chain(warnings).chain(facts).collect();
        let whole =
            Whole { version: env!("CARGO_PKG_VERSION"), would_start: self.errors.is_empty(), findings };
        Ok(format!("{}\n", serde_json::to_string_pretty(&whole).map_err(Failure::failed)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_level_subject_and_remedy_apart() {
        let mut report = Report::default();
        report.fact("kernel", "kernel 6.18: good; really");
        report.warn("interface eth0", "it is slow, as it is old; buy another");
        report.error("interface eth1", "it is not there");
        let value: serde_json::Value = serde_json::from_str(&report.json().expect("JSON")).expect("JSON");
        assert_eq!(value["would_start"], false);
        assert_eq!(
            value["findings"],
            serde_json::json!([
                {"level": "error", "about": "interface eth1", "what": "it is not there", "remedy": null},
                {"level": "warning", "about": "interface eth0", "what": "it is slow, as it is old",
                 "remedy": "buy another"},
                {"level": "fact", "about": "kernel", "what": "kernel 6.18: good; really", "remedy": null},
            ])
        );
        assert_eq!(report.warnings[0].to_string(), "it is slow, as it is old; buy another");
    }
}
