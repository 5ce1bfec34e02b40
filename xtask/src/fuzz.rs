//! `cargo xtask fuzz`: the packet pipeline fuzzed on the host. Built for speed, with all assertions on.

use anyhow::Result;

use crate::{
    command::{cargo, shown, target_dir},
    scope::Scope,
    setup,
};

/// Sequences that CI plays besides the corpus: some seconds.
const SEQUENCES_IN_CI: &str = "200000";

/// What to play.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Options of dtr-lb-fuzz, as in `--sequences 1000000 --seed 7 --for 60s` or `--replay FILE`; `--help` tells all
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds the fuzzer and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Scope::Build)?;
    fuzz(&options.options)
}

/// Replays the corpus, and plays fresh sequences from a fixed seed.
pub(crate) fn ci() -> Result<()> {
    fuzz(&["--sequences", SEQUENCES_IN_CI, "--seed", "1"].map(String::from))
}

fn fuzz(options: &[String]) -> Result<()> {
    shown(cargo().args(["build", "--quiet", "--profile", "fuzz", "--package", "dtr-lb-fuzz"]))?;
    let program = target_dir().join("fuzz").join("dtr-lb-fuzz");
    shown(std::process::Command::new(program).args(options))
}
