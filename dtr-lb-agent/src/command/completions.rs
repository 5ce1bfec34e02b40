//! `dtr-lb completions`: what a shell needs to complete this command line, made from the same definitions that parse it.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Failure, print};
use crate::cli::Cli;

/// `dtr-lb completions`
pub fn completions(shell: Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics where its output cannot be written, as into a closed pipe.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "dtr-lb", &mut script);
    let script = String::from_utf8_lossy(&script);
    // In the script for bash, clap_complete 4.6 gives a command whose name has a hyphen two names in two places, and completes
    // nothing below it.
    print(&script.replace("dtr__subcmd__lb", "dtr__lb"))
}
