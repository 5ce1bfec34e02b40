//! Which replica a new connection goes to: the one in the slot of its hash, and another one where that has failed.

use super::{
    PacketContext, Tables,
    admission::{self, ClientMemory as _},
    nat_port, resend_syn,
};
use crate::{
    abi::{ClientKey, KeptSyn, ReplicaId, Service, ServiceFlags, ServiceKey, Ticks, Tuple},
    flow_table::{self, Direction, Memory as _, next_hops},
    hash,
};

/// How many slots are looked at for a replica that was not tried yet. With two of seven replicas left to find, one
/// connection in 200 finds none.
const SLOT_ATTEMPTS: u64 = 16;

/// The same for one that has room. With one of eight replicas left, one connection in 5,000 finds none.
const ROOM_ATTEMPTS: u64 = 64;

/// What the tables say of a packet that opens a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steered {
    /// Whether there is such a service.
    pub(super) there: bool,
    pub(super) service: Service,
    /// The replica of its slot; 0 if there is none.
    pub(super) replica: ReplicaId,
}

impl Steered {
    pub(super) const NONE: Self = Self { there: false, service: Service::NONE, replica: 0 };
}

/// Looks where a connection goes that a packet opens; and, if that is a SYN, asks for the entry that it will take with its first
/// port. A SYN is steered before its client's entry is looked for, of which there is none most of the time: so both are on their
/// way from memory at once, where to wait for one takes longer than all that is worked out.
#[inline(always)]
pub(super) fn steer(tables: &impl Tables, context: &mut PacketContext) {
    let PacketContext { headers, steered, draft, client_key, .. } = context;
    let client = &headers.tuple;
    *steered = Steered::NONE;
    let Some(settings) = tables.settings() else { return };
    let Some(service) = tables.service(&service_key(client)) else { return };
    let seed = settings.hash_seed;
    let id = kept_replica(tables, &service, client, client_key);
    let id =
        if id != 0 { id } else { tables.slot(service.table, hash::slot(steering(&service, seed, client))) };
    *steered = Steered { there: true, service, replica: id };
    let Some(replica) = tables.replica(id) else { return };
    if replica.mode.direct() || !headers.flags.opens() {
        return;
    }
    nat_port::draw(
        nat_port::random(hash::flow(seed, client), 0),
        0,
        replica,
        settings,
        client,
        &mut draft.key,
    );
    let hash = hash::flow_table(&settings.flow_keys, &draft.key);
    tables.flows().fetch(flow_table::buckets(hash, settings.flow_buckets));
}

/// The replica of the client's last connection, where it keeps that for some time; 0 if there is none, or it gets no new ones.
#[inline(always)]
fn kept_replica(tables: &impl Tables, service: &Service, client: &Tuple, key: &mut ClientKey) -> ReplicaId {
    if service.affinity == 0 {
        return 0;
    }
    let now = tables.now();
    *key = ClientKey::of_host(service.number(), client);
    let last = tables.clients().client(key, |client| client.last_replica(service.affinity, now)).unwrap_or(0);
    let Ok(id) = ReplicaId::try_from(last) else { return 0 };
    let Some(replica) = tables.replica(id) else { return 0 };
    let serves =
        replica.service() == service_key(client) && replica.weight != 0 && replica.hop.interface != 0;
    if serves { id } else { 0 }
}

/// The hash by which a connection is steered.
#[inline(always)]
pub fn steering(service: &Service, seed: u64, client: &Tuple) -> u64 {
    if service.flags.has(ServiceFlags::SOURCE_AFFINITY) {
        hash::source(seed, client)
    } else {
        hash::flow(seed, client)
    }
}

/// Reads the SYN that is kept of the handshake in the context. Says whether it is still that one's: its place may be another client's by
/// now, or the same client's with another number, which the replica will not be asked to acknowledge.
#[inline(always)]
pub(super) fn reads_kept(tables: &impl Tables, context: &mut PacketContext) -> bool {
    let PacketContext { order, kept, found, other, .. } = context;
    let asked = if matches!(found.direction(), Direction::ToReplica) { other } else { found };
    tables.kept_syn(order.kept, kept)
        && kept.client == order.client
        && resend_syn::is_kept(&kept.syn)
        && nat_port::first_number(&kept.syn).wrapping_add(1) == asked.acknowledged
}

/// A replica that has not failed this handshake yet. `None` if there is none, or the client's SYN is kept no more.
#[inline(always)]
pub(super) fn another(
    tables: &impl Tables,
    seed: u64,
    now: Ticks,
    context: &mut PacketContext,
) -> Option<ReplicaId> {
    if !reads_kept(tables, context) {
        return None;
    }
    let PacketContext { order, kept, draft, found, other, .. } = context;
    let hop = if found.direction().from_client() { found.hop } else { other.hop };
    draft.hop = next_hops::again(&tables.next_hops(), hop, now)?;
    let service = tables.service(&service_key(&order.client))?;
    untried(tables, seed, &service, order.failed, kept)
}

/// A replica of a service for the client of a SYN that is kept, after one more has failed it.
#[inline(always)]
pub(super) fn untried(
    tables: &impl Tables,
    seed: u64,
    service: &Service,
    failed: ReplicaId,
    kept: &mut KeptSyn,
) -> Option<ReplicaId> {
    *kept.attempted.iter_mut().find(|id| **id == 0)? = failed;
    let mut hash = steering(service, seed, &kept.client);
    let mut attempt = 0;
    while attempt < SLOT_ATTEMPTS {
        attempt += 1;
        hash = hash::mix(hash, attempt);
        let id = tables.slot(service.table, hash::slot(hash));
        if id != 0 && reachable(tables, service, id) && !kept.attempted.contains(&id) {
            return Some(id);
        }
    }
    None
}

/// A replica of a service that may have another connection, for a client whose own has as many as it may.
#[inline(always)]
pub(super) fn with_room(
    tables: &impl Tables,
    seed: u64,
    service: &Service,
    client: &Tuple,
) -> Option<ReplicaId> {
    let mut hash = steering(service, seed, client);
    let mut attempt = 0;
    while attempt < ROOM_ATTEMPTS {
        attempt += 1;
        hash = hash::mix(hash, attempt);
        let id = tables.slot(service.table, hash::slot(hash));
        if id != 0 && reachable(tables, service, id) {
            return Some(id);
        }
    }
    None
}

/// Whether a replica that was not chosen first may be: the way to it is known, and it has room.
#[inline(always)]
fn reachable(tables: &impl Tables, service: &Service, id: ReplicaId) -> bool {
    let known = tables.replica(id).is_some_and(|replica| replica.hop.interface != 0);
    known && !(service.flags.has(ServiceFlags::LIMITS_REPLICAS) && admission::is_full(tables, id))
}

#[inline(always)]
pub(super) fn service_key(client: &Tuple) -> ServiceKey {
    ServiceKey::new(client.destination, client.destination_port)
}
