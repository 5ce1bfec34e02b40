//! `dtr-lb-lab`: the lab for people. `cargo xtask run` builds it and becomes it.

#![forbid(unsafe_code)]

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    lab::Topology,
    show::{self, Show},
};

/// The dtr-lb lab: replicas, a client and a live dtr-lb in network namespaces. Needs root.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the lab and show it until Ctrl-C, which removes it
    Run(Options),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Run unattended for so long, 10s to 10m: make traffic, fail replicas, and print what happened
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    /// Where the datapath sits
    #[arg(long, value_enum, default_value_t = HookName::Xdp)]
    hook: HookName,
    /// How the balancer is connected
    #[arg(long, value_enum, default_value_t = TopologyName::OneArm)]
    topology: TopologyName,
    /// How many replicas there are
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    replicas: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HookName {
    Xdp,
    XdpGeneric,
    Tc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TopologyName {
    OneArm,
    TwoArm,
}

fn main() -> ExitCode {
    let Command::Run(options) = Arguments::parse().command;
    show::run(&options.into()).unwrap_or_else(|error| {
        // The terminal may be what has gone away.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

impl From<Options> for Show {
    fn from(options: Options) -> Self {
        let Options { length, hook, topology, replicas } = options;
        let hook = match hook {
            HookName::Xdp => Hook::NativeXdp,
            HookName::XdpGeneric => Hook::GenericXdp,
            HookName::Tc => Hook::Tc,
        };
        let topology = match topology {
            TopologyName::OneArm => Topology::OneArm,
            TopologyName::TwoArm => Topology::TwoArm,
        };
        Self { hook, topology, replicas, length }
    }
}
