//! The config file: TOML in, one checked [`Config`] out.
//!
//! Each table is a file that declares its keys once (`key`): help, type, what it takes (`takes`), default, and whether a reload may
//! change it. The reader, the words of errors, the differences at a reload and the documentation (`reference`) come from that.
//!
//! The way of a config: text → TOML (`--set` applied) → the declared keys of each table, each by itself → what goes
//! together → [`Config`]. Every step reports into `problems`, so that one run names everything that is wrong, each with its place, its
//! key and what is allowed.
//!
//! Invariants: a `Config` exists only if every check passed; nothing on the host is changed here, and apart from
//! [`HostFacts::read`], the config file and the named CA files nothing of it is read.
//!
//! Called by every command of the command line but those that must work with a broken config: they read [`Places`].

mod access;
mod address;
mod admin;
mod agent;
mod choice;
mod command_line;
mod datapath;
mod difference;
mod edit;
mod error;
mod flow_log;
mod host_facts;
mod host_name;
mod key;
mod keys;
mod limits;
mod listed;
mod mode;
mod name;
mod node;
mod overrides;
mod pattern;
mod places;
mod prefix;
mod preset;
mod probe;
mod problems;
mod reference;
mod replica;
mod service;
mod source;
mod status_set;
mod takes;
mod tunnel;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

pub use self::access::Access;
pub use self::admin::Admin;
pub use self::agent::{Agent, DEFAULT_BPFFS, DEFAULT_SOCKET};
pub use self::command_line::CommandLine;
pub use self::datapath::{AllDown, Attach, Datapath, Macs, OnDown, SynChallenge};
pub use self::difference::{Difference, differences, immutable};
pub use self::edit::{Edit, EditError, Saved, put_back};
pub use self::error::{ConfigError, Place, Problem};
pub use self::flow_log::FlowLogTarget;
pub use self::host_facts::HostFacts;
pub use self::key::Change;
pub use self::limits::{Denied, Limits};
pub use self::listed::{DEFAULT_WEIGHT, Host, HostError, Listed, MAX_WEIGHT};
pub use self::mode::Mode;
pub use self::pattern::Pattern;
pub use self::places::Places;
pub use self::prefix::{parse_prefix, prefix_or_none};
pub use self::preset::{Preset, PresetService};
pub use self::probe::{Header, HeaderPattern, Probe, Scheme, Step, Verify};
pub use self::reference::every_key;
pub use self::replica::Replica;
pub use self::service::{Affinity, Service};
pub use self::status_set::StatusSet;
pub use self::tunnel::TunnelSources;

use toml::de::DeTable;

use self::address::VIPS;
use self::datapath::INTERFACES;
use self::host_name::PROBE_HOST;
use self::key::{depends, is, table};
use self::node::Table;
use self::problems::Problems;
use self::source::Source;
use self::takes::{Maybe, word};

pub(crate) use self::listed::{checked_weight, usable};
pub(crate) use self::name::is_name;

/// Where the commands look for the config unless `--config` names another file.
pub const DEFAULT_PATH: &str = "/etc/dtr-lb/dtr-lb.toml";

/// A whole, checked config: every default is filled in and every reference resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The interfaces the datapath is attached to; no two alike. None only as long as [`Self::by_routes`] has not been carried
    /// out.
    pub interfaces: Vec<String>,
    /// The interfaces are not written: they are those by which routes go (`interface::by_routes`), as whoever starts with
    /// this config works out.
    pub by_routes: bool,
    /// The Host header and TLS server name of the probes that name no other; `None`: the replica's address.
    pub host: Option<String>,
    /// How packets are taken, forwarded and remembered.
    pub datapath: Datapath,
    /// At least one, in the order of the file; no two with one name or with one VIP and port.
    pub services: Vec<Service>,
    /// Where the agent itself is reached.
    pub agent: Agent,
}

table! {
    WrittenTop {
        /// What clients connect to: addresses of this host, or routed to it, of [either family](#both-families). None is a replica's.
        vip: Vec<IpAddr> = VIPS, depends("required, unless every service has its own", "\"10.0.0.10\"").needed();
        /// What is balanced. A [preset](#presets) says ports, and path, status and body of the probes, where they are not written.
        preset: Preset = word(), is(Preset::Dtr);
        /// Where packets arrive: from clients, and from replicas. At most 15 bytes a name. Packets in [VLANs](#vlans) are balanced
        /// as well.
        interfaces: Vec<String> = INTERFACES, depends("[by the routes](#interfaces)", "[\"eth0\", \"eth1\"]");
        /// Host header and TLS server name of the probes.
        host: Option<String> = Maybe::written(PROBE_HOST), depends("the replica's address, as written", "\"dtr.example.com\"");
    }
}

impl Config {
    /// Reads and checks the config in `path`, with the `--set` items of the command line on top.
    ///
    /// # Errors
    /// The file or a fact about this host cannot be read, or the config is not valid: see [`ConfigError`].
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let bytes =
            std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::NotText { path: path.to_path_buf(), line }
        })?;
        let host = HostFacts::read()?;
        Self::parse(&text, &path.to_string_lossy(), overrides, &host)
    }

    /// Checks a config that is already in memory. `name` stands for the file in error messages, `overrides` are
    /// `KEY=VALUE` items as given to `--set`, and `host` is what the config has to agree with.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], with every problem found, in the order of the file.
    pub fn parse(
        text: &str,
        name: &str,
        overrides: &[String],
        host: &HostFacts,
    ) -> Result<Self, ConfigError> {
        Self::parse_source(Source::new(name, text), text, overrides, host)
    }

    /// `source` knows where each part of `text` is from.
    fn parse_source<'a>(
        source: Source<'a>,
        text: &'a str,
        overrides: &'a [String],
        host: &HostFacts,
    ) -> Result<Self, ConfigError> {
        let mut problems = Problems::new(source);
        let config = document(text, overrides, &mut problems)
            .and_then(|document| Self::from_table(&Table::top(&document), host, &mut problems));
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigError::Invalid(problems.into_sorted())),
        }
    }

    /// With the interfaces that were worked out for `other`, if both leave that to the routes.
    #[must_use]
    pub fn at_interfaces_of(mut self, other: &Self) -> Self {
        if self.by_routes && other.by_routes {
            self.interfaces.clone_from(&other.interfaces);
        }
        self
    }

    /// The NAT addresses that are none of a host's `own`: answers of the replicas would not come back to it.
    pub fn foreign_nat_addresses(&self, own: &BTreeSet<IpAddr>) -> impl Iterator<Item = IpAddr> {
        self.datapath.nat_addresses.iter().filter(|address| !own.contains(address)).copied()
    }

    /// The VIPs that are none of a host's `own`, each once: nobody answers ARP for them there.
    #[must_use]
    pub fn foreign_vips(&self, own: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let vips = self.services.iter().flat_map(|service| &service.vips);
        vips.filter(|vip| !own.contains(vip)).copied().collect()
    }

    /// Reads every table, whatever the others hold, so that all problems come out at once.
    fn from_table(top: &Table<'_>, host_facts: &HostFacts, problems: &mut Problems<'_>) -> Option<Self> {
        keys::refuse_unknown(top, keys::FILE, problems);
        let mut written = WrittenTop::read(top, problems);
        written.host.or(|| Some(None));
        written.interfaces.or(|| Some(Vec::new()));
        let replicas = replica::declared(top, problems);
        let shared = service::Shared {
            preset: written.preset.value,
            vip: &written.vip,
            replicas: &replicas,
            host: written.host.value.as_ref(),
        };
        let services = service::read(top, &shared, problems);
        let datapath = datapath::read(&top.table("datapath", problems), host_facts, problems);
        let agent = agent::read(&top.table("agent", problems), services.as_deref(), problems);
        Some(Self {
            by_routes: written.interfaces.node.is_none(),
            interfaces: written.interfaces.value?,
            host: written.host.value?,
            datapath: datapath?,
            services: services?,
            agent: agent?,
        })
    }
}

/// The parsed text with the `--set` items in it; `None` if it is not TOML, which is reported.
fn document<'a>(text: &'a str, overrides: &'a [String], problems: &mut Problems<'a>) -> Option<DeTable<'a>> {
    match DeTable::parse(text) {
        Ok(document) => {
            let mut document = document.into_inner();
            overrides::apply(&mut document, overrides, problems);
            Some(document)
        }
        Err(error) => {
            // One only: after a slip in the syntax, whatever else is reported is mostly an echo of it.
            let at = error.span().map_or(0, |span| span.start);
            problems.plain(at, "", format!("not TOML: {}", error.message()));
            None
        }
    }
}

#[cfg(test)]
mod tests;
