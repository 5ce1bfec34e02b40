//! The programs that cargo makes of the tests, and the tests in each.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::command::{captured, cargo, line, search_path};

/// The package whose tests need root, with these exceptions.
const LAB: &str = "tests";
const WITHOUT_ROOT: [&str; 2] = ["pipeline", "outputs"];
/// Those with a harness of their own, which takes one filter.
const OWN_HARNESS: [&str; 4] = ["dashboard", "kernel", "outputs", "scenarios"];

/// A program of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suite {
    /// As `--only` names it: the package, or the file of integration tests.
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    /// The package's.
    pub(crate) directory: PathBuf,
    /// Whether all of it is run as root.
    pub(crate) as_root: bool,
    pub(crate) own_harness: bool,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds all tests; cargo's progress is shown. The scenarios run the agent's own binary, which is built for that package's tests.
pub(super) fn build(host_only: bool) -> Result<Vec<Suite>> {
    let mut command = cargo();
    // dtr-lb-ebpf is an empty program on the host; dtr-lb-tests is the lab.
    command.args(["test", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]);
    command.args(["--workspace", "--exclude", "dtr-lb-ebpf"]);
    if host_only {
        command.args(["--exclude", "dtr-lb-tests"]);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", line(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({}); its output is above", line(&command), output.status);
    }
    read(&String::from_utf8_lossy(&output.stdout))
}

/// From cargo's messages.
fn read(messages: &str) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for text in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message =
            serde_json::from_str(text).with_context(|| format!("cargo says what is no message: {text}"))?;
        let (Some(executable), Some(manifest), Some(target)) =
            (message.executable, message.manifest_path, message.target)
        else {
            continue;
        };
        if message.reason == "compiler-artifact" && message.profile.is_some_and(|profile| profile.test) {
            suites.push(Suite::new(executable, &manifest, &target));
        }
    }
    // What is over soon comes first, so that its failures are seen soon.
    suites.sort_by_key(|suite| (suite.own_harness, suite.name == "scenarios", suite.name.clone()));
    Ok(suites)
}

impl Suite {
    fn new(executable: PathBuf, manifest: &Path, target: &Target) -> Self {
        let directory = manifest.parent().unwrap_or(manifest).to_owned();
        let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let integration = target.kind.iter().any(|kind| kind == "test");
        let own = |names: &[&str]| integration && package == LAB && names.contains(&target.name.as_str());
        let name = if package == LAB || !integration {
            target.name.replace('_', "-")
        } else {
            format!("{package}::{}", target.name)
        };
        Self {
            as_root: package == LAB && !own(&WITHOUT_ROOT),
            own_harness: own(&OWN_HARNESS),
            name,
            executable,
            directory,
        }
    }

    /// The names of its tests; with `ignored`, of those that a plain run leaves out.
    pub(super) fn list(
        &self,
        ignored: bool,
        environment: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Vec<String>> {
        let mut command = Command::new(&self.executable);
        command.args(["--list", "--format", "terse"]).current_dir(&self.directory).env("PATH", search_path());
        if ignored {
            command.arg("--ignored");
        }
        let text = captured(command.envs(environment))?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_tests_are_read_from_cargos_messages() {
        let message = |manifest: &str, name: &str, kind: &str, test: bool| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/r/{manifest}/Cargo.toml\",\"target\":{{\"name\":\
                 \"{name}\",\"kind\":[\"{kind}\"]}},\"profile\":{{\"test\":{test}}},\"executable\":\"/t/{name}\"}}"
            )
        };
        let messages = [
            message("tests", "scenarios", "test", true),
            message("tests", "dtr_lb_tests", "lib", true),
            message("tests", "pipeline", "test", true),
            message("dtr-lb-agent", "dtr_lb_agent", "lib", true),
            message("dtr-lb-agent", "cli", "test", true),
            message("dtr-lb-agent", "dtr-lb", "bin", false),
            "{\"reason\":\"build-finished\",\"success\":true}".to_owned(),
        ];
        let suites = read(&messages.join("\n")).unwrap();
        let told: Vec<_> =
            suites.iter().map(|suite| (suite.name.as_str(), suite.as_root, suite.own_harness)).collect();
        assert_eq!(
            told,
            [
                ("dtr-lb-agent", false, false),
                ("dtr-lb-agent::cli", false, false),
                ("dtr-lb-tests", true, false),
                ("pipeline", false, false),
                ("scenarios", true, true),
            ]
        );
        assert_eq!(suites[0].directory, Path::new("/r/dtr-lb-agent"));
    }
}
