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
    /// What a packet costs by BPF_PROG_TEST_RUN, net of an empty program, beside a prototype; needs root
    Packet {
        /// Few rounds: less than a minute
        #[arg(long)]
        quick: bool,
        /// So many rounds
        #[arg(long)]
        rounds: Option<usize>,
        /// Only cases whose name has all of these words in it, as `--only established --only ipv6`
        #[arg(long, value_name = "WORD")]
        only: Vec<String>,
    },
    /// What probing a thousand replicas each second costs the agent: processor, memory; in the lab, needs root
    Probes,
}

/// Builds the benchmark and runs it.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    // The lab has programs of its own.
    let (name, scope) = match bench {
        Bench::Packet { .. } => ("packet", Scope::Build),
        Bench::Probes => ("probes", Scope::Bench),
    };
    setup::ensure(scope)?;
    let build = ["build", "--quiet", "--release", "--package"];
    shown(cargo().args(build).args(["dtr-lb-bench"]))?;
    if matches!(bench, Bench::Probes) {
        shown(cargo().args(build).args(["dtr-lb-agent", "--bin", "dtr-lb"]))?;
    }
    let mut program = as_root(target_dir().join("release").join("dtr-lb-bench"))?;
    program.arg(name).arg(target_dir().join("bench"));
    if let Bench::Packet { quick, rounds, only } = bench {
        program.args(quick.then_some("--quick"));
        program.args(rounds.iter().flat_map(|rounds| ["--rounds".into(), rounds.to_string()]));
        program.args(only.iter().flat_map(|word| ["--only", word]));
    }
    shown(&mut program)
}
