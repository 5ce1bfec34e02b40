//! `cargo xtask test`: builds the tests' programs, runs them one after the other, shows where it is, and counts.
//!
//! [`suite`] finds the programs and their tests, [`mod@run`] runs one, [`progress`] shows, [`count`] counts.

mod count;
mod progress;
mod run;
mod suite;

use std::{collections::BTreeMap, process::Command, time::Instant};

use anyhow::{Result, bail};

use crate::{
    command::{cargo, find_program, shown, workspace_root},
    run::path_variable,
    scope::Scope,
    setup,
    survey::{GivenUp, effective_user_is_root},
    system,
};
pub(crate) use count::Counts;
use progress::Progress;
use suite::Suite;

/// Makes a test that needs a privilege fail without it, where it would otherwise report itself as skipped.
const REQUIRE_PRIVILEGED: &str = "DTR_LB_REQUIRE_PRIVILEGED";
/// The same for a program.
const REQUIRE_PROGRAMS: &str = "DTR_LB_REQUIRE_PROGRAMS";
/// Programs that cannot be had, one a line, each with the reason.
const UNAVAILABLE: &str = "DTR_LB_UNAVAILABLE";
/// Leaves out what `--all` adds.
const SHORT: &str = "DTR_LB_SHORT";
/// Makes a test say when it begins: several may run, and only the end of each is told otherwise.
const TELL: &str = "DTR_LB_TELL";

/// Which tests to run.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Selection {
    /// Leave out the tests that need root.
    #[arg(long)]
    pub(crate) host_only: bool,
    /// Also play scenarios where they prove little that is new: what `cargo xtask ci` does; takes twice as long.
    #[arg(long, conflicts_with = "host_only")]
    pub(crate) all: bool,
    /// Try the Debian package in an emulated machine instead, with its own kernel and systemd; needs root.
    #[arg(long, conflicts_with_all = ["host_only", "all", "filters"])]
    pub(crate) system: bool,
    /// Run only the tests of these programs (`scenarios`, `kernel`, `dtr-lb-agent`, ...).
    #[arg(long, value_name = "PROGRAM", conflicts_with = "system")]
    pub(crate) only: Vec<String>,
    /// Run only the tests whose names contain one of these.
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// Runs the selected tests.
pub(crate) fn run(selection: &Selection) -> Result<()> {
    if selection.system {
        return system::run();
    }
    let given_up = setup::ensure(if selection.host_only { Scope::Host } else { Scope::Test })?;
    let counts = play(selection, &given_up)?;
    println!("{counts}");
    counts.verdict()
}

/// Everything, and nothing may be missing; for `ci`, which has set up before.
pub(crate) fn all() -> Result<Counts> {
    play(&Selection { all: true, ..Selection::default() }, &GivenUp::new())
}

fn play(selection: &Selection, given_up: &GivenUp) -> Result<Counts> {
    let by_sudo = !selection.host_only && !effective_user_is_root();
    if by_sudo && find_program("sudo").is_none() {
        bail!(
            "the lab's tests need root, and there is no sudo. Run `cargo xtask test` as root, or \
             `cargo xtask test --host-only`"
        );
    }
    println!("test: building");
    let begun = Instant::now();
    let mut suites = suite::build(selection.host_only)?;
    println!("test: built in {}", progress::clock(begun.elapsed()));
    if let Some(unknown) = selection.only.iter().find(|name| suites.iter().all(|suite| suite.name != **name))
    {
        let names = suites.iter().map(|suite| suite.name.as_str()).collect::<Vec<_>>();
        bail!("there are no tests of {unknown}; there are those of {}", names.join(", "));
    }
    suites.retain(|suite| selection.only.is_empty() || selection.only.contains(&suite.name));
    let environment = environment(selection, given_up);
    let mut runs = Vec::new();
    for suite in &suites {
        runs.extend(run::Run::of(suite, selection, given_up, &environment)?);
    }
    let mut progress = Progress::new(runs.iter().map(|run| run.expected).sum());
    let mut counts = Counts::default();
    for run in &runs {
        counts.add(run.play(&environment, &mut progress)?);
    }
    progress.end();
    counts.tell(progress.elapsed());
    Ok(counts)
}

/// What tests are told by their environment.
fn environment(selection: &Selection, given_up: &GivenUp) -> BTreeMap<&'static str, String> {
    let mut environment = BTreeMap::from([(TELL, "1".to_owned())]);
    if !selection.host_only {
        environment.insert(REQUIRE_PRIVILEGED, "1".to_owned());
    }
    if selection.all && given_up.is_empty() {
        environment.insert(REQUIRE_PROGRAMS, "1".to_owned());
    }
    if !selection.all && selection.filters.is_empty() {
        environment.insert(SHORT, "1".to_owned());
    }
    let unavailable: Vec<_> =
        given_up.iter().map(|(name, why)| format!("{name}: {}", why.replace('\n', " "))).collect();
    environment.insert(UNAVAILABLE, unavailable.join("\n"));
    environment
}

/// A test program, as the user or as root. Without root, tests are built as the user and only run as root: no file of root's is
/// in the target directory.
fn command(suite: &Suite, as_root: bool) -> Command {
    if as_root && !effective_user_is_root() {
        let mut command = Command::new("sudo");
        command.arg("--preserve-env").arg("env").arg(path_variable()).arg(&suite.executable);
        return command;
    }
    Command::new(&suite.executable)
}

/// Where the dashboard's test leaves its pictures.
const SCREENSHOTS: &str = "DTR_LB_SCREENSHOTS";

/// `cargo xtask screenshots`: the dashboard's test makes them of a lab with traffic.
pub(crate) fn screenshots() -> Result<()> {
    setup::ensure(Scope::Screenshots)?;
    if !effective_user_is_root() {
        bail!("the lab needs root: run `cargo xtask screenshots` as root");
    }
    // Together, as the test is built with them: the agent's library has another feature where it is built alone.
    shown(cargo().args(["build", "--quiet", "-p", "dtr-lb-agent", "-p", "dtr-lb-tests", "--bins"]))?;
    let mut command = cargo();
    command.env(REQUIRE_PRIVILEGED, "1").env(SCREENSHOTS, workspace_root().join("docs/images"));
    shown(command.args(["test", "-p", "dtr-lb-tests", "--test", "dashboard", "--", "screenshots"]))
}
