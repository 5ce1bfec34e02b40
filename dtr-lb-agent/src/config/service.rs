//! `[[service]]`: what is balanced, over which replicas, and how it is forwarded.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::access::{self, Access};
use super::address::VIPS;
use super::admin::Admin;
use super::choice::choice;
use super::key::{depends, is, table};
use super::keys;
use super::limits::{self, Limits};
use super::listed::Listed;
use super::mode::{self, Mode};
use super::name::NAME;
use super::node::{Field, Table};
use super::preset::{Preset, PresetService};
use super::probe::{self, Probe};
use super::problems::Problems;
use super::replica::{Declared, Replica};
use super::takes::{HOUR, List, PORT, SECOND, Whole, millis, word};

const REPLICAS: List<String> = List::of(
    "a list of at least one name of a [[replica]], each once",
    |name| Ok(name.to_owned()),
    String::clone,
)
.not_empty("no replica to forward to")
.once();

const BACKUP: List<String> = List::of(
    "a list of names of replicas of this service, each once, but not of all",
    |name| Ok(name.to_owned()),
    String::clone,
)
.once();

table! {
    /// One port on one or more VIPs, and where its flows go.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Service, WrittenService {
        /// Its name in `status` and in the log; each service its own.
        name: String = NAME, depends("that of the [preset's](#presets) service on this port", "\"https\"").needed();
        /// What clients connect to. A VIP and port belong to one service.
        port: u16 = PORT, depends("that of the preset's service of this name", "443").needed();
        /// How packets reach the replicas.
        mode: Mode = word(), is(Mode::Nat);
        /// The port on the replicas. In the modes `dsr` and `ipip` it can only be `port`.
        replica_port: u16 = PORT, depends("`port`", "443");
        /// What of a client's connections goes to one replica.
        affinity: Affinity = word(), is(Affinity::None);
        /// [Passive check](#passive-check): this many failed handshakes within `fail_timeout` keep new connections from a replica, for
        /// as long. 0 turns it off.
        // nginx has 1, and counts requests: a proxy sees each. A lost SYN is seen as a failure here.
        max_fails: u32 = Whole(0..=1000), is(2);
        /// The time within which, and for which, the passive check counts.
        fail_timeout: Duration = millis(SECOND, HOUR), is(Duration::from_secs(30));
    }
    written only {
        /// What clients connect to, in place of the top-level `vip`.
        vip: Vec<IpAddr> = VIPS, depends("the top-level `vip`", "\"10.0.0.10\"");
        /// Which replicas get its connections.
        replicas: Vec<String> = REPLICAS, depends("all", "[\"replica-1\", \"replica-2\"]");
        /// These get new connections only while no other replica of the service is up; several share among themselves. When another
        /// one is up again, new connections go there, and those on a backup stay until they end.
        backup: Vec<String> = BACKUP, is(Vec::new());
    }
    made {
        /// At least one; no other service has one of them with the same port.
        vips: Vec<IpAddr>,
        /// Who may open connections.
        access: Access,
        /// What they may do.
        limits: Limits,
        /// How the replicas' health is asked for.
        probe: Probe,
        /// At least one, in the order of the `[[replica]]` tables, whatever the order in `replicas`: equal sets make
        /// equal tables.
        listed: Vec<Listed>,
        /// In the same order, no two with one address. From the file alone: those of `listed` that have an address. With what
        /// DNS and an operator say (`changes::effective`): all there are, which may be none.
        replicas: Vec<Replica>,
    }
}

choice! {
    /// What of a client's flows goes to one replica.
    pub enum Affinity {
        /// Each connection is steered by itself.
        None = "none",
        /// All connections from an address go to one replica, for as long as it is up. Clients behind one NAT then share a replica.
        SourceIp = "source-ip",
    }
}

/// What services take from the rest of the file.
pub(super) struct Shared<'a> {
    /// `None`: written, but wrong.
    pub(super) preset: Option<Preset>,
    pub(super) vip: &'a Field<'a, Vec<IpAddr>>,
    pub(super) replicas: &'a [Declared<'a>],
    /// `None`: written, but wrong.
    pub(super) host: Option<&'a Option<String>>,
}

/// What services before this one have, each with where that is written.
#[derive(Default)]
struct Seen {
    names: HashMap<String, String>,
    places: HashMap<(IpAddr, u16), String>,
}

pub(super) fn read(
    top: &Table<'_>,
    shared: &Shared<'_>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Service>> {
    let tables = top.tables("service", problems)?;
    let services = if tables.is_empty() {
        let made = defaults(top, shared, problems);
        no_replica_is_a_vip(shared.vip, shared.replicas, problems);
        made?
    } else {
        no_replica_is_a_vip(shared.vip, shared.replicas, problems);
        let mut seen = Seen::default();
        let services: Vec<_> = tables.iter().map(|table| one(table, shared, &mut seen, problems)).collect();
        services.into_iter().collect::<Option<_>>()?
    };
    access::all_fit(&services, &tables, problems).then_some(services)
}

/// Those of the preset, each to the same port.
fn defaults(top: &Table<'_>, shared: &Shared<'_>, problems: &mut Problems<'_>) -> Option<Vec<Service>> {
    if shared.vip.node.is_none() {
        problems.missing(top, "vip", "missing: no address for clients to connect to");
    }
    let preset = shared.preset?;
    if preset.services().is_empty() {
        let what = format!(
            "missing: preset \"{preset}\" has no ports of its own; write one for each port (on the command line: --port)"
        );
        problems.missing(top, "service", what);
        return None;
    }
    let vips = shared.vip.value.as_ref()?;
    let listed = shared.replicas.iter().map(Declared::listed).collect::<Option<Vec<_>>>()?;
    let table = Table::unwritten();
    let service = |PresetService { name, port, scheme: _ }: &PresetService| {
        let mut written = WrittenService::read(&table, problems);
        written.name.or(|| Some((*name).to_owned()));
        written.port.or(|| Some(*port));
        written.replica_port.or(|| Some(*port));
        let probe = Probe::default_for(preset, name, *port, shared.host?.clone());
        let replicas = by_address(&listed, *port);
        let (access, limits) = (Access::default(), Limits::default());
        written.finish(
            Some(vips.clone()),
            Some(access),
            Some(limits),
            Some(probe),
            Some(listed.clone()),
            Some(replicas),
        )
    };
    preset.services().iter().map(service).collect()
}

fn one(
    table: &Table<'_>,
    shared: &Shared<'_>,
    seen: &mut Seen,
    problems: &mut Problems<'_>,
) -> Option<Service> {
    let mut written = WrittenService::read(table, problems);
    no_replica_is_a_vip(&written.vip, shared.replicas, problems);
    name_and_port(table, &mut written, shared.preset, &mut seen.names, problems);
    let port = written.port.value;
    written.replica_port.or(|| port);
    if written.vip.node.is_none() && shared.vip.node.is_none() {
        problems.missing(table, "vip", "missing, and there is no top-level `vip` to take");
    }
    written.vip.or(|| shared.vip.value.clone());
    let vips = written.vip.value.clone();
    if let (Some(vips), Some(port)) = (&vips, port) {
        places_are_free(table, &mut written, vips, port, &mut seen.places, problems);
    }
    let access = access::read(table, problems);
    let limits = limits::read(table, written.mode.value, written.affinity.value, problems);
    let listed = listed(&mut written, shared.replicas, problems);
    let mode = written.mode.value;
    if let (Some(vips), Some(listed)) = (&vips, &listed) {
        mode::addresses_fit(&mut written.mode, vips, listed, problems);
    }
    if let (Some(mode), Some(port)) = (mode, port) {
        mode::port_fits(mode, port, &mut written.replica_port, problems);
    }
    let asked = probe::Asked {
        preset: shared.preset,
        service: written.name.value.as_deref(),
        port: written.replica_port.value,
        host: shared.host,
    };
    let probe = probe::read(&table.table("probe", problems), &asked, problems);
    let replicas =
        listed.as_ref().zip(written.replica_port.value).map(|(listed, port)| by_address(listed, port));
    written.finish(vips, access, limits, probe, listed, replicas)
}

/// Name and port of a service: one that is unwritten is what the preset has beside the other.
fn name_and_port(
    table: &Table<'_>,
    written: &mut WrittenService<'_>,
    preset: Option<Preset>,
    names: &mut HashMap<String, String>,
    problems: &mut Problems<'_>,
) {
    let WrittenService { name, port, .. } = written;
    let known = |name: Option<&str>, port: Option<u16>| {
        let (of_port, of_name) =
            (port.and_then(|port| preset?.name_of(port)), name.and_then(|name| preset?.port_of(name)));
        (of_port.map(str::to_owned), of_name)
    };
    let (of_port, of_name) = known(name.value.as_deref(), port.value);
    name.or(|| of_port);
    port.or(|| of_name);
    // Of a preset that is not known, nothing is; what would be missing without it is no news.
    if preset.is_some() {
        let unknown = [
            ("name", name.node.is_none() && name.value.is_none()),
            ("port", port.node.is_none() && port.value.is_none()),
        ];
        for (key, _) in unknown.into_iter().filter(|(_, unknown)| *unknown) {
            problems.missing(table, key, "missing");
        }
    }
    // Of one that is not usable, the name as written: another with it is as wrong.
    let called = name.node.as_ref().and_then(|node| node.value.as_str()).or(name.value.as_deref());
    let Some(called) = called else { return };
    match (names.get(called), &name.node) {
        (Some(first), Some(node)) => problems.refuse(node, format!("the name of {first} as well")),
        (Some(first), None) => {
            let what = format!("unwritten, so it is \"{called}\", which is the name of {first} as well");
            problems.missing(table, "name", what);
        }
        (None, node) => {
            let at = node.as_ref().map_or(table.at, |node| node.at);
            names.insert(called.to_owned(), format!("{} ({})", table.key, problems.source.brief(at)));
        }
    }
}

/// No VIP and port is another service's.
fn places_are_free(
    table: &Table<'_>,
    written: &mut WrittenService<'_>,
    vips: &[IpAddr],
    port: u16,
    taken: &mut HashMap<(IpAddr, u16), String>,
    problems: &mut Problems<'_>,
) {
    // Where only the name is written, that says the port.
    let node = written.port.node.as_ref().or(written.name.node.as_ref());
    let (key, at) = node.map_or((table.key.as_str(), table.at), |node| (node.key.as_str(), node.at));
    for vip in vips {
        let Some(first) = taken.get(&(*vip, port)) else {
            taken.insert((*vip, port), format!("{key} ({})", problems.source.brief(at)));
            continue;
        };
        let what = format!("{first} has VIP {vip} with this port already");
        match &written.port.node {
            Some(node) => problems.refuse(node, what),
            None => problems.key(at, key, what),
        }
    }
}

/// The replicas of a service, in the order of the `[[replica]]` tables, with those marked that are backups.
fn listed(
    written: &mut WrittenService<'_>,
    declared: &[Declared<'_>],
    problems: &mut Problems<'_>,
) -> Option<Vec<Listed>> {
    let all: Vec<_> = declared.iter().filter_map(Declared::name).collect();
    let wanted = match written.replicas.node {
        Some(_) => known(&written.replicas, &REPLICAS, "no [[replica]] has this name", &all, problems)?,
        None => all,
    };
    let backup =
        known(&written.backup, &BACKUP, "no replica of this service has this name", &wanted, problems)?;
    let [wanted, backup] = [wanted, backup].map(HashSet::<_>::from_iter);
    if !wanted.is_empty() && wanted.is_subset(&backup) {
        let what = "every replica of the service is a backup, and there is none that they could stand in for";
        written.backup.refuse(what, problems);
        return None;
    }
    let wanted = declared.iter().filter(|replica| replica.name().is_none_or(|name| wanted.contains(name)));
    wanted
        .map(|replica| {
            let listed = replica.listed()?;
            Some(Listed { backup: backup.contains(listed.name.as_str()), ..listed })
        })
        .collect()
}

/// The names of a list, if each is one of `all`.
fn known<'a>(
    field: &'a Field<'_, Vec<String>>,
    kind: &List<String>,
    what: &str,
    all: &[&str],
    problems: &mut Problems<'_>,
) -> Option<Vec<&'a str>> {
    let names: Vec<_> = field.value.as_ref()?.iter().map(String::as_str).collect();
    let nodes = field.node.as_ref().and_then(|node| kind.nodes(node, problems)).unwrap_or_default();
    let there: HashSet<_> = all.iter().collect();
    let unknown: Vec<_> = names.iter().zip(nodes).filter(|(name, _)| !there.contains(name)).collect();
    for (name, node) in &unknown {
        problems.refuse(node, unknown_name(what, name, all));
    }
    unknown.is_empty().then_some(names)
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

fn unknown_name(what: &str, name: &str, names: &[&str]) -> String {
    const MOST: usize = 8;
    if let Some(near) = keys::closest(name, names.iter().copied()) {
        return format!("{what} (did you mean \"{near}\"?)");
    }
    let rest = if names.len() > MOST { ", …" } else { "" };
    let names = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    format!("{what}; they are: {names}{rest}")
}

fn no_replica_is_a_vip(vip: &Field<'_, Vec<IpAddr>>, replicas: &[Declared<'_>], problems: &mut Problems<'_>) {
    let (Some(node), Some(vips)) = (&vip.node, &vip.value) else { return };
    let nodes = VIPS.nodes(node, problems).unwrap_or_default();
    for replica in replicas {
        let address = replica.address();
        if let Some((vip, node)) = vips.iter().zip(&nodes).find(|(vip, _)| Some(**vip) == address) {
            let line = problems.source.brief(node.at);
            let what = format!(
                "{vip} is a VIP as well ({}, {line}); a replica needs an address of its own",
                node.key
            );
            replica.refuse_address(what, problems);
        }
    }
}
