//! The servers of all services as replicas: one for each host.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use super::DraftReplica;
use crate::{
    Given,
    job::{BindHost, Host, Job, Server, Service},
    report::Ledger,
};

/// The heaviest weight, and what a server has that says nothing.
const MOST: u32 = 256;
const LONGEST_SLOW_START: Duration = Duration::from_secs(60 * 60);
/// Addresses for documentation (RFC 5737) stand in for those that have to be filled in: those of replicas, and those of VIPs from the
/// other end.
const STAND_INS: [[u8; 3]; 2] = [[192, 0, 2], [198, 51, 100]];

/// Whether a host has one of these addresses, or a name.
pub(super) trait Draftable {
    fn usable(&self) -> bool;
}

impl Draftable for IpAddr {
    /// An address of one host that packets can be routed to.
    fn usable(&self) -> bool {
        let link_local = matches!(self, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let broadcast = matches!(self, IpAddr::V4(v4) if v4.is_broadcast());
        !(self.is_unspecified() || self.is_loopback() || self.is_multicast() || broadcast || link_local)
    }
}

/// The replicas so far.
pub(super) struct Replicas {
    list: Vec<DraftReplica>,
    by_host: HashMap<String, usize>,
    names: HashMap<String, usize>,
    given: Vec<(String, IpAddr, bool)>,
    known: HashMap<String, IpAddr>,
    stand_ins: HashMap<String, IpAddr>,
    /// Addresses that somebody has: they stand in for nothing.
    written: HashSet<IpAddr>,
}

/// Those of a service that can be kept.
pub(super) struct Chosen<'a> {
    pub(super) names: Vec<String>,
    pub(super) backup: Vec<String>,
    /// `None`: the one that the client connects to.
    pub(super) port: Option<u16>,
    pub(super) max_flows: Option<u32>,
    pub(super) servers: Vec<&'a Server>,
}

impl Replicas {
    pub(super) fn new(job: &Job, given: &Given) -> Self {
        Self {
            list: Vec::new(),
            by_host: HashMap::new(),
            names: HashMap::new(),
            given: given.replicas.iter().map(|(name, address)| (name.clone(), *address, false)).collect(),
            known: job.known_hosts.iter().cloned().collect(),
            stand_ins: HashMap::new(),
            written: written(job, given),
        }
    }

    /// The replicas of a service. `None` if there is none.
    pub(super) fn choose<'a>(&mut self, service: &'a Service, ledger: &mut Ledger) -> Option<Chosen<'a>> {
        let port =
            most_common(service.servers.iter().filter(|server| !server.out).map(|server| server.port))?;
        let weights = Weights::of(service, ledger);
        let mut chosen =
            Chosen { names: Vec::new(), backup: Vec::new(), port, max_flows: None, servers: Vec::new() };
        for server in &service.servers {
            if server.port != port {
                let wanted = port.map_or("the client's port".to_owned(), |port| format!("port {port}"));
                let why = format!(
                    "all replicas of a service have one port, and the others here have {wanted}; give it a service of its own"
                );
                if server.out {
                    ledger.left_out(server.at, why);
                } else {
                    ledger.left_out_that_decides(server.at, why);
                }
                continue;
            }
            let Some(name) = self.replica(server, &weights, ledger) else { continue };
            if chosen.names.contains(&name) {
                ledger.fault(
                    server.at,
                    format!("this server is in the service already, as {name}; it is one replica"),
                );
                continue;
            }
            if server.backup {
                chosen.backup.push(name.clone());
            }
            chosen.names.push(name);
            chosen.servers.push(server);
        }
        if chosen.names.is_empty() {
            return None;
        }
        if chosen.backup.len() == chosen.names.len() {
            chosen.backup.clear();
            for server in &chosen.servers {
                ledger.differs(server.at, "all servers here are backups: they serve as equals");
            }
        }
        chosen.max_flows = max_flows(&chosen.servers, ledger);
        Some(chosen)
    }

    /// Enters a server, or finds it. `None` if it has no address that could be written.
    fn replica(&mut self, server: &Server, weights: &Weights, ledger: &mut Ledger) -> Option<String> {
        let (host, placeholder) = self.host(&server.host, server, ledger)?;
        let weight = weights.of_server(server);
        let slow_start =
            server.slow_start.map(|time| time.min(LONGEST_SLOW_START)).filter(|time| !time.is_zero());
        if let Some(index) = self.by_host.get(&host) {
            let there = &self.list[*index];
            if there.weight != weight || there.slow_start != slow_start {
                ledger.differs(
                    server.at,
                    format!(
                        "a replica has one weight and one slow start in all services: those of {}",
                        ledger.place(there.at)
                    ),
                );
            }
            return Some(there.name.clone());
        }
        let name = server.name.as_deref().map_or_else(|| host.clone(), allowed_name);
        let name = unique(&name, &mut self.names);
        self.by_host.insert(host.clone(), self.list.len());
        self.list.push(DraftReplica {
            name: name.clone(),
            at: server.at,
            host,
            placeholder,
            weight,
            slow_start,
        });
        Some(name)
    }

    fn host(
        &mut self,
        host: &Host,
        server: &Server,
        ledger: &mut Ledger,
    ) -> Option<(String, Option<String>)> {
        match host {
            Host::Address(address) if address.usable() => Some((address.to_string(), None)),
            Host::Address(address) => {
                ledger.left_out_that_decides(
                    server.at,
                    format!("{address} is an address that no other host has; a replica is reached over the network: write its own address"),
                );
                None
            }
            Host::Name(name) => Some((name.clone(), None)),
            Host::Placeholder(text) => {
                if let Some(address) = self.address_of(text).filter(Draftable::usable) {
                    return Some((address.to_string(), None));
                }
                let stand_in = self.stand_in(text, 0)?;
                ledger.fault_that_decides(
                    server.at,
                    format!("{text} is no address; {stand_in} stands in for it: write the replica's own, or give --replica '{text}=ADDRESS'"),
                );
                Some((stand_in.to_string(), Some(text.clone())))
            }
        }
    }

    /// What is known to be the address of a placeholder.
    pub(super) fn address_of(&mut self, text: &str) -> Option<IpAddr> {
        if let Some(address) = self.known.get(text) {
            return Some(*address);
        }
        let bare = text.trim_matches(['<', '>']);
        let named = self.given.iter().find(|(name, _, _)| name == text || (!name.is_empty() && name == bare));
        if let Some((_, address, _)) = named {
            return Some(*address);
        }
        let (_, address, used) = self.given.iter_mut().find(|(name, _, used)| name.is_empty() && !*used)?;
        *used = true;
        self.known.insert(text.to_owned(), *address);
        Some(*address)
    }

    /// An address in the place of one that is not known, the same for the same text.
    pub(super) fn stand_in(&mut self, text: &str, net: usize) -> Option<IpAddr> {
        if let Some(there) = self.stand_ins.get(text) {
            return Some(*there);
        }
        let [a, b, c] = STAND_INS[net];
        let mut addresses = (11..255).map(|number| IpAddr::from([a, b, c, number]));
        let address = addresses.find(|address| !self.written.contains(address))?;
        self.written.insert(address);
        self.stand_ins.insert(text.to_owned(), address);
        Some(address)
    }

    /// Whether a replica has this address.
    pub(super) fn has(&self, address: &IpAddr) -> bool {
        self.by_host.contains_key(&address.to_string())
    }

    /// Of these replicas, the addresses that are known.
    pub(super) fn addresses(&self, names: &[String]) -> Vec<IpAddr> {
        let these = self.list.iter().filter(|replica| names.contains(&replica.name));
        these.filter_map(|replica| replica.host.parse().ok()).collect()
    }

    pub(super) fn into_list(self) -> Vec<DraftReplica> {
        self.list
    }
}

/// All addresses that the files and the command line name.
fn written(job: &Job, given: &Given) -> HashSet<IpAddr> {
    let binds =
        job.services.iter().flat_map(|service| &service.binds).filter_map(|bind| match &bind.value.host {
            BindHost::One(host) => Some(host),
            BindHost::Any | BindHost::AnyV4 | BindHost::AnyV6 => None,
        });
    let servers = job.services.iter().flat_map(|service| &service.servers).map(|server| &server.host);
    let hosts = job.vips.iter().map(|vip| &vip.value).chain(binds).chain(servers);
    let named = hosts.filter_map(|host| match host {
        Host::Address(address) => Some(*address),
        Host::Name(_) | Host::Placeholder(_) => None,
    });
    let known = job.known_hosts.iter().chain(&given.replicas).map(|(_, address)| *address);
    named.chain(known).chain(given.vips.iter().copied()).collect()
}

/// From the weights of a service's servers to dtr-lb's.
struct Weights {
    /// The heaviest of them, if that is more than dtr-lb has.
    heaviest: u32,
    /// What one has that says nothing.
    unsaid: u16,
}

impl Weights {
    fn of(service: &Service, ledger: &mut Ledger) -> Self {
        let said = || service.servers.iter().filter_map(|server| Some((server, server.weight?)));
        let heaviest = said().map(|(_, weight)| weight).max().unwrap_or(0);
        if heaviest > MOST {
            for (server, weight) in said() {
                let ours = scaled(weight, heaviest);
                if u64::from(ours) * u64::from(heaviest) != u64::from(weight) * u64::from(MOST) {
                    ledger.differs(
                        server.at,
                        format!("weights go up to {MOST}: {weight} of {heaviest} is {ours} here"),
                    );
                }
            }
        }
        // One that says nothing has 1 beside those that do; where nobody does, dtr-lb's default.
        let unsaid = if said().next().is_none() { 100 } else { scaled(1, heaviest) };
        Self { heaviest, unsaid }
    }

    fn of_server(&self, server: &Server) -> u16 {
        match (server.out, server.weight) {
            (true, _) => 0,
            (false, Some(weight)) => scaled(weight, self.heaviest),
            (false, None) => self.unsaid,
        }
    }
}

/// Never 0 for what is not 0.
fn scaled(weight: u32, heaviest: u32) -> u16 {
    if heaviest <= MOST {
        return u16::try_from(weight).unwrap_or(MOST as u16);
    }
    let scaled = (u64::from(weight) * u64::from(MOST)).div_ceil(u64::from(heaviest));
    u16::try_from(scaled).unwrap_or(MOST as u16)
}

/// The limit of all of them, as dtr-lb has one a service.
fn max_flows(servers: &[&Server], ledger: &mut Ledger) -> Option<u32> {
    let most = servers
        .iter()
        .map(|server| server.max_flows)
        .collect::<Option<Vec<_>>>()
        .and_then(|all| all.into_iter().max());
    for server in servers {
        match (server.max_flows, most) {
            (Some(own), Some(most)) if own == most => {}
            (Some(own), Some(most)) => ledger.differs(
                server.at,
                format!("a service has one limit of connections for each of its replicas: {most}, not {own} for this one"),
            ),
            (Some(own), None) => ledger.differs(
                server.at,
                format!("no limit of {own} connections: the service's other servers have none, and dtr-lb has one limit for all"),
            ),
            (None, _) => {}
        }
    }
    most.map(|most| most.clamp(1, 1 << 24))
}

fn most_common(ports: impl Iterator<Item = Option<u16>>) -> Option<Option<u16>> {
    let mut counted: Vec<(Option<u16>, usize)> = Vec::new();
    for port in ports {
        match counted.iter_mut().find(|(other, _)| *other == port) {
            Some((_, count)) => *count += 1,
            None => counted.push((port, 1)),
        }
    }
    // The first one of those that are equally common.
    counted.into_iter().rev().max_by_key(|(_, count)| *count).map(|(port, _)| port)
}

/// 1 to 64 of the characters that names are made of.
pub(super) fn allowed_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(56).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

/// The name, or with a number behind it if it is there already.
pub(super) fn unique(name: &str, names: &mut HashMap<String, usize>) -> String {
    let mut candidate = name.to_owned();
    while names.contains_key(&candidate) {
        let number = names.entry(name.to_owned()).or_insert(1);
        *number += 1;
        candidate = format!("{name}-{number}");
    }
    names.insert(candidate.clone(), 1);
    candidate
}
