//! `cargo xtask bench`: measurements, apart from the tests. They are built in the release profile.

use anyhow::Result;

use crate::{
    command::{cargo, shown, target_dir},
    run::as_root,
    scope::Scope,
    setup,
};

/// What to measure.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Bench {
    /// What each path of the datapath costs a packet, by BPF_PROG_TEST_RUN, net of an empty program
    Packet,
    /// What probing a thousand replicas each second costs the agent: processor, memory; in the lab, needs root
    Probes,
}

/// Builds the benchmark and runs it.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    // The lab has programs of its own.
    let (name, scope) = match bench {
        Bench::Packet => ("packet", Scope::Build),
        Bench::Probes => ("probes", Scope::Bench),
    };
    setup::ensure(scope)?;
    let build = ["build", "--quiet", "--release", "--package"];
    shown(cargo().args(build).args(["dtr-lb-tests", "--bin", "dtr-lb-bench"]))?;
    if matches!(bench, Bench::Probes) {
        shown(cargo().args(build).args(["dtr-lb-agent", "--bin", "dtr-lb"]))?;
    }
    shown(
        as_root(target_dir().join("release").join("dtr-lb-bench"))?.arg(name).arg(target_dir().join("bench")),
    )
}
