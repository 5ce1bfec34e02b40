//! `dtr-lb`, the one binary: types to functions, results to exit statuses.

use std::process::ExitCode;

use clap::Parser as _;
use dtr_lb_agent::{
    cli::{Cli, Command},
    command::{self, Failure},
};

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    // The last line of a variable may be an empty one.
    cli.global.overrides.retain(|item| !item.is_empty());
    let result = match &cli.command {
        Command::Run { options, json, log_packets } => {
            command::run(&cli.global, options, *json, *log_packets)
        }
        Command::Check(arguments) => command::check(&cli.global, arguments),
        Command::Init { options, all } => command::init(options, *all),
        Command::Status { json, healthy: false, services, color } => {
            command::status(&cli.global, services, *json, *color)
        }
        Command::Status { json, healthy: true, services, color: _ } => {
            command::healthy(&cli.global, services, *json)
        }
        Command::Top => command::top(&cli.global),
        Command::Replica { command } => command::replica(&cli.global, command),
        Command::Flows(flows) => command::flows(&cli.global, flows),
        Command::Events(arguments) => command::events(&cli.global, arguments),
        Command::Explain { source, destination, json } => {
            command::explain(&cli.global, source, destination, *json)
        }
        Command::Trace(trace) => command::trace(&cli.global, trace),
        Command::Reload => command::reload(&cli.global),
        Command::Undo { output } => command::undo(&cli.global, *output),
        Command::Detach => command::detach(&cli.global),
        Command::Import(import) => command::import(import),
        Command::Completions { shell } => command::completions(*shell),
        Command::Man { directory } => command::man(directory.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // What failed is told already.
        Err(Failure { status, message }) if message.is_empty() => ExitCode::from(status),
        Err(Failure { status, message }) => {
            #[expect(clippy::print_stderr, reason = "where a command's errors belong")]
            for line in format!("dtr-lb: {message}").lines() {
                eprintln!("{}{line}", command::priority_of_an_error());
            }
            ExitCode::from(status)
        }
    }
}
