//! The config file: TOML in, one checked [`Config`] out.
//!
//! The way of a config: text → TOML (`--set` applied) → `raw` (the shape: keys and types) → the readers
//! (one file a table: what the values mean) → [`Config`]. Every step reports into `problems`, so that one
//! run names everything that is wrong, each with its place, its key and what is allowed.
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
mod field;
mod host_facts;
mod host_name;
mod keys;
mod limits;
mod listed;
mod mode;
mod overrides;
mod pattern;
mod places;
mod prefix;
mod preset;
mod probe;
mod problems;
mod raw;
mod replica;
mod service;
mod shape;
mod source;
mod status_set;
mod tunnel;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

pub use self::access::Access;
pub use self::admin::Admin;
pub use self::agent::{Agent, DEFAULT_BPFFS, DEFAULT_SOCKET};
pub use self::command_line::CommandLine;
pub use self::datapath::{AllDown, Attach, Datapath, Macs, OnDown, SynChallenge};
pub use self::difference::differences;
pub use self::edit::{Edit, EditError};
pub use self::error::{ConfigError, Place, Problem};
pub use self::host_facts::HostFacts;
pub use self::limits::{Denied, Limits};
pub use self::listed::{DEFAULT_WEIGHT, Host, HostError, Listed, MAX_WEIGHT};
pub use self::mode::Mode;
pub use self::pattern::Pattern;
pub use self::places::Places;
pub use self::prefix::{parse_prefix, prefix_or_none};
pub use self::preset::{Preset, PresetService};
pub use self::probe::{Header, HeaderPattern, Probe, Scheme, Step, Verify};
pub use self::replica::Replica;
pub use self::service::{Affinity, Service};
pub use self::status_set::StatusSet;
pub use self::tunnel::TunnelSources;

use self::field::Table;
use self::problems::Problems;
use self::raw::RawConfig;
use self::source::Source;

pub(crate) use self::field::is_name;
pub(crate) use self::listed::{checked_weight, usable};

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
        let config = shape::read(text, overrides, &mut problems)
            .and_then(|raw| Self::from_raw(&raw, host, &mut problems));
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
    fn from_raw(raw: &RawConfig, host_facts: &HostFacts, problems: &mut Problems<'_>) -> Option<Self> {
        let top = Table::top();
        let interfaces = datapath::interfaces(raw, problems);
        let host = top
            .field("host", &raw.host)
            .map_or(Some(None), |field| host_name::probe_host(&field, problems).map(Some));
        let vips = address::vips(&top, &raw.vip, problems);
        let replicas = replica::declared(raw, problems);
        let preset = top
            .field("preset", &raw.preset)
            .map_or(Some(Preset::Dtr), |field| field::choice(&field, problems));
        // Of one that is not known, nothing is; what would be missing without it is no news.
        let services =
            preset.and_then(|preset| service::read(raw, preset, &vips, &replicas, host.as_ref(), problems));
        let datapath = datapath::read(raw, host_facts, problems);
        let agent = agent::read(raw, problems);
        if let (Some(agent), Some(services)) = (&agent, &services) {
            agent::is_no_service(raw, agent, services, problems);
        }
        Some(Self {
            by_routes: raw.interfaces.is_none(),
            interfaces: interfaces?,
            host: host?,
            datapath: datapath?,
            services: services?,
            agent: agent?,
        })
    }
}

#[cfg(test)]
mod tests;
