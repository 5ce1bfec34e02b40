//! `cargo xtask bench`: measurements, and what takes long, apart from the tests. They are built in the release profile.

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
    /// Two processors at once over one small flow table, and an oracle that knows what each packet must become: no figures but how
    /// much was tried; needs root
    Together {
        /// Options of dtr-lb-together, as in `--packets 100000000 --hook tc`; `--help` tells all
        #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// Builds the benchmark and runs it.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    // The lab has programs of its own.
    let (package, scope) = match bench {
        Bench::Packet { .. } => ("dtr-lb-bench", Scope::Build),
        Bench::Probes => ("dtr-lb-bench", Scope::Bench),
        Bench::Together { .. } => ("dtr-lb-together", Scope::Build),
    };
    setup::ensure(scope)?;
    let build = ["build", "--quiet", "--release", "--package"];
    shown(cargo().args(build).args([package]))?;
    if matches!(bench, Bench::Probes) {
        shown(cargo().args(build).args(["dtr-lb-agent", "--bin", "dtr-lb"]))?;
    }
    let mut program = as_root(target_dir().join("release").join(package))?;
    let figures = target_dir().join("bench");
    match bench {
        Bench::Packet { quick, rounds, only } => {
            program.arg("packet").arg(figures).args(quick.then_some("--quick"));
            program.args(rounds.iter().flat_map(|rounds| ["--rounds".into(), rounds.to_string()]));
            program.args(only.iter().flat_map(|word| ["--only", word]));
        }
        Bench::Probes => {
            program.arg("probes").arg(figures);
        }
        Bench::Together { options } => {
            program.args(options);
        }
    }
    shown(&mut program)
}
