//! `[[service]]`: what is balanced, over which replicas, and how it is forwarded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::access::{self, Access};
use super::address::{self, Vip, Vips};
use super::admin::Admin;
use super::choice::choice;
use super::field::{self, Field, Table};
use super::keys;
use super::limits::{self, Limits};
use super::listed::Listed;
use super::mode::{self, Mode};
use super::preset::{Preset, PresetService};
use super::probe::{self, Probe};
use super::problems::Problems;
use super::raw::{RawConfig, RawService};
use super::replica::{Declared, Replica};

/// One port on one or more VIPs, and where its flows go.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Unique among the services.
    pub name: String,
    /// At least one; no other service has one of them with the same port.
    pub vips: Vec<IpAddr>,
    /// The port that clients connect to.
    pub port: u16,
    /// How packets reach the replicas.
    pub mode: Mode,
    /// What of a client's flows goes to one replica.
    pub affinity: Affinity,
    /// So many failed handshakes within [`Self::fail_timeout`] keep new flows from a replica, for as long; 0: never.
    pub max_fails: u32,
    /// See [`Self::max_fails`].
    pub fail_timeout: Duration,
    /// Who may open connections.
    pub access: Access,
    /// What they may do.
    pub limits: Limits,
    /// How the replicas' health is asked for.
    pub probe: Probe,
    /// The port of the replicas.
    pub replica_port: u16,
    /// At least one, in the order of the `[[replica]]` tables, whatever the order in `replicas`: equal sets make
    /// equal tables.
    pub listed: Vec<Listed>,
    /// In the same order, no two with one address. From the file alone: those of `listed` that have an address. With what
    /// DNS and an operator say (`changes::effective`): all there are, which may be none.
    pub replicas: Vec<Replica>,
}

choice! {
    /// What of a client's flows goes to one replica.
    pub enum Affinity {
        /// A flow.
        None = "none",
        /// All flows from an address.
        SourceIp = "source-ip",
    }
}

/// nginx has 1, and counts requests: a proxy sees each. A lost SYN is seen as a failure here.
const MAX_FAILS: u32 = 2;
const FAIL_TIMEOUT: Duration = Duration::from_secs(30);

/// What services take from the rest of the file.
struct Shared<'a> {
    preset: Preset,
    vips: &'a Vips,
    replicas: &'a [Declared],
    /// `None`: written, but wrong.
    host: Option<&'a Option<String>>,
}

/// What services before this one have, each with where that is written.
#[derive(Default)]
struct Seen {
    names: HashMap<String, String>,
    places: HashMap<(IpAddr, u16), String>,
}

/// `host` is the top-level one; `None` if it is written but wrong.
pub(super) fn read(
    raw: &RawConfig,
    preset: Preset,
    vips: &Vips,
    replicas: &[Declared],
    host: Option<&Option<String>>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Service>> {
    let shared = Shared { preset, vips, replicas, host };
    let mut all_vips: Vec<Vip> = match vips {
        Vips::Read(vips) => vips.clone(),
        Vips::Unwritten | Vips::Wrong => Vec::new(),
    };
    let listed = raw.service.as_ref().map_or(&[][..], |list| list.get_ref());
    let services = if listed.is_empty() {
        defaults(&shared, problems)
    } else {
        let mut seen = Seen::default();
        let mut services = Vec::with_capacity(listed.len());
        for (index, raw) in listed.iter().enumerate() {
            let table = Table::top().nth("service", index, raw);
            let own = address::vips(&table, &raw.get_ref().vip, problems);
            if let Vips::Read(own) = &own {
                all_vips.extend(own.iter().cloned());
            }
            services.push(one(&table, raw.get_ref(), &own, &shared, &mut seen, problems));
        }
        services.into_iter().collect()
    };
    no_vip_is_a_replica(&all_vips, replicas, problems);
    services.filter(|services: &Vec<Service>| access::all_fit(services, listed, problems))
}

/// Those of the preset, each to the same port.
fn defaults(shared: &Shared<'_>, problems: &mut Problems<'_>) -> Option<Vec<Service>> {
    if matches!(shared.vips, Vips::Unwritten) {
        problems.missing(&Table::top(), "vip", "missing: no address for clients to connect to");
    }
    if shared.preset.services().is_empty() {
        let what = format!(
            "missing: preset \"{}\" has no ports of its own; write one for each port (on the command line: --port)",
            shared.preset
        );
        problems.missing(&Table::top(), "service", what);
        return None;
    }
    let Vips::Read(vips) = shared.vips else { return None };
    let services = shared.preset.services().iter();
    services
        .map(|PresetService { name, port, scheme: _ }| {
            let (name, port) = (*name, *port);
            let listed = shared.replicas.iter().map(Declared::listed).collect::<Option<Vec<_>>>()?;
            Some(Service {
                name: name.to_owned(),
                vips: vips.iter().map(|vip| vip.address).collect(),
                port,
                mode: Mode::Nat,
                affinity: Affinity::None,
                max_fails: MAX_FAILS,
                fail_timeout: FAIL_TIMEOUT,
                access: Access::default(),
                limits: Limits::default(),
                probe: Probe::default_for(shared.preset, name, port, shared.host?.clone()),
                replica_port: port,
                replicas: by_address(&listed, port),
                listed,
            })
        })
        .collect()
}

fn one(
    table: &Table,
    raw: &RawService,
    own_vips: &Vips,
    shared: &Shared<'_>,
    Seen { names, places: taken }: &mut Seen,
    problems: &mut Problems<'_>,
) -> Option<Service> {
    let (name, port_field, port) = name_and_port(table, raw, shared.preset, names, problems);
    let replica_port = table.field("replica_port", &raw.replica_port);
    let replica_port = replica_port.map_or(port, |field| field::port(&field, problems));
    let mode = table.field("mode", &raw.mode);
    let mode = mode.map_or(Some(Mode::Nat), |field| field::choice(&field, problems));
    let affinity = table.field("affinity", &raw.affinity);
    let affinity = affinity.map_or(Some(Affinity::None), |field| field::choice(&field, problems));
    let max_fails = table.field("max_fails", &raw.max_fails);
    let max_fails =
        max_fails.map_or(Some(MAX_FAILS), |field| field::whole_number(&field, 0..=1000, problems));
    let fail_timeout = table.field("fail_timeout", &raw.fail_timeout);
    let fail_timeout = fail_timeout.map_or(Some(FAIL_TIMEOUT), |field| {
        field::duration(&field, Duration::from_secs(1)..=Duration::from_secs(60 * 60), problems)
    });
    let access = access::read(table, raw, problems);
    let limits = limits::read(table, raw, mode, affinity, problems);

    let vips = match (own_vips, shared.vips) {
        (Vips::Read(vips), _) | (Vips::Unwritten, Vips::Read(vips)) => Some(vips),
        (Vips::Unwritten, Vips::Unwritten) => {
            problems.missing(table, "vip", "missing, and there is no top-level `vip` to take");
            None
        }
        (Vips::Wrong, _) | (Vips::Unwritten, Vips::Wrong) => None,
    };
    if let (Some(vips), Some(port)) = (vips, port) {
        // Where only the name is written, that says the port.
        let named = table.field("name", &raw.name);
        let key_and_place = port_field
            .as_ref()
            .map(|field| (field.key.clone(), field.at))
            .or_else(|| named.map(|field| (field.key, field.at)));
        let (key, at) = key_and_place.unwrap_or_else(|| (table.key().to_owned(), table.at));
        for vip in vips {
            let place = format!("{key} ({})", problems.source.brief(at));
            if let Some(first) = taken.get(&(vip.address, port)) {
                let what = format!("{} has VIP {} with this port already", first, vip.address);
                match &port_field {
                    Some(field) => problems.refuse(field, what),
                    None => problems.key(at, &key, what),
                }
            } else {
                taken.insert((vip.address, port), place);
            }
        }
    }
    let listed = listed(table, raw, shared.replicas, problems);
    let listed = listed.and_then(|listed| backups(table, raw, listed, problems));
    if let (Some(mode), Some(vips), Some(listed)) = (mode, vips, &listed) {
        mode::addresses_fit(table, raw, mode, vips, listed, problems);
    }
    if let (Some(mode), Some(port)) = (mode, port) {
        mode::port_fits(table, raw, mode, port, problems);
    }
    let probe = probe::read(
        &table.sub("probe", raw.probe.as_ref()),
        raw.probe.as_ref().map(|probe| &**probe.get_ref()),
        &probe::Asked {
            preset: shared.preset,
            service: name.as_deref(),
            port: replica_port,
            host: shared.host,
        },
        problems,
    );
    Some(Service {
        name: name?,
        vips: vips?.iter().map(|vip| vip.address).collect(),
        port: port?,
        mode: mode?,
        affinity: affinity?,
        max_fails: max_fails?,
        fail_timeout: fail_timeout?,
        access: access?,
        limits: limits?,
        probe: probe?,
        replica_port: replica_port?,
        replicas: by_address(listed.as_ref()?, replica_port?),
        listed: listed?,
    })
}

/// Name and port of a service; one that is unwritten is what the preset has beside the other. Between them: the port as
/// written.
fn name_and_port<'a>(
    table: &Table,
    raw: &'a RawService,
    preset: Preset,
    names: &mut HashMap<String, String>,
    problems: &mut Problems<'_>,
) -> (Option<String>, Option<Field<'a, i64>>, Option<u16>) {
    let name_field = table.field("name", &raw.name);
    let port_field = table.field("port", &raw.port);
    let name = name_field.as_ref().map(|field| field::name(field, problems));
    let port = port_field.as_ref().map(|field| field::port(field, problems));
    let name = name.unwrap_or_else(|| {
        let known = port.flatten().and_then(|port| preset.name_of(port)).map(str::to_owned);
        if known.is_none() {
            problems.missing(table, "name", "missing");
        }
        known
    });
    let port = port.unwrap_or_else(|| {
        let known = name.as_deref().and_then(|name| preset.port_of(name));
        if known.is_none() {
            problems.missing(table, "port", "missing");
        }
        known
    });
    // Of one that is not usable, the name as written: another with it is as wrong.
    let called = name_field.as_ref().map(|field| field.value.as_str()).or(name.as_deref());
    if let Some(called) = called {
        let at = name_field.as_ref().map_or(table.at, |field| field.at);
        match (names.get(called), &name_field) {
            (Some(first), Some(field)) => problems.refuse(field, format!("the name of {first} as well")),
            (Some(first), None) => {
                let what = format!("unwritten, so it is \"{called}\", which is the name of {first} as well");
                problems.missing(table, "name", what);
            }
            (None, _) => {
                let place = format!("{} ({})", table.key(), problems.source.brief(at));
                names.insert(called.to_owned(), place);
            }
        }
    }
    (name, port_field, port)
}

/// The replicas of a service, in the order of the `[[replica]]` tables.
fn listed(
    table: &Table,
    raw: &RawService,
    declared: &[Declared],
    problems: &mut Problems<'_>,
) -> Option<Vec<Listed>> {
    let Some(field) = table.field("replicas", &raw.replicas) else {
        return declared.iter().map(Declared::listed).collect();
    };
    if field.value.is_empty() {
        problems.refuse(&field, "no replica to forward to");
        return None;
    }
    let before = problems.len();
    let mut wanted = HashMap::new();
    for element in field.elements() {
        let name = element.value.as_str();
        if !declared.iter().any(|replica| replica.name.as_deref() == Some(name)) {
            problems.refuse(&element, unknown_replica(name, declared));
        } else if let Some(first) = wanted.insert(name, element.at) {
            let line = problems.source.brief(first);
            problems.refuse(&element, format!("in the list already ({line})"));
        }
    }
    if problems.len() > before {
        return None;
    }
    declared
        .iter()
        .filter(|replica| replica.name.as_deref().is_some_and(|name| wanted.contains_key(name)))
        .map(Declared::listed)
        .collect()
}

/// The same, with those marked that are backups.
fn backups(
    table: &Table,
    raw: &RawService,
    mut listed: Vec<Listed>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Listed>> {
    let Some(field) = table.field("backup", &raw.backup) else { return Some(listed) };
    let before = problems.len();
    let mut wanted = HashMap::new();
    for element in field.elements() {
        let name = element.value.as_str();
        if let Some(first) = wanted.insert(name, element.at) {
            let line = problems.source.brief(first);
            problems.refuse(&element, format!("in the list already ({line})"));
        } else if let Some(replica) = listed.iter_mut().find(|replica| replica.name == name) {
            replica.backup = true;
        } else {
            let names = listed.iter().map(|replica| replica.name.as_str()).collect::<Vec<_>>();
            problems.refuse(&element, unknown_name("no replica of this service has this name", name, &names));
        }
    }
    if problems.len() == before && listed.iter().all(|replica| replica.backup) {
        problems.refuse(
            &field,
            "every replica of the service is a backup, and there is none that they could stand in for",
        );
    }
    (problems.len() == before).then_some(listed)
}

/// Those that have an address without DNS.
fn by_address(listed: &[Listed], port: u16) -> Vec<Replica> {
    let replica = |listed: &Listed| {
        Some(Replica {
            name: listed.name.clone(),
            address: listed.host.address()?,
            port,
            weight: listed.weight,
            slow_start: listed.slow_start,
            backup: listed.backup,
            admin: Admin::Ready,
            host_name: None,
            file_weight: Some(listed.weight),
        })
    };
    listed.iter().filter_map(replica).collect()
}

fn unknown_replica(name: &str, declared: &[Declared]) -> String {
    let names: Vec<&str> = declared.iter().filter_map(|replica| replica.name.as_deref()).collect();
    unknown_name("no [[replica]] has this name", name, &names)
}

fn unknown_name(what: &str, name: &str, names: &[&str]) -> String {
    const MOST: usize = 8;
    if let Some(near) = keys::closest(name, names.iter().copied()) {
        return format!("{what} (did you mean \"{near}\"?)");
    }
    let rest = if names.len() > MOST { ", …" } else { "" };
    let names = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    format!("{what}; they are: {names}{rest}")
}

fn no_vip_is_a_replica(vips: &[Vip], replicas: &[Declared], problems: &mut Problems<'_>) {
    for replica in replicas {
        let vip = vips.iter().find(|vip| Some(vip.address) == replica.address());
        if let Some(vip) = vip {
            let line = problems.source.brief(vip.at);
            let what = format!(
                "{} is a VIP as well ({}, {line}); a replica needs an address of its own",
                vip.address, vip.key
            );
            problems.key(replica.at, &replica.key, what);
        }
    }
}
