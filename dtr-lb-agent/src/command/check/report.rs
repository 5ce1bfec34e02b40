//! How what was found is told, and the exit status.

use serde::Serialize;

use super::super::{Failure, complain, print};
use crate::{
    api::WouldReload,
    preflight::{Finding, Findings},
};

/// All that `check` has to tell.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) found: Findings,
    /// What a reload would change, if that was asked.
    pub(super) diff: Option<WouldReload>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<&'a WouldReload>,
}

impl Report {
    fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.found.errors.iter().chain(&self.found.foreseen)
    }

    /// What is so only because an agent runs is no fault of a config: it is told as a fact, without what to do about it.
    fn facts(&self) -> impl Iterator<Item = Told<'_>> {
        let held = self.found.held.iter().map(|finding| Told { remedy: None, ..told(finding, Level::Fact) });
        self.found.facts.iter().map(|finding| told(finding, Level::Fact)).chain(held)
    }

    /// Tells it, and fails if an agent would not start, or a reload would be refused.
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            print(&self.json()?)?;
        } else {
            print(&self.facts().map(|fact| format!("{}\n", fact.what)).collect::<String>())?;
            self.found.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
            self.errors().for_each(|error| complain(&format!("error: {error}")));
            self.diff.iter().try_for_each(print_diff)?;
        }
        let reload = self.diff.as_ref().is_some_and(|diff| !diff.refused.is_empty());
        let message = match (self.errors().count(), reload) {
            (0, false) => return Ok(()),
            (0, true) => "a reload would be refused, and change nothing: see why above".to_owned(),
            (1, _) => "the agent would not start on this host: see the error".to_owned(),
            (count, _) => format!("the agent would not start on this host: see the {count} errors"),
        };
        Err(Failure::failed(message))
    }

    fn json(&self) -> Result<String, Failure> {
        let errors = self.errors().map(|finding| told(finding, Level::Error));
        let warnings = self.found.warnings.iter().map(|finding| told(finding, Level::Warning));
        let findings = errors.chain(warnings).chain(self.facts()).collect();
        let would_start = self.errors().next().is_none();
        let whole =
            Whole { version: env!("CARGO_PKG_VERSION"), would_start, findings, reload: self.diff.as_ref() };
        Ok(format!("{}\n", serde_json::to_string_pretty(&whole).map_err(Failure::failed)?))
    }
}

fn told(finding: &Finding, level: Level) -> Told<'_> {
    let Finding { about, what, remedy } = finding;
    Told { level, about, what, remedy: remedy.as_deref() }
}

fn print_diff(WouldReload { config, changes, refused, notes }: &WouldReload) -> Result<(), Failure> {
    notes.iter().for_each(|note| complain(&format!("note: {note}")));
    refused.iter().for_each(|reason| complain(&format!("error: a reload would be refused: {reason}")));
    if changes.is_empty() {
        return print(&format!("a reload of {config} would change nothing\n"));
    }
    print(&format!("a reload of {config} would change:\n"))?;
    print(&changes.iter().map(|change| format!("  {change}\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(report: &Report) -> serde_json::Value {
        serde_json::from_str(&report.json().expect("JSON")).expect("JSON")
    }

    #[test]
    fn json_has_level_subject_and_remedy_apart() {
        let mut found = Findings::default();
        found.fact("kernel", "kernel 6.18: good; really");
        found.held("agent.socket", "an agent runs; end it");
        found.warn("interface eth0", "it is slow, as it is old; buy another");
        found.error("interface eth1", "it is not there");
        found.foresee("interface eth2", "it has no XDP; use TC");
        let value = value(&Report { found, diff: None });
        assert_eq!(value["would_start"], false);
        assert_eq!(
            value["findings"],
            serde_json::json!([
                {"level": "error", "about": "interface eth1", "what": "it is not there", "remedy": null},
                {"level": "error", "about": "interface eth2", "what": "it has no XDP", "remedy": "use TC"},
                {"level": "warning", "about": "interface eth0", "what": "it is slow, as it is old",
                 "remedy": "buy another"},
                {"level": "fact", "about": "kernel", "what": "kernel 6.18: good; really", "remedy": null},
                {"level": "fact", "about": "agent.socket", "what": "an agent runs", "remedy": null},
            ])
        );
    }

    #[test]
    fn an_agent_that_runs_is_no_error_and_a_reload_that_would_be_refused_is() {
        let mut report = Report::default();
        report.found.held("agent.socket", "an agent runs; end it");
        assert!(report.print(true).is_ok());
        assert_eq!(value(&report).get("reload"), None);
        let mut diff = WouldReload {
            config: "/etc/x.toml".into(),
            changes: vec!["datapath.max_flows: 1 → 2".into()],
            ..WouldReload::default()
        };
        report.diff = Some(diff.clone());
        assert!(report.print(true).is_ok());
        diff.refused.push("`datapath.max_flows` cannot change".into());
        report.diff = Some(diff);
        assert_eq!(report.print(true).expect_err("it is refused").status, 1);
        assert_eq!(value(&report)["would_start"], true, "a start is another thing");
        assert_eq!(value(&report)["reload"]["changes"][0], "datapath.max_flows: 1 → 2");
    }
}
