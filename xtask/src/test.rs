//! `cargo xtask test`: the tests of the host's crates, then the lab's, which need root.

use anyhow::{Result, bail};

use crate::{
    command::{cargo, find_program, shown, workspace_root},
    setup::{self, Scope},
    system,
};

/// Makes a test that needs a privilege fail without it, where it would otherwise report itself as skipped.
const REQUIRE_PRIVILEGED: &str = "DTR_LB_REQUIRE_PRIVILEGED";

/// Which tests to run.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Selection {
    /// Leave out the tests that need root.
    #[arg(long)]
    pub(crate) host_only: bool,
    /// Try the Debian package in an emulated machine instead, with its own kernel and systemd; needs root.
    #[arg(long, conflicts_with_all = ["host_only", "filters"])]
    pub(crate) system: bool,
    /// Run only the tests whose names contain one of these.
    #[arg(value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
}

/// Runs the selected tests.
pub(crate) fn run(selection: &Selection) -> Result<()> {
    if selection.system {
        return system::run();
    }
    if selection.host_only {
        setup::ensure(Scope::Build)?;
        return host(&selection.filters);
    }
    setup::ensure(Scope::All)?;
    host(&selection.filters)?;
    lab(&selection.filters)
}

fn host(filters: &[String]) -> Result<()> {
    let mut command = cargo();
    // dtr-lb-ebpf is an empty program on the host; dtr-lb-tests is the lab.
    command.args(["test", "--workspace", "--exclude", "dtr-lb-ebpf", "--exclude", "dtr-lb-tests"]);
    shown(command.arg("--").args(filters))
}

fn lab(filters: &[String]) -> Result<()> {
    let runner = runner()?;
    // The scenarios run the real binary, which cargo does not build for another package's tests.
    shown(cargo().args(["build", "--quiet", "-p", "dtr-lb-agent", "--bins"]))?;
    // The scenarios' harness takes a single filter.
    let runs = if filters.is_empty() { vec![None] } else { filters.iter().map(Some).collect() };
    for filter in runs {
        let mut command = cargo();
        command.env(REQUIRE_PRIVILEGED, "1");
        command.args(["test", "-p", "dtr-lb-tests"]).args(&runner).arg("--").args(filter);
        shown(&mut command)?;
    }
    Ok(())
}

/// Where the dashboard's test leaves its pictures.
const SCREENSHOTS: &str = "DTR_LB_SCREENSHOTS";

/// `cargo xtask screenshots`: the dashboard's test makes them of a lab with traffic.
pub(crate) fn screenshots() -> Result<()> {
    setup::ensure(Scope::All)?;
    let runner = runner()?;
    shown(cargo().args(["build", "--quiet", "-p", "dtr-lb-agent", "--bins"]))?;
    let mut command = cargo();
    command.env(REQUIRE_PRIVILEGED, "1").env(SCREENSHOTS, workspace_root().join("docs/images"));
    shown(
        command
            .args(["test", "-p", "dtr-lb-tests", "--test", "dashboard"])
            .args(&runner)
            .args(["--", "screenshots"]),
    )
}

/// Without root, the tests are built as the user and only run as root: no file of root's in the target
/// directory.
fn runner() -> Result<Vec<&'static str>> {
    if setup::effective_user_is_root() {
        return Ok(Vec::new());
    }
    if find_program("sudo").is_none() {
        bail!(
            "the lab's tests need root, and there is no sudo. Run `cargo xtask test` as root, or \
             `cargo xtask test --host-only`"
        );
    }
    Ok(vec!["--config", r#"target.'cfg(unix)'.runner = ["sudo", "--preserve-env"]"#])
}
