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
    compare::Original,
    demo::{self, Demo},
    lab::Topology,
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
    /// Play the same failures to a sample of DTR's documentation and to what `dtr-lb import` makes of it
    Compare(CompareOptions),
}

#[derive(Debug, clap::Args)]
struct CompareOptions {
    /// The sample
    #[arg(value_enum)]
    original: OriginalName,
    /// For how long each failure lasts
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "12s")]
    length: Duration,
    /// Where the datapath sits
    #[arg(long, value_enum, default_value_t = HookName::Xdp)]
    hook: HookName,
    /// How the balancer is connected
    #[arg(long, value_enum, default_value_t = TopologyName::OneArm)]
    topology: TopologyName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OriginalName {
    Nginx,
    Haproxy,
    /// HAProxy stands in for it
    Elb,
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
    let ended = match Arguments::parse().command {
        Command::Run(options) => demo::run(&options.into()),
        Command::Compare(options) => options.run(),
    };
    ended.unwrap_or_else(|error| {
        // The terminal may be what has gone away.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

impl CompareOptions {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let original = match self.original {
            OriginalName::Nginx => Original::Nginx,
            OriginalName::Haproxy => Original::Haproxy,
            OriginalName::Elb => Original::Elb,
        };
        let comparison = demo::compare(original, self.hook.into(), self.topology.into(), self.length)?;
        let _ = writeln!(
            io::stdout(),
            "what dtr-lb import made of it:\n\n{}\nand said of it:\n\n{}\n{}",
            comparison.config,
            comparison.report,
            comparison.table()
        );
        Ok(ExitCode::SUCCESS)
    }
}

impl From<HookName> for Hook {
    fn from(hook: HookName) -> Self {
        match hook {
            HookName::Xdp => Self::NativeXdp,
            HookName::XdpGeneric => Self::GenericXdp,
            HookName::Tc => Self::Tc,
        }
    }
}

impl From<TopologyName> for Topology {
    fn from(topology: TopologyName) -> Self {
        match topology {
            TopologyName::OneArm => Self::OneArm,
            TopologyName::TwoArm => Self::TwoArm,
        }
    }
}

impl From<Options> for Demo {
    fn from(options: Options) -> Self {
        let Options { length, hook, topology, replicas } = options;
        Self { hook: hook.into(), topology: topology.into(), replicas, length }
    }
}
