//! What was found, and how bad it is: facts, and what is wrong with what to do about it.

use std::fmt;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What it is about: `interface eth0`, `kernel`, `service https`.
    pub(crate) about: String,
    /// What was found, and what follows from it.
    pub(crate) what: String,
    /// What to do about it, where there is something to do.
    pub(crate) remedy: Option<String>,
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

    #[cfg(test)]
    pub(crate) fn contains(&self, words: &str) -> bool {
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

/// All that was found, by severity.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// How things are.
    pub(crate) facts: Vec<Finding>,
    /// What lets an agent start and not work as it should.
    pub(crate) warnings: Vec<Finding>,
    /// What keeps an agent from starting.
    pub(crate) errors: Vec<Finding>,
    /// What the kernel will refuse, as far as its drivers are known here: `check` takes it for an error; `run` tries.
    pub(crate) foreseen: Vec<Finding>,
    /// What keeps one from starting only because another one runs: `run` refuses, and for `check`, which is asked what that
    /// other one would make of a config, it is a fact.
    pub(crate) held: Vec<Finding>,
}

impl Findings {
    pub(crate) fn fact(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        // A fact has no remedy: it is told as it is.
        self.facts.push(Finding { about: about.into(), what: text.to_string(), remedy: None });
    }

    /// `text` ends with what to do, after a `; `.
    pub(crate) fn warn(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        self.warnings.push(Finding::new(about, &text.to_string()));
    }

    /// `text` ends with what to do, after a `; `.
    pub(crate) fn error(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        self.errors.push(Finding::new(about, &text.to_string()));
    }

    /// `text` ends with what to do, after a `; `.
    pub(crate) fn foresee(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        self.foreseen.push(Finding::new(about, &text.to_string()));
    }

    /// `text` ends with what to do, after a `; `.
    pub(crate) fn held(&mut self, about: impl Into<String>, text: impl fmt::Display) {
        self.held.push(Finding::new(about, &text.to_string()));
    }

    /// Takes in what else was found.
    pub(crate) fn append(&mut self, other: Self) {
        let Self { facts, warnings, errors, foreseen, held } = other;
        self.facts.extend(facts);
        self.warnings.extend(warnings);
        self.errors.extend(errors);
        self.foreseen.extend(foreseen);
        self.held.extend(held);
    }

    /// What `run` refuses to start by; nothing if it starts.
    pub(crate) fn refusal(&mut self) -> Result<(), Refused> {
        let mut all = std::mem::take(&mut self.errors);
        all.append(&mut self.held);
        if all.is_empty() { Ok(()) } else { Err(Refused(all)) }
    }
}

/// What keeps the agent from starting, or from another config: at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(Vec<Finding>);

impl fmt::Display for Refused {
    /// A line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, finding) in self.0.iter().enumerate() {
            let end = if place == 0 { "" } else { "\n" };
            write!(f, "{end}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_is_after_the_last_semicolon() {
        let mut found = Findings::default();
        found.warn("interface eth0", "it is slow; as it is old; buy another");
        let [Finding { what, remedy, .. }] = &found.warnings[..] else { panic!("{found:?}") };
        assert_eq!((what.as_str(), remedy.as_deref()), ("it is slow; as it is old", Some("buy another")));
        assert_eq!(found.warnings[0].to_string(), "it is slow; as it is old; buy another");
    }

    #[test]
    fn run_refuses_by_all_errors_and_by_an_agent_that_runs() {
        let mut found = Findings::default();
        found.fact("kernel", "it is good");
        found.warn("service http", "it is late; hurry");
        assert_eq!(found.refusal(), Ok(()));
        found.foresee("interface eth1", "its driver is old; buy another");
        assert_eq!(found.refusal(), Ok(()), "the kernel decides");
        found.error("interface eth0", "it is gone; bring it back");
        found.held("agent.socket", "an agent runs; end it");
        let refused = found.refusal().expect_err("two things are in the way").to_string();
        assert_eq!(refused, "it is gone; bring it back\nan agent runs; end it");
    }
}
