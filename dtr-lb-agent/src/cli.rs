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
    /// Make the agent read its config file again
    ///
    /// Prints what has changed. Connections stay. A config that is not valid changes nothing: its errors are printed, and
    /// the exit status is 2. The agent reads the file that it was started with; `--config` only says where its socket is.
    /// SIGHUP does the same, and the agent's log says how it went.
    Reload,
    /// List the replicas, and change what becomes of them while the agent runs
    ///
    /// A replica is named by its name or its address. Changes outlive the agent, not the datapath: `dtr-lb detach` and a reboot
    /// end them. `--save` writes them to the config file, too.
    Replica {
        #[command(subcommand)]
        command: ReplicaCommand,
    },
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

/// What can be done with replicas.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// List the replicas of each service, with their state and what was ordered for them
    List {
        /// Of this service only
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a replica; it gets connections once a probe finds it up
    Add {
        /// Its IP address, or a host name that stands for as many as DNS says
        address: String,
        /// Its name, if that is not to be its address
        #[arg(long)]
        name: Option<String>,
        /// Its share of new connections, in proportion to the others'; 100 if not given
        #[arg(long, value_parser = clap::value_parser!(u16).range(0..=256))]
        weight: Option<u16>,
        /// Add it to this service, not to all; may be given several times
        #[arg(long = "service", value_name = "NAME")]
        services: Vec<String>,
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a replica: no new connections and no probes; those that it has go on
    Remove {
        #[command(flatten)]
        of: Of,
        /// Also if it is the last one of a service, whose new connections are dropped then
        #[arg(long)]
        last: bool,
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        output: Output,
    },
    /// No new connections to a replica; those that it has go on, and it is probed
    Drain {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        output: Output,
    },
    /// The end of drain and maint
    Ready {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        output: Output,
    },
    /// No new connections to a replica and no probes; those that it has are reset, unless datapath.on_down is "leave"
    Maint {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        output: Output,
    },
    /// Set a replica's share of new connections; 0 is none
    Weight {
        #[command(flatten)]
        of: Of,
        /// 0 to 256, in proportion to the others'
        #[arg(value_parser = clap::value_parser!(u16).range(0..=256))]
        weight: u16,
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        output: Output,
    },
}

/// Which replica.
#[derive(Debug, Args)]
pub struct Of {
    /// Its name or address
    pub replica: String,
    /// As a replica of this service, not of all that have it
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// Where a change goes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Save {
    /// Write it to the agent's config file, too
    #[arg(long)]
    pub save: bool,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
