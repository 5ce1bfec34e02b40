//! `cargo xtask bench`: measurements, apart from the tests. They are built in the release profile.

use anyhow::Result;

use crate::{
    command::{cargo, shown, target_dir},
    run::as_root,
    setup::{self, Scope},
};

/// What to measure.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Bench {
    /// What each path of the datapath costs a packet, by BPF_PROG_TEST_RUN, net of an empty program
    Packet,
}

/// Builds the benchmark and runs it.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    setup::ensure(Scope::Build)?;
    shown(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "dtr-lb-tests",
        "--bin",
        "dtr-lb-bench",
    ]))?;
    let name = match bench {
        Bench::Packet => "packet",
    };
    shown(
        as_root(target_dir().join("release").join("dtr-lb-bench"))?.arg(name).arg(target_dir().join("bench")),
    )
}
