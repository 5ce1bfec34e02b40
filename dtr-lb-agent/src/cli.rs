//! The command line: what may be typed.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{FalseyValueParser, PossibleValuesParser},
};
use clap_complete::Shell;
use dtr_lb_common::abi::SNAP_MAX;
use ipnet::IpNet;

use crate::{
    command::{ImportFrom, Since, parse_format, parse_since},
    config::{self, CommandLine, parse_prefix},
    events, flows, trace,
};

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
    /// The config file; /etc/dtr-lb/dtr-lb.toml if not given
    #[arg(long, global = true, value_name = "FILE", env = "DTR_LB_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The agent's socket, if it is not the one in the config
    #[arg(long, global = true, value_name = "PATH", env = "DTR_LB_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,
    /// Sets one key of the config, e.g. `datapath.attach=tc` or `replica.0.weight=50`; may be given several times (in the
    /// variable: one a line)
    #[arg(
        long = "set",
        global = true,
        value_name = "KEY=VALUE",
        value_delimiter = '\n',
        env = "DTR_LB_SET",
        hide_env_values = true
    )]
    pub overrides: Vec<String>,
}

impl Global {
    /// The config file, where the config is one.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH))
    }
}

/// What `check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub options: CommandLine,
    /// All that was found as JSON, to standard output
    #[arg(long)]
    pub json: bool,
    /// Also ask each replica once, as its probe would (those that answer clients directly by TCP only, at their own address)
    #[arg(long)]
    pub probe: bool,
    /// Also ask the agent that runs what a reload would change, and whether it would be refused
    #[arg(long)]
    pub diff: bool,
}

/// What `flows` takes.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Only of clients in this network, e.g. 10.1.0.0/16
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    pub client: Option<IpNet>,
    /// Only to this replica
    #[arg(long, value_name = "NAME|ADDRESS")]
    pub replica: Option<String>,
    /// Only to this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only in this state
    #[arg(long, value_parser = PossibleValuesParser::new(flows::states()))]
    pub state: Option<String>,
    /// Show so many at most; the others are counted
    #[arg(long, value_name = "N", default_value_t = flows::LIMIT)]
    pub limit: usize,
    /// Only those that have most of it, the first one most: 10, or N
    #[arg(long, num_args = 1..=2, value_names = ["bytes|packets|age", "N"], conflicts_with = "limit")]
    pub top: Vec<String>,
    /// Also handshakes that are not over
    #[arg(long)]
    pub half_open: bool,
    /// Show each connection when it ends or fails, until Ctrl-C
    #[arg(long, conflicts_with_all = ["state", "limit", "top", "half_open"])]
    pub follow: bool,
    /// As JSON; with --follow a line a connection
    #[arg(long)]
    pub json: bool,
}

/// What `events` takes.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only those since then: `1h` ago, a time (2026-01-31T03:00:00Z), or after the event of this number
    #[arg(long, value_name = "TIME|ID", value_parser = parse_since)]
    pub since: Option<Since>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = events::FEW)]
    pub limit: usize,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only of this replica
    #[arg(long, value_name = "NAME|ADDRESS")]
    pub replica: Option<String>,
    /// Go on with those that follow, a line each
    #[arg(long, short)]
    pub follow: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `trace` takes.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Only of clients in this network, e.g. 10.1.0.0/16
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    pub client: Option<IpNet>,
    /// Only of connections to this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only of connections to this port
    #[arg(long)]
    pub port: Option<u16>,
    /// Only with this verdict; `passed`, `answered` and `dropped` are all of theirs; may be given several times
    #[arg(long, value_name = "VERDICT", value_parser = PossibleValuesParser::new(trace::verdicts()), hide_possible_values = true)]
    pub verdict: Vec<String>,
    /// End after so many packets
    #[arg(long, value_name = "N", default_value_t = trace::COUNT, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// End after this time, e.g. 30s or 5m; an hour at most
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = trace::parse_limit)]
    pub limit: Duration,
    /// As JSON, a line a packet
    #[arg(long, conflicts_with = "pcap")]
    pub json: bool,
    /// Write the packets to a pcapng file, as they came and as they left, with the verdict as a comment; `-` is standard
    /// output
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Of each frame, write so many bytes to the file
    #[arg(long, value_name = "BYTES", default_value_t = trace::SNAP, requires = "pcap",
          value_parser = clap::value_parser!(u32).range(1..=SNAP_MAX as i64))]
    pub snap: u32,
}

/// What `import` takes.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Configurations of other load balancers, which together do one job; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What the files are: nginx, haproxy, keepalived, elb; told by their content if this is not given
    #[arg(long, value_name = "FORMAT", value_delimiter = ',', value_parser = parse_format)]
    pub from: Vec<ImportFrom>,
    /// Where clients connect, for services that listen at every address of their host; may be given several times
    #[arg(long = "vip", value_name = "ADDRESS")]
    pub vips: Vec<IpAddr>,
    /// The address of what the files only name (`i-0abc=10.0.0.11`), or of the next of those that have none; may be given
    /// several times
    #[arg(long = "replica", value_name = "[NAME=]ADDRESS", value_parser = parse_named_address)]
    pub replicas: Vec<(String, IpAddr)>,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
    /// Print no config if something was left out that decides who is served or who is let in
    #[arg(long)]
    pub strict: bool,
}

/// `NAME=ADDRESS`, or an address without a name.
fn parse_named_address(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.rsplit_once('=').unwrap_or(("", text));
    let address = address.parse().map_err(|_| format!("`{address}` is no IP address"))?;
    Ok((name.to_owned(), address))
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: load or adopt the datapath, probe the replicas, steer
    ///
    /// SIGTERM ends the agent; the datapath stays and goes on forwarding by its last table. `dtr-lb detach` removes it.
    ///
    /// With --vip and --replica no config file is read: `dtr-lb run --vip 10.0.0.10 --replica 10.0.0.11 --replica 10.0.0.12`.
    Run {
        #[command(flatten)]
        options: CommandLine,
        /// Log as JSON, a line an event
        #[arg(long, env = "DTR_LB_JSON", hide_env_values = true, value_parser = FalseyValueParser::new())]
        json: bool,
        /// Log the verdict of each packet: for development, as it costs more than all the rest
        ///
        /// The datapath that logs stays attached after the agent has ended, at the same cost: start the agent without
        /// this to replace it.
        #[arg(long, hide_short_help = true, env = "DTR_LB_LOG_PACKETS", hide_env_values = true, value_parser = FalseyValueParser::new())]
        log_packets: bool,
    },
    /// Check the config and this host, and say what would be attached; nothing is changed
    ///
    /// Prints what it finds. To standard error: a line `error: …` for what would keep the agent from starting, and the
    /// exit status is 1; a line `warning: …` for what would keep packets from arriving.
    Check(CheckArgs),
    /// Print a config to begin with
    ///
    /// Without --vip and --replica, with addresses that are examples. What it prints says the same as `run` with these options:
    /// `dtr-lb init --vip 10.0.0.10 --replica 10.0.0.11 > /etc/dtr-lb/dtr-lb.toml`.
    Init {
        #[command(flatten)]
        options: CommandLine,
        /// Every key there is, with its help and its default
        #[arg(long, conflicts_with_all = ["vips", "replicas", "preset", "ports", "mode", "interfaces", "host"])]
        all: bool,
    },
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
        /// Colours: on a terminal and without NO_COLOR, always, or never
        #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
        color: Color,
    },
    /// Show the status live: services, replicas, connections and rates, verdicts
    ///
    /// Keys: q quits, ? helps, s sorts; d, r and m drain the selected replica, make it ready, put it into maintenance, u takes the
    /// last order back, each after a confirmation. Needs a terminal; for scripts there is `status`.
    Top,
    /// List the connections that the datapath knows
    Flows(FlowsArgs),
    /// Show what changed, when, why and by whom
    ///
    /// Changes of replicas, operators' orders, reloads with what they changed, and the agent's own starts and ends. They outlive
    /// the agent: where none runs, they are read from its file, which a note says, and the exit status is 3.
    Events(EventsArgs),
    /// Say which replica a connection would get, and why
    ///
    /// The answer is what the datapath would do now, by its own tables: nothing is sent, and nothing changes. Without a
    /// source port, says for how many of all source ports each replica gets the connection.
    Explain {
        /// Who would connect: `10.0.0.5`, `10.0.0.5:40000`, `[2001:db8::5]:40000`
        #[arg(value_name = "SRC[:PORT]")]
        source: String,
        /// To which service: `10.0.0.10:443`, `[2001:db8::10]:443`
        #[arg(value_name = "DST:PORT")]
        destination: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what happens to each packet, and why, by what the datapath sees
    ///
    /// It sees packets that tcpdump does not: those that XDP takes before the host does. While it lasts, each packet costs
    /// some more time, and none before and after. Without --verdict, packets that pass and concern no service (ssh, ARP, ...) are
    /// left out.
    Trace(TraceArgs),
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
    /// Take back the last order about replicas: drain, ready, maint, weight, add, remove
    ///
    /// Says what it took back, and what each replica is now. Once more takes back the order before, up to 16. What was saved to
    /// the config file is taken back there, too. Refuses where something else has changed since what the order changed.
    Undo {
        #[command(flatten)]
        output: Output,
    },
    /// End the agent if one runs, and remove the datapath from this host: programs, links, maps, pins; its flows end
    Detach,
    /// Make a config of those of nginx, HAProxy, keepalived or AWS's ELB and NLB
    ///
    /// Prints dtr-lb's config for the same job to standard output, and to standard error what became of each statement: taken,
    /// differs, left out, faults of the original. The exit status is 1 if something was left out that decides who is served or
    /// who is let in (rows marked `!`), 2 if the files cannot be read. Nothing is changed, and no agent is asked.
    Import(ImportArgs),
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
    /// No new connections to these replicas; those that they have go on, and they are probed
    ///
    /// All of them, or none if one is not there.
    Drain {
        #[command(flatten)]
        of: OfAll,
        #[command(flatten)]
        wait: Wait,
        #[command(flatten)]
        output: Output,
    },
    /// The end of drain and maint
    Ready {
        #[command(flatten)]
        of: OfAll,
        #[command(flatten)]
        output: Output,
    },
    /// No new connections to these replicas and no probes; those that they have are reset, unless datapath.on_down is "leave"
    Maint {
        #[command(flatten)]
        of: OfAll,
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

/// Which replicas.
#[derive(Debug, Args)]
pub struct OfAll {
    /// Their names or addresses
    #[arg(value_name = "REPLICA", required = true)]
    pub replicas: Vec<String>,
    /// As replicas of this service, not of all that have them
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// Whether `drain` waits.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Wait until no connection is left, and show meanwhile what is left; Ctrl-C ends the waiting, not the drain
    #[arg(long)]
    pub wait: bool,
    /// Wait no longer than this, e.g. 90s or 10m; the exit status is 1 if connections are left then
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}

/// Where a change goes.
#[derive(Clone, Copy, Debug, Args)]
pub struct Save {
    /// Write it to the agent's config file, too
    #[arg(long)]
    pub save: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
