//! What keeps an agent from starting, and what will not work as it should: found out before anything is touched.
//!
//! `Facts` are gathered once: what of this host a config speaks of. `judge` is pure, and makes findings of a config and
//! facts, so that hosts that nobody here has can be tried in tests. `run` refuses to start by the errors and logs the
//! warnings; `check` prints all of them: both have the same words because both have them from here. Where the error is one
//! that could come later, too (the socket's, the datapath's), its words are those of the later error.
//!
//! A file a subject: `process` (kernel, capabilities, memory, BPF file system), `interfaces` and `device` (their drivers),
//! `addresses`, `endpoints` (socket, HTTP, token), `flow_log`, `direct`, `dnat` and `ipv6`, `timeouts`. What takes waiting for others (next hops,
//! replicas, who else has a VIP) is not looked at here: `check` asks once, and the agent keeps asking.

mod addresses;
mod device;
mod direct;
mod dnat;
mod endpoints;
mod finding;
mod flow_log;
mod interfaces;
mod ipv6;
mod process;
mod timeouts;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use crate::{
    agent::AgentError,
    config::{Config, Mode, Scheme, Service, Verify},
    interface::{self, Links, Seen},
    next_hop::gateway,
    probe::{Prober, Route, Target, TlsConfigs},
};

pub(crate) use addresses::check_addresses;
pub(crate) use direct::{check_steering, probes_are_steered};
pub use finding::Refused;
pub(crate) use finding::{Finding, Findings};

/// Who asks, and so what may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An agent that starts: it opens its HTTP side itself, a moment later.
    Start,
    /// `check`: the HTTP side's address is bound and given up at once.
    Check,
}

/// What of this host a config speaks of. Where something could not be found out, why.
#[derive(Debug)]
pub(crate) struct Facts {
    process: process::Facts,
    interfaces: interfaces::Facts,
    /// Of this host.
    addresses: Result<BTreeSet<IpAddr>, String>,
    /// Those that this host has an address in.
    networks: Result<Vec<IpNet>, String>,
    /// The routers by which replicas are reached whose packets must not, or need not, go by one.
    routers: BTreeMap<IpAddr, IpAddr>,
    settings: Settings,
    /// /proc/net/if_inet6; empty on a host without IPv6.
    ipv6_addresses: String,
    /// Services whose probes cannot be made, each with the error.
    probes: Vec<(String, String)>,
    endpoints: endpoints::Facts,
    flow_log: flow_log::Facts,
}

/// The kernel's settings, by their path below /proc/sys, as far as they are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn read(paths: impl IntoIterator<Item = String>) -> Self {
        let one = |path: String| {
            let text = fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
            Some((path, text))
        };
        Self(paths.into_iter().filter_map(one).collect())
    }

    /// A number, of which all that is asked for here is one.
    fn number(&self, path: &str) -> Option<u8> {
        self.0.get(path)?.trim().parse().ok()
    }
}

impl Facts {
    /// Looks at this host. Nothing is changed, and nothing is waited for but the kernel. The config's interfaces are known.
    pub(crate) async fn gather(config: &Config, links: &Links, purpose: Purpose) -> Self {
        let paths = direct::settings(config).chain(ipv6::settings(config));
        Self {
            process: process::Facts::read(config),
            interfaces: interfaces::Facts::read(config, links).await,
            addresses: interface::host_addresses().map_err(|error| error.to_string()),
            networks: interface::networks().map_err(|error| error.to_string()),
            routers: routers(config, links).await,
            settings: Settings::read(paths),
            ipv6_addresses: fs::read_to_string("/proc/net/if_inet6").unwrap_or_default(),
            probes: unusable_probes(config),
            endpoints: endpoints::Facts::read(&config.agent, purpose),
            flow_log: flow_log::Facts::read(&config.agent, purpose),
        }
    }

    /// The interfaces of the config, as they were found; none if the kernel did not tell.
    pub(crate) fn seen(&self) -> &[Seen] {
        self.interfaces.seen.as_deref().unwrap_or_default()
    }

    /// The router by which a replica in mode dsr or dnat is reached.
    pub(crate) fn router(&self, replica: IpAddr) -> Option<IpAddr> {
        self.routers.get(&replica).copied()
    }
}

/// Of replicas that should be on this host's segments: where a router is in between, it has its own ideas of the way.
async fn routers(config: &Config, links: &Links) -> BTreeMap<IpAddr, IpAddr> {
    let of_segment = |service: &&Service| matches!(service.mode, Mode::Dsr | Mode::Dnat);
    let replicas = config.services.iter().filter(of_segment).flat_map(|service| &service.replicas);
    let mut routers = BTreeMap::new();
    for address in replicas.map(|replica| replica.address).collect::<BTreeSet<_>>() {
        // One without a route is found when its next hop is.
        if let Ok(Some(router)) = gateway(links.handle(), address).await {
            routers.insert(address, router);
        }
    }
    routers
}

/// Reads the CA files, as the probes will.
fn unusable_probes(config: &Config) -> Vec<(String, String)> {
    let mut tls = TlsConfigs::default();
    let mut unusable = Vec::new();
    let reads_files =
        |service: &&Service| service.probe.verify != Verify::No && service.probe.scheme != Scheme::None;
    for service in config.services.iter().filter(reads_files) {
        let address = service.replicas.first().map_or(Ipv4Addr::LOCALHOST.into(), |replica| replica.address);
        let target = Target { address, probe: service.probe.clone(), route: Route::Plain };
        if let Err(source) = Prober::sharing(&target, &mut tls) {
            let error = AgentError::Probe { service: service.name.clone(), source };
            unusable.push((service.name.clone(), error.to_string()));
        }
    }
    unusable
}

/// What is to be said of starting with this config on a host of which these are the facts.
pub(crate) fn judge(config: &Config, facts: &Facts) -> Findings {
    let Facts {
        process,
        interfaces,
        addresses,
        networks,
        routers,
        settings,
        ipv6_addresses,
        probes,
        endpoints,
        flow_log,
    } = facts;
    let mut found = Findings::default();
    found.timeouts(config);
    found.process(config, process);
    match addresses {
        Ok(own) => found.addresses(config, own),
        Err(error) => found.error("addresses", error),
    }
    found.interfaces(config, interfaces);
    found.direct(config, routers, settings);
    match networks {
        Ok(networks) => found.dnat(config, routers, networks),
        Err(error) => found.error("addresses", error),
    }
    found.ipv6(config, settings, ipv6_addresses);
    for (service, error) in probes {
        found.error(format!("service {service}"), error);
    }
    found.endpoints(endpoints);
    found.flow_log(flow_log);
    found
}

#[cfg(test)]
mod tests;
