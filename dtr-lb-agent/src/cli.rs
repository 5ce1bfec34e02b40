//! The command line: what may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config;

/// With what the eBPF object was built, as two builds of one version may differ by it.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\neBPF object built by ", env!("DTR_LB_BPF_TOOLCHAIN_USED"));

/// A load balancer for Docker Trusted Registry, in the Linux kernel.
#[derive(Debug, Parser)]
#[command(name = "dtr-lb", version, long_version = LONG_VERSION, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// The config file
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// The agent's socket, if it is not the one in the config
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Sets one key of the config, e.g. `datapath.attach=tc` or `replica.0.weight=50`; may be given several times
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: load or adopt the datapath, probe the replicas, steer
    ///
    /// SIGTERM ends the agent; the datapath stays and goes on forwarding by its last table. `dtr-lb detach` removes it.
    Run {
        /// Log as JSON, a line an event
        #[arg(long)]
        json: bool,
        /// Log the verdict of each packet: for development, as it costs more than all the rest
        ///
        /// The datapath that logs stays attached after the agent has ended, at the same cost: start the agent without
        /// this to replace it.
        #[arg(long, hide_short_help = true)]
        log_packets: bool,
    },
    /// Check the config and this host, and say what would be attached; nothing is changed
    ///
    /// Prints what it finds. To standard error: a line `error: …` for what would keep the agent from starting, and the
    /// exit status is 1; a line `warning: …` for what would keep packets from arriving.
    Check,
    /// Show services, replicas, their health and why
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Only say whether this balancer is able to serve, for keepalived and the like: exit status 0 or 1, 3 without an agent
        ///
        /// It is, if the datapath is on every interface, its tables are up to date, and one service at least has a replica
        /// that is up; or, where services are named, each of them has.
        #[arg(long)]
        healthy: bool,
        /// Only these services
        #[arg(value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Show the status live: services, replicas, connections and rates, verdicts
    ///
    /// Keys: q quits, ? helps, s sorts. Needs a terminal; for scripts there is `status`.
    Top,
    /// End the agent if one runs, and remove the datapath from this host: programs, links, maps, pins; its flows end
    Detach,
    /// Print what a shell needs to complete this command line
    ///
    /// For bash: `dtr-lb completions bash > /etc/bash_completion.d/dtr-lb`.
    Completions { shell: Shell },
    /// Print the manual page, or write a page for each command into a directory
    Man {
        /// Where to write them; it is made if it is not there
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}
