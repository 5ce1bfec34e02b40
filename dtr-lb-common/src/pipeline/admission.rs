//! Whether a packet that opens a connection may: what a host's kernel would not take is not taken here, a client may be
//! denied, and where a service is flooded or a limit is reached, clients that have proven their addresses come first.
//!
//! **What a stranger can forge decides nothing.** A SYN proves nothing about its source; a handshake that is completed does,
//! and so does the answer to a challenge. So limits count completed handshakes, and of a source nothing is remembered before.
//! (A replica that answers directly is not seen, nor is the end of its handshakes proven: there only the challenge is.)

mod challenge;
mod clients;
mod pressure;

use super::{Headers, PacketContext, Tables, steer::Steered};
use crate::{
    abi::{Client, ClientKey, MAX_NAT_ADDRESSES, Pressure, ReplicaId, Service, ServiceFlags, Settings},
    address::Address,
    verdict::Verdict,
    wire::TcpFlags,
};

pub(super) use challenge::answer;
pub use clients::{PENDING, PROOF, PROOF_OF_PORT};
pub use pressure::HOLD;

/// What the pipeline remembers beside the flow table.
pub trait ClientMemory {
    /// Changes what this processor has counted of a service, by [`Service::number`]. Nothing if there is no such service.
    fn pressure<R>(&self, service: u32, f: impl FnOnce(&mut Pressure) -> R) -> Option<R>;
    /// Changes what is remembered of a client; nothing if that is nothing.
    fn client<R>(&self, key: &ClientKey, f: impl FnOnce(&mut Client) -> R) -> Option<R>;
    /// Remembers a client, in the place of one that was not seen for long.
    fn remember(&self, key: &ClientKey, client: &Client);
    /// Connections that a replica may have beside those that it has; 0 or less if it may have none.
    fn room(&self, replica: ReplicaId) -> i32;
    /// A replica has one more.
    fn take_room(&self, replica: ReplicaId);
}

/// One that remembers nothing, where every replica has room.
impl ClientMemory for () {
    fn pressure<R>(&self, _: u32, _: impl FnOnce(&mut Pressure) -> R) -> Option<R> {
        None
    }

    fn client<R>(&self, _: &ClientKey, _: impl FnOnce(&mut Client) -> R) -> Option<R> {
        None
    }

    fn remember(&self, _: &ClientKey, _: &Client) {}

    fn room(&self, _: ReplicaId) -> i32 {
        i32::MAX
    }

    fn take_room(&self, _: ReplicaId) {}
}

/// Looks whether a packet that is of no connection may open one. Where not, it says what becomes of it.
#[inline(always)]
pub(super) fn admit(tables: &impl Tables, context: &mut PacketContext) -> Result<(), Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let PacketContext { headers, steered, order, client_key, .. } = context;
    let Steered { there, service, replica: id } = *steered;
    if !there {
        return Err(Verdict::PassedNotService);
    }
    if headers.fragmented {
        return Err(Verdict::DroppedFragment);
    }
    let opens = headers.flags.opens();
    let resets = headers.flags.any(TcpFlags::RST);
    // Where replicas answer directly, a connection may have been opened by another balancer, before this one took over: by
    // equal tables it goes to the same replica.
    if !opens && (!service.flags.has(ServiceFlags::DIRECT) || resets) {
        return Err(Verdict::PassedNoFlow);
    }
    if context.to_other_host {
        return Err(Verdict::PassedOtherHost);
    }
    if !headers.source_is_host() || is_own(tables, id, &headers.tuple.source) {
        return Err(Verdict::DroppedMartian);
    }
    if service.sources != 0 && !tables.allowed(service.sources, &headers.tuple.source) {
        let reset = service.flags.has(ServiceFlags::RESETS_DENIED) && opens;
        return Err(if reset { Verdict::AnsweredDenied } else { Verdict::DroppedDenied });
    }
    if id == 0 {
        // One that may be another balancer's connection waits for a replica.
        return Err(if opens { Verdict::AnsweredRefused } else { Verdict::DroppedNoReplica });
    }
    if opens && must_prove(tables, settings, &service, headers, order.hold, client_key) {
        return Err(Verdict::AnsweredChallenge);
    }
    if service.new_flows_per_source != 0 {
        let (second, now) = (settings.second, tables.now());
        *client_key = ClientKey::of_network(service.number(), &headers.tuple);
        let opened =
            tables.clients().client(client_key, |client| client.opened_now(second, now)).unwrap_or(0);
        if opened >= service.new_flows_per_source {
            return Err(Verdict::AnsweredSourceLimit);
        }
    }
    if service.flags.has(ServiceFlags::LIMITS_REPLICAS) && is_full(tables, id) {
        let seed = settings.hash_seed;
        let id = super::steer::with_room(tables, seed, &service, &headers.tuple);
        steered.replica = id.ok_or(Verdict::AnsweredReplicasFull)?;
    }
    Ok(())
}

/// Whether an address is one of this host's, as far as the datapath knows them: those of services, and of connections to the replica.
#[inline(always)]
fn is_own(tables: &impl Tables, id: ReplicaId, source: &Address) -> bool {
    let mut own = tables.vip(source);
    if let Some(replica) = tables.replica(id) {
        let mut at = 0;
        while at < MAX_NAT_ADDRESSES {
            own |= replica.nat[at] == *source;
            at += 1;
        }
    }
    own
}

/// Whether a replica may have no further connection.
#[inline(always)]
pub(super) fn is_full(tables: &impl Tables, id: ReplicaId) -> bool {
    tables.clients().room(id) <= 0
}

/// Whether the sender of a SYN has to prove first that it is at its address.
#[inline(always)]
fn must_prove(
    tables: &impl Tables,
    settings: &Settings,
    service: &Service,
    headers: &Headers,
    is_again: bool,
    key: &mut ClientKey,
) -> bool {
    if service.challenge_above == Service::NO_CHALLENGE {
        return false;
    }
    let (clients, now, second) = (tables.clients(), tables.now(), settings.second);
    let (number, above) = (service.number(), service.challenge_above);
    // Whoever closed a connection with this tuple a moment ago had proven itself for it.
    if !clients.pressure(number, |pressure| pressure.asks(above, second, now)).unwrap_or(false) || is_again {
        return false;
    }
    *key = ClientKey::of_port(number, &headers.tuple);
    if clients.client(key, |port| port.is_proven(PROOF_OF_PORT * second, now)).unwrap_or(false) {
        return false;
    }
    let of_network = ClientKey::of_network(number, &headers.tuple);
    let known = clients
        .client(&of_network, |client| client.is_proven(PROOF * second, now) && client.asks(second, now));
    !known.unwrap_or(false)
}

/// Whether a service is flooded: clients that have not proven their addresses are challenged for now.
#[inline(always)]
pub(super) fn is_flooded(tables: &impl Tables, service: &Service) -> bool {
    let for_now = !matches!(service.challenge_above, 0 | Service::NO_CHALLENGE);
    let now = tables.now();
    for_now
        && tables
            .clients()
            .pressure(service.number(), |pressure| pressure.is_challenging(now))
            .unwrap_or(false)
}

/// Works out what the sender of a SYN is told that has to prove its address.
#[inline(always)]
pub(super) fn challenge(tables: &impl Tables, context: &mut PacketContext) {
    if let Some(settings) = tables.settings() {
        context.challenge = challenge::of_syn(settings, &context.headers, tables.now());
    }
}

/// Whether a reset of no connection is the answer to a challenge. If so, its sender has proven itself.
#[inline(always)]
pub(super) fn proves(tables: &impl Tables, context: &mut PacketContext) -> bool {
    let Some(settings) = tables.settings() else { return false };
    let PacketContext {
        headers,
        steered: Steered { there, service, .. },
        client_key: key,
        client: proven,
        ..
    } = context;
    let now = tables.now();
    let asked = *there && service.challenge_above != Service::NO_CHALLENGE && !headers.fragmented;
    if !asked || !challenge::is_answered(settings, headers, now) {
        return false;
    }
    let clients = tables.clients();
    let (number, second) = (service.number(), settings.second);
    *key = ClientKey::of_port(number, &headers.tuple);
    // Said once, a number makes up for one SYN.
    if clients.client(key, |port| port.is_proven(PROOF_OF_PORT * second, now)).unwrap_or(false) {
        return true;
    }
    let _ = clients.pressure(number, Pressure::proves);
    *proven = Client { second: now, ..Client::NEW };
    proven.prove(now);
    clients.remember(key, proven);
    *key = ClientKey::of_network(number, &headers.tuple);
    if clients.client(key, |client| client.prove(now)).is_none() {
        clients.remember(key, proven);
    }
    true
}

/// Takes in that a handshake was completed.
#[inline(always)]
pub(super) fn complete(tables: &impl Tables, context: &mut PacketContext) {
    let Some(settings) = tables.settings() else { return };
    // Whose packet it is, the next one finds out for itself.
    context.wanted = context.client_of_found();
    let PacketContext { wanted, found, client_key: key, client: new, .. } = context;
    let Some(service) = tables.service(&super::steer::service_key(wanted)) else { return };
    let (clients, now, second) = (tables.clients(), tables.now(), settings.second);
    let (number, replica) = (service.number(), found.replica);
    // Of a replica that answers directly the client's word is all there is.
    let proven = !service.flags.has(ServiceFlags::DIRECT);
    let mut under_pressure = false;
    if proven && service.challenge_above != Service::NO_CHALLENGE {
        let challenging = clients.pressure(number, |pressure| {
            pressure.proves();
            pressure.handshakes += 1;
            pressure.challenging != 0
        });
        under_pressure = challenging.unwrap_or(false);
    }
    if under_pressure || service.new_flows_per_source != 0 {
        *key = ClientKey::of_network(number, wanted);
        let opens = |client: &mut Client| {
            client.prove(now);
            client.opens(second, now);
        };
        if clients.client(key, opens).is_none() {
            *new = Client { second: now, ..Client::NEW };
            opens(new);
            clients.remember(key, new);
        }
    }
    if service.affinity != 0 {
        *key = ClientKey::of_host(number, wanted);
        if clients.client(key, |client| client.uses(replica.into(), now)).is_none() {
            *new = Client::NEW;
            new.uses(replica.into(), now);
            clients.remember(key, new);
        }
    }
    if service.flags.has(ServiceFlags::LIMITS_REPLICAS) {
        clients.take_room(replica);
    }
}
