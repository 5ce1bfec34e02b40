//! A packet that no table knows: a client that opens a connection to a service, or nothing of ours. And a connection
//! that one replica did not take, opened to another.
//!
//! **NAT ports.** The replica sees the connection come from a NAT address and port, and that pair must tell it from all
//! others between the balancer and this replica. The entry of the replica's packets *is* the claim: inserting its key
//! into the half-open table, which succeeds for one packet only, takes the port; what the flow table holds under the
//! same key is looked at after that, because a handshake that is promoted stands there before it leaves the half-open
//! table.

use super::{
    FlowTable, Headers, InsertError, Packet, Scratch, Tables, connection, replay, rewrite, way_back,
};
use crate::{
    abi::{
        Flow, HalfOpen, Hop, MAX_NAT_ADDRESSES, MAX_TRIED, Replica, ReplicaId, Service, ServiceFlags,
        ServiceKey, Settings, Side, State, Ticks, Tuple,
    },
    address::{Address, Be16, Family},
    checksum::Delta,
    hash,
    verdict::Verdict,
    wire::TcpFlags,
};

/// How many ports are tried. With 70 % of a replica's ports taken, one connection in 300 finds none of 16 free.
const PORT_ATTEMPTS: u32 = 16;
/// So many attempts are polite. After them ports are short, and a port may be taken from a client that has closed
/// another connection on it, and from a handshake that is older than the longest round trip.
const POLITE_ATTEMPTS: u32 = 4;
/// How many slots are looked at for a replica that was not tried yet. With two of seven replicas left to find, one
/// connection in 200 finds none.
const SLOT_ATTEMPTS: u64 = 16;

/// Why a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A client's first SYN, or nothing of ours.
    New,
    /// Its replica refused: the packet is the refusal.
    Refused,
    /// Its replica does not answer: the packet is the client's SYN once more.
    Silent,
}

/// A connection to be opened. Without an `Option` in it: the verifier refuses the register of a value that is not there,
/// even where nothing is made of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) cause: Cause,
    /// The tuple of the client's packets.
    pub(super) client: Tuple,
    /// The tuple of the packets of the replica that failed; the client's where there is none.
    pub(super) answer: Tuple,
    /// That replica; 0 where there is none.
    pub(super) failed: ReplicaId,
}

impl Order {
    pub(super) const NONE: Self =
        Self { cause: Cause::New, client: Headers::NONE.tuple, answer: Headers::NONE.tuple, failed: 0 };
}

/// Opens a connection, as the order in the notes says: to the replica of its slot or, where that one has failed, to
/// another. Where there is no other the packet goes on as it would have.
#[inline(always)]
pub(super) fn open(
    packet: &impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Result<Verdict, Verdict> {
    let opened = connect(packet, tables, scratch);
    let Scratch { headers, found: flow, leaves, order, replay, .. } = scratch;
    if order.cause == Cause::New {
        return opened.map(|()| Verdict::Forwarded);
    }
    match opened {
        Ok(()) => {
            if order.answer != order.client {
                tables.half_open().remove(&order.answer);
            }
            tables.count(order.failed, |counters| counters.redispatched += 1);
            *replay = order.cause == Cause::Refused;
            Ok(Verdict::Redispatched)
        }
        Err(verdict) => {
            let known = tables.half_open().with(&headers.tuple, |entry| *flow = entry.flow).is_some();
            if order.cause == Cause::Refused {
                connection::remove(&tables.half_open(), &order.answer, &order.client);
            }
            if !known {
                return Err(verdict);
            }
            leaves.set(flow);
            rewrite::check(packet, tables, scratch).map(|()| Verdict::Forwarded)
        }
    }
}

/// Finds a replica and enters the connection.
#[inline(always)]
fn connect(packet: &impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Result<(), Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    let seed = settings.hash_seed;
    let Scratch { headers, order, draft, .. } = scratch;
    let id = if order.cause == Cause::New {
        first(headers, packet, tables, seed, draft)?
    } else {
        another(order, tables, seed, draft).ok_or(Verdict::DroppedNoReplica)?
    };
    let replica = tables.replica(id).ok_or(Verdict::DroppedNoReplica)?;
    // A refusal is no packet for the replica: the SYN that takes its place was looked at when it came.
    if order.cause != Cause::Refused {
        rewrite::reaches(packet, replica, scratch)?;
    }
    let Scratch { headers, leaves, order, draft, holder, answer, .. } = scratch;
    let opening = Opening { client: &order.client, id, replica, settings, now };
    opening.remember(draft, (answer, holder), headers, tables)?;
    tables.count(id, |counters| counters.new_flows += 1);
    leaves.set(&draft.flow);
    leaves.by(replica);
    Ok(())
}

/// The replica of a new connection, whose SYN is put into the draft.
#[inline(always)]
fn first(
    headers: &Headers,
    packet: &impl Packet,
    tables: &impl Tables,
    seed: u64,
    draft: &mut HalfOpen,
) -> Result<ReplicaId, Verdict> {
    let service = tables.service(&service_key(&headers.tuple)).ok_or(Verdict::PassedNotService)?;
    if headers.fragmented {
        return Err(Verdict::DroppedFragment);
    }
    // Where replicas answer directly, a connection may have been opened by another balancer, before this one took over: by
    // equal tables it goes to the same replica.
    let direct = service.flags.has(ServiceFlags::DIRECT);
    if !headers.flags.opens() && (!direct || headers.flags.any(TcpFlags::RST)) {
        return Err(Verdict::PassedNoFlow);
    }
    if service.sources != 0 && !tables.allowed(service.sources, &headers.tuple.source) {
        return Err(Verdict::DroppedDenied);
    }
    let id = tables.slot(service.table, hash::slot(steering(&service, seed, &headers.tuple)));
    if id == 0 {
        let refuse = service.flags.has(ServiceFlags::REFUSE);
        return Err(if refuse { Verdict::AnsweredRefused } else { Verdict::DroppedNoReplica });
    }
    draft.flow.hop = way_back(packet).ok_or(Verdict::PassedMalformed)?;
    draft.tried = [0; MAX_TRIED];
    replay::keep(packet, headers, &mut draft.syn).ok_or(Verdict::PassedMalformed)?;
    Ok(id)
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

/// A replica that has not failed this handshake yet, whose entry is put into the draft. `None` if there is none.
#[inline(always)]
fn another(order: &Order, tables: &impl Tables, seed: u64, draft: &mut HalfOpen) -> Option<ReplicaId> {
    tables.half_open().with(&order.answer, |entry| *draft = *entry)?;
    if !replay::is_kept(&draft.syn) {
        return None;
    }
    *draft.tried.iter_mut().find(|id| **id == 0)? = order.failed;
    let service = tables.service(&service_key(&order.client))?;
    let mut hash = steering(&service, seed, &order.client);
    let mut attempt = 0;
    while attempt < SLOT_ATTEMPTS {
        attempt += 1;
        hash = hash::mix(hash, attempt);
        let id = tables.slot(service.table, hash::slot(hash));
        let known = tables.replica(id).is_some_and(|replica| replica.hop.interface != 0);
        if id != 0 && known && !draft.tried.contains(&id) {
            return Some(id);
        }
    }
    None
}

#[inline(always)]
fn service_key(client: &Tuple) -> ServiceKey {
    ServiceKey::new(client.destination, client.destination_port)
}

/// A connection about to be.
struct Opening<'a> {
    client: &'a Tuple,
    id: ReplicaId,
    replica: &'a Replica,
    settings: &'a Settings,
    now: Ticks,
}

impl Opening<'_> {
    /// Claims a NAT port and enters both directions into the half-open table, made from `draft`: its SYN, the replicas that
    /// were tried, and the hop of its flow, which is the way back to the client. Leaves the client's flow there.
    #[inline(always)]
    fn remember(
        &self,
        draft: &mut HalfOpen,
        (answer, holder): (&mut Tuple, &mut Flow),
        headers: &Headers,
        tables: &impl Tables,
    ) -> Result<(), Verdict> {
        let table = &tables.half_open();
        if self.replica.mode.direct() {
            self.fill(&mut draft.flow, self.client, self.client, Side::DIRECT);
            draft.flow.to = *self.client;
            (draft.flow.address_delta, draft.flow.port_delta) = (0, 0);
            if !headers.flags.opens() {
                draft.flow.state = State::SYN_RECEIVED;
            }
            return table.put(self.client, draft).map_err(|_| Verdict::DroppedTableFull);
        }
        let mut random = hash::flow(self.settings.hash_seed, self.client);
        let mut attempt = 0;
        while attempt < PORT_ATTEMPTS {
            // One after the other: worked out apart from each other, the compiler would do it all at once, on the stack.
            random = hash::mix(random, u64::from(attempt));
            self.draw(random, attempt == 0, answer);
            let claim = Claim { polite: attempt < POLITE_ATTEMPTS, settings: self.settings, now: self.now };
            attempt += 1;
            self.fill(&mut draft.flow, answer, self.client, Side::TO_CLIENT);
            match claim.take(answer, draft, holder, tables) {
                Ok(()) => {}
                Err(InsertError::Exists) => continue,
                Err(InsertError::Full) => return Err(Verdict::DroppedTableFull),
            }
            self.fill(&mut draft.flow, self.client, answer, Side::TO_REPLICA);
            draft.flow.hop = Hop::default();
            if table.put(self.client, draft).is_err() {
                table.remove(answer);
                return Err(Verdict::DroppedTableFull);
            }
            return Ok(());
        }
        Err(Verdict::DroppedNoPort)
    }

    /// Makes `answer` the tuple of the replica's packets with the port of this attempt: the client's own if it may be used, then others
    /// at random but the same each time, so that a client that comes back meets its own resting ports.
    #[inline(always)]
    fn draw(&self, random: u64, first: bool, answer: &mut Tuple) {
        let Settings { first_port, port_count, .. } = *self.settings;
        let wish = u32::from(self.client.source_port.get());
        let port = if first && wish.wrapping_sub(first_port) < port_count {
            wish
        } else {
            first_port + hash::scale(random as u32, port_count)
        };
        // The address is at random, too; the mask tells the verifier what the agent promises.
        let address = hash::scale((random >> 32) as u32, self.replica.nat_count) as usize % MAX_NAT_ADDRESSES;
        answer.source = self.replica.address;
        answer.destination = self.replica.nat[address];
        answer.source_port = self.replica.port;
        answer.destination_port = Be16::new(port as u16);
    }

    /// Makes `flow` the entry of packets with the tuple `from`, whose answers have the tuple `back`. Its hop stays.
    #[inline(always)]
    fn fill(&self, flow: &mut Flow, from: &Tuple, back: &Tuple, side: Side) {
        let ports = Delta::ZERO
            .word(from.source_port.raw(), back.destination_port.raw())
            .word(from.destination_port.raw(), back.source_port.raw());
        flow.to.source = back.destination;
        flow.to.destination = back.source;
        flow.to.source_port = back.destination_port;
        flow.to.destination_port = back.source_port;
        flow.address_delta = difference(from, &flow.to).fold();
        flow.port_delta = ports.fold();
        flow.replica = self.id;
        flow.state = State::SYN_SENT;
        flow.side = side;
        flow.last_seen = self.now;
        flow.checked = self.now;
    }
}

/// What the addresses of a tuple change in the sum of a pseudo-header, where they become those of another.
#[inline(always)]
pub(super) fn difference(from: &Tuple, to: &Tuple) -> Delta {
    let delta = |delta: Delta, old: &Address, new: &Address| match (old.family(), new.family()) {
        (Family::V4, Family::V4) => delta.slices(&old.v4_words(), &new.v4_words()),
        // The mark of a mapped address is all ones, which sums to nothing.
        _ => delta.slices(&old.words(), &new.words()),
    };
    delta(delta(Delta::ZERO, &from.source, &to.source), &from.destination, &to.destination)
}

/// How a port is claimed.
struct Claim<'a> {
    polite: bool,
    settings: &'a Settings,
    now: Ticks,
}

impl Claim<'_> {
    /// Takes the port that `key`, a tuple of the replica's packets, stands for.
    #[inline(always)]
    fn take(
        &self,
        key: &Tuple,
        answer: &HalfOpen,
        holder: &mut Flow,
        tables: &impl Tables,
    ) -> Result<(), InsertError> {
        let half_open = &tables.half_open();
        match half_open.insert(key, answer) {
            Ok(()) => {}
            Err(InsertError::Full) => return Err(InsertError::Full),
            Err(InsertError::Exists) => {
                half_open.with(key, |entry| *holder = entry.flow).ok_or(InsertError::Exists)?;
                if !self.may_end_handshake(holder, &answer.flow) {
                    return Err(InsertError::Exists);
                }
                connection::remove(half_open, key, &connection::partner(holder));
                half_open.insert(key, answer)?;
            }
        }
        if tables.flows().with(key, |entry| *holder = *entry).is_none() {
            return Ok(());
        }
        if !self.may_end_connection(holder, &answer.flow) {
            half_open.remove(key);
            return Err(InsertError::Exists);
        }
        connection::remove(&tables.flows(), key, &connection::partner(holder));
        Ok(())
    }

    /// Whether a handshake must give up its port: it is over, or it is the client's own, of which the client's direction
    /// was evicted, or ports are short and it has had the time of the longest round trip, 300 ms.
    #[inline(always)]
    fn may_end_handshake(&self, holder: &Flow, claimant: &Flow) -> bool {
        let age = self.now.wrapping_sub(holder.checked);
        holder.to == claimant.to
            || self.settings.expired(holder.state, holder.last_seen, self.now)
            || (!self.polite && age > self.settings.second * 3 / 10)
    }

    /// Whether a connection must give up its port. A client may have its own port back at once when it has closed the
    /// connection: its clock runs on, so that the replica, in TIME_WAIT, takes the new SYN for what it is (RFC 6191).
    /// Anybody else's SYN would be answered by a challenge ACK. One address may be several clients behind a NAT, each
    /// with its own clock, so that the address alone counts only where ports are short.
    #[inline(always)]
    fn may_end_connection(&self, holder: &Flow, claimant: &Flow) -> bool {
        let own =
            holder.to == claimant.to || (!self.polite && holder.to.destination == claimant.to.destination);
        (own && holder.state.ended()) || self.settings.expired(holder.state, holder.last_seen, self.now)
    }
}
