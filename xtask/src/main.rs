//! `cargo xtask`: the developer's commands. Each one first makes sure that what it needs is there.

#![forbid(unsafe_code)]

mod apt;
mod bare;
mod bench;
mod ci;
mod command;
mod dashboard;
mod deny;
mod dist;
mod fuzz;
mod fuzz_input;
mod packages;
mod plan;
mod programs;
mod route;
mod run;
mod scope;
mod service_policy;
mod setup;
mod survey;
mod system;
mod test;
mod toolchain;
mod trial;
mod unpacked;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::scope::Scope;

/// Developer commands of dtr-lb.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what a command needs on this machine: by default `test`, and with that `run`
    Setup {
        /// Only say what is missing, for each command; the exit status is 1 if anything is
        #[arg(long)]
        check: bool,
        /// The command to prepare for, or to look at
        #[arg(long = "for", value_name = "COMMAND")]
        scope: Option<Scope>,
    },
    /// Build everything
    Build,
    /// Run the lab with three replicas and a live agent, or after `--` dtr-lb on this host; needs root
    Run(run::Options),
    /// Run the tests; the lab's need root
    Test(test::Selection),
    /// Measure; figures go to target/bench
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Fuzz the packet pipeline on the host: the corpus, then fresh sequences
    #[command(disable_help_flag = true)]
    Fuzz(fuzz::Options),
    /// Write what the declarations of the config's keys say into docs/configuration.md and examples/dtr-lb.toml
    Docs,
    /// Make the pictures of the dashboard in docs/images anew, from a lab with traffic; needs root
    Screenshots,
    /// Fuzz the agent's config and API: the corpus, then fresh inputs
    #[command(disable_help_flag = true)]
    FuzzInput(fuzz_input::Options),
    /// Judge our dependencies: licences, versions, sources, advisories (`deny.toml`)
    Deny,
    /// Make a Debian package, a tarball and an image for containers, in target/dist
    Dist(dist::Options),
    /// Run what CI runs
    Ci(ci::Options),
    /// Try the README's two commands in a bare Debian 12 of their own; needs root
    Bare(bare::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup { check: true, scope } => setup::check(scope),
        Command::Setup { check: false, scope } => setup::ensure(scope.unwrap_or(Scope::Test)).map(drop),
        Command::Build => build(),
        Command::Run(options) => run::run(&options),
        Command::Test(selection) => test::run(&selection),
        Command::Bench(bench) => bench::run(&bench),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Docs => docs(),
        Command::Screenshots => test::screenshots(),
        Command::FuzzInput(options) => fuzz_input::run(&options),
        Command::Deny => deny::run(),
        Command::Dist(options) => dist::run(&options),
        Command::Ci(options) => ci::run(options),
        Command::Bare(options) => bare::run(&options),
    }
}

fn build() -> Result<()> {
    setup::ensure(Scope::Build)?;
    command::shown(command::cargo().args(["build", "--workspace"]))
}

/// By the test that compares them otherwise.
fn docs() -> Result<()> {
    setup::ensure(Scope::Build)?;
    let mut cargo = command::cargo();
    cargo.args(["test", "--package", "dtr-lb-agent", "--lib", "--", "config::reference"]);
    command::shown(cargo.env("DTR_LB_WRITE_DOCS", "1"))
}
