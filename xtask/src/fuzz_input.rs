//! `cargo xtask fuzz-input`: what people and programs give the agent, its config and requests to its API, fuzzed.

use anyhow::Result;

use crate::{
    command::{cargo, shown, target_dir},
    scope::Scope,
    setup,
};

/// What to play.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Options of dtr-lb-fuzz-input, as in `--target config --inputs 1000000 --seed 7 --for 60s`; `--help` tells all
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds the fuzzer and runs it. It is built for speed, with all assertions on; `cargo test` plays the corpus and some fresh
/// inputs in a build like the other tests'.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Scope::Build)?;
    shown(cargo().args(["build", "--quiet", "--profile", "fuzz", "--package", "dtr-lb-fuzz-input"]))?;
    let program = target_dir().join("fuzz").join("dtr-lb-fuzz-input");
    shown(std::process::Command::new(program).args(&options.options))
}
