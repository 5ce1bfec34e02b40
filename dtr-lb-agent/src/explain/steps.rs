//! The way of a connection, step by step, in words. Each step asks what the pipeline asks, by the same functions.

use std::net::{IpAddr, SocketAddr};

use dtr_lb_common::{
    abi::{
        IS_VIP, MAGLEV_SLOTS, Mode, Replica, ReplicaId, Service, ServiceFlags, ServiceKey, Settings, State,
        Tuple, Vlans,
    },
    address::{Address, Family},
    filter, hash,
    model::Source,
    pipeline::{Tables as _, steering, summary::PacketSummary},
};
use ipnet::IpNet;
use nix::net::if_::if_indextoname;

use super::{Step, view::View};
use crate::{
    datapath::{DatapathError, Reader},
    directory::{Directory, end},
    flows::mode,
};

/// What is told.
pub(super) struct Way<'a, 'v> {
    /// The tuple of the client's packets; with port 0 it stands for all ports.
    pub(super) tuple: &'a Tuple,
    pub(super) view: &'a View<'v>,
    pub(super) reader: &'a Reader,
    pub(super) directory: &'a Directory,
    /// The state of the connection, if it is there already.
    pub(super) existing: Option<State>,
    /// The replica that the pipeline has sent it to.
    pub(super) chosen: Option<(ReplicaId, &'a Replica)>,
    /// What the pipeline has left.
    pub(super) nat: &'a PacketSummary,
}

pub(super) fn service_key(tuple: &Tuple) -> ServiceKey {
    ServiceKey::new(tuple.destination, tuple.destination_port)
}

/// All steps, as far as the connection comes.
pub(super) fn steps(way: &Way<'_, '_>) -> Result<Vec<Step>, DatapathError> {
    let mut steps = Vec::new();
    let mut say = |about: &str, text: String| steps.push(Step { about: about.to_owned(), text });
    let Way { tuple, view, directory, .. } = way;
    let Some(settings) = view.settings() else {
        say("datapath", "the agent has not written its settings yet: every packet passes".into());
        return Ok(steps);
    };
    let key = service_key(tuple);
    let marked = view.marked(filter::place(settings, &tuple.destination, tuple.destination_port));
    let Some(service) = view.service(&key).filter(|_| marked) else {
        say("service", no_service(way, marked)?);
        return Ok(steps);
    };
    let name = directory.service(&key).unwrap_or("one that is configured no more");
    say("service", format!("{name}, {}", end_of(&key)));
    if let Some(state) = way.existing {
        say(
            "flow",
            format!(
                "there is one with this address and port already, {}: its packets stay with it",
                state.name()
            ),
        );
    }
    say("access", access(way, &service)?);
    let let_in = is_clients(way)? && (service.sources == 0 || view.allowed(service.sources, &tuple.source));
    if !let_in && way.existing.is_none() {
        return Ok(steps);
    }
    if way.existing.is_none() {
        say("steering", steered(way, &service, settings));
    }
    if let Some((id, replica)) = way.chosen {
        say("replica", replica_words(way, id, replica));
        say("next hop", next_hop(replica));
        say("nat", nat(way, replica, settings));
    }
    Ok(steps)
}

fn end_of(key: &ServiceKey) -> SocketAddr {
    SocketAddr::new(key.address.into(), key.port.get())
}

fn no_service(way: &Way<'_, '_>, marked: bool) -> Result<String, DatapathError> {
    let Tuple { destination, .. } = way.tuple;
    let address = IpAddr::from(*destination);
    let others = way.directory.services();
    let others = others.into_iter().collect::<Vec<_>>().join(", ");
    let vip = way.reader.vip(destination)?;
    debug_assert_eq!(IS_VIP, 1, "that there is an entry says it all");
    Ok(match (vip, marked) {
        (true, _) => {
            format!("none: {address} is the address of a service, but not at this port (services: {others})")
        }
        (false, true) => {
            format!(
                "none: {address} is not the address of a service, though something of the datapath's is near it"
            )
        }
        (false, false) => format!("none: {address} is not the address of a service (services: {others})"),
    })
}

/// Whether the source may be a client's: a host's, and none of ours (`pipeline::open`).
fn is_clients(way: &Way<'_, '_>) -> Result<bool, DatapathError> {
    let source = &way.tuple.source;
    Ok(source.is_host() && !way.reader.vip(source)?)
}

/// The prefix that decides, and what it says.
fn access(way: &Way<'_, '_>, service: &Service) -> Result<String, DatapathError> {
    let client = &way.tuple.source;
    if !is_clients(way)? {
        return Ok(format!("{} cannot be a client's address", IpAddr::from(*client)));
    }
    if service.sources == 0 {
        return Ok("everyone may connect".into());
    }
    let sources = way.reader.sources(service.sources)?;
    let deciding = sources
        .iter()
        .filter(|source| source.holds(service.sources, client))
        .max_by_key(|source| source.length);
    let may = way.view.allowed(service.sources, client);
    Ok(match deciding.and_then(prefix) {
        Some(prefix) if may => format!("allowed by {prefix}, the longest prefix that holds the client"),
        Some(prefix) => format!("denied by {prefix}, the longest prefix that holds the client"),
        None => format!(
            "{}: none of the service's prefixes ({}) holds the client",
            if may { "allowed" } else { "denied" },
            sources.len()
        ),
    })
}

fn prefix(source: &Source) -> Option<IpNet> {
    let mapped = source.address.family() == Family::V4;
    let length = if mapped { source.length.checked_sub(96)? } else { source.length };
    IpNet::new(IpAddr::from(source.address), u8::try_from(length).ok()?).ok()
}

fn steered(way: &Way<'_, '_>, service: &Service, settings: &Settings) -> String {
    let Way { tuple, view, .. } = way;
    let affinity = service.flags.has(ServiceFlags::SOURCE_AFFINITY);
    if tuple.source_port.get() == 0 && !affinity {
        return "by address and port: each source port has its own slot, see the shares".into();
    }
    let hash = steering(service, settings.hash_seed, tuple);
    let slot = hash::slot(hash);
    let id = view.slot(service.table, slot);
    let by = if affinity {
        "by the client's address alone (affinity = \"source-ip\")"
    } else {
        "by address and port of both ends"
    };
    let got = match view.replica(id) {
        _ if id == 0 => "no replica has it: all are down, drained, in maintenance, or of weight 0".to_owned(),
        Some(replica) => format!("it is {}'s", way.directory.name(replica)),
        None => "the agent no longer knows its replica".to_owned(),
    };
    format!("{by}: hash {hash:016x}, slot {slot} of {MAGLEV_SLOTS} in table {}; {got}", service.table)
}

fn replica_words(way: &Way<'_, '_>, id: ReplicaId, replica: &Replica) -> String {
    let name = way.directory.name(replica);
    let at = end(replica);
    let mode = mode(replica.mode);
    let known = match way.directory.replica(replica) {
        Some(entry) => {
            let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let backup = if entry.backup { ", a backup" } else { "" };
            format!("{}{reason}{backup}, weight {}, its share now {}", entry.state, entry.weight, entry.share)
        }
        None => "configured no more; it keeps the connections that it has".to_owned(),
    };
    let dead = if replica.reset != 0 { "; its connections are reset" } else { "" };
    format!("{name} at {at}, mode {mode}, id {id}: {known}{dead}")
}

fn next_hop(replica: &Replica) -> String {
    let hop = &replica.hop;
    if hop.interface == 0 {
        return "no next hop: packets to it are dropped (dropped_no_next_hop)".into();
    }
    let name = if_indextoname(hop.interface)
        .map_or_else(|_| format!("interface {}", hop.interface), |name| name.to_string_lossy().into_owned());
    let mtu = if replica.mtu == 0 { "unknown".into() } else { replica.mtu.to_string() };
    let vlans = if hop.vlans == Vlans::NONE { String::new() } else { format!(" in {}", hop.vlans) };
    format!("{} by {name}{vlans}, MTU {mtu}", mac(&hop.destination))
}

fn nat(way: &Way<'_, '_>, replica: &Replica, settings: &Settings) -> String {
    match replica.mode {
        Mode::NAT => {
            let PacketSummary { to, .. } = way.nat;
            let own = way.tuple.source_port == to.source_port;
            let end = SocketAddr::new(to.source.into(), to.source_port.get());
            let first = settings.first_port;
            let last = first + settings.port_count.saturating_sub(1);
            let why = match (own, way.existing) {
                (_, Some(_)) => "the connection's own".to_owned(),
                (true, None) => format!("the client's own port, which is in {first}-{last} and free"),
                (false, None) => format!("a port of {first}-{last}, by the hash"),
            };
            format!("the replica sees it come from {end}: {why}")
        }
        Mode::IPIP => {
            let sources = replica.nat.iter().take(replica.nat_count as usize);
            let sources: Vec<_> = sources.map(|address: &Address| format!("{address:?}")).collect();
            format!(
                "none: the replica sees the client itself, in a packet from {} (the last 16 bits vary)",
                sources.join(", ")
            )
        }
        Mode::DNAT => {
            "none: the replica sees the client itself, and its route to the client has to lead here".into()
        }
        _ => "none: the replica sees the client itself".into(),
    }
}

fn mac(mac: &dtr_lb_common::wire::Mac) -> String {
    let bytes: &[u8] = bytemuck::cast_slice(mac);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
