//! A packet that no table knows: a client that opens a connection to a service, or nothing of ours. And a connection
//! that one replica did not take, opened to another.
//!
//! **NAT ports.** The replica sees the connection come from a NAT address and port, and that pair must tell it from all
//! others between the balancer and this replica. The entry of the replica's packets *is* the claim: inserting its key
//! into the half-open table, which succeeds for one packet only, takes the port; what the flow table holds under the
//! same key is looked at after that, because a handshake that is promoted stands there before it leaves the half-open
//! table.

use bytemuck::Zeroable as _;

use super::{
    Decision, Family, FlowTable, Headers, InsertError, Packet, Rewrite, Tables, connection, replay, way_back,
};
use crate::{
    abi::{
        Flow, HalfOpen, Hop, MAX_NAT_ADDRESSES, MAX_TRIED, Replica, ReplicaId, ServiceKey, Settings, Side,
        State, Ticks, Tuple,
    },
    address::{Address, Be16},
    checksum::Delta,
    hash,
    verdict::Verdict,
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
#[derive(Clone, Copy, PartialEq, Eq)]
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
#[derive(Clone, Copy)]
pub(super) struct Order<F: Family> {
    pub(super) cause: Cause,
    /// The tuple of the client's packets.
    pub(super) client: Tuple<F::Address>,
    /// The tuple of the packets of the replica that failed; the client's where there is none.
    pub(super) answer: Tuple<F::Address>,
    /// That replica; 0 where there is none.
    pub(super) failed: ReplicaId,
}

/// Opens a connection: to the replica of its slot or, where that one has failed, to another. Where there is no other the
/// packet goes on as it would have.
#[inline(always)]
pub(super) fn open<F: Family>(
    order: Order<F>,
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Result<Decision<F>, Verdict> {
    let hash = hash::flow(settings.hash_seed, &order.client);
    let opened = tables.draft(|draft| {
        // A frame is made longer at its front, and must go on beginning on an even address.
        if order.cause == Cause::Refused && !packet.length().is_multiple_of(2) {
            return Err(Verdict::DroppedNoReplica);
        }
        let id = if order.cause == Cause::New {
            first(headers, packet, tables, hash, draft)?
        } else {
            another(&order, tables, hash, draft).ok_or(Verdict::DroppedNoReplica)?
        };
        let replica = tables.replica(id).ok_or(Verdict::DroppedNoReplica)?;
        let opening = Opening::<F> { client: order.client, id, replica, settings, hash, now };
        opening.remember(draft, tables)?;
        tables.count(id, |counters| counters.new_flows += 1);
        Ok(Rewrite::new(&draft.flow).by(replica.hop))
    });
    let opened = opened.unwrap_or(Err(Verdict::DroppedTableFull));
    if order.cause == Cause::New {
        return opened.map(Decision::Forward);
    }
    match opened {
        Ok(leaves) => {
            tables.half_open().remove(&order.answer);
            tables.count(order.failed, |counters| counters.redispatched += 1);
            Ok(match order.cause {
                Cause::Refused => Decision::Replay(leaves),
                Cause::New | Cause::Silent => Decision::Redispatch(leaves),
            })
        }
        Err(verdict) => {
            // Not an `Option` of it, for the same reason.
            let mut flow = Flow::zeroed();
            let known = tables.half_open().with(&headers.tuple, |entry| flow = entry.flow).is_some();
            if order.cause == Cause::Refused {
                connection::remove(&tables.half_open(), &order.answer, &order.client);
            }
            if !known {
                return Err(verdict);
            }
            Rewrite::new(&flow).checked(headers, tables).map(Decision::Forward)
        }
    }
}

/// The replica of a new connection, whose SYN is put into the draft.
#[inline(always)]
fn first<F: Family>(
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
    hash: u64,
    draft: &mut HalfOpen<F::Address>,
) -> Result<ReplicaId, Verdict> {
    let service = tables.service(&service_key(&headers.tuple)).ok_or(Verdict::PassedNotService)?;
    if headers.fragmented {
        return Err(Verdict::DroppedFragment);
    }
    if !headers.flags.opens() {
        return Err(Verdict::PassedNoFlow);
    }
    let id = tables.slot(service.table, hash::slot(hash));
    if id == 0 {
        return Err(Verdict::DroppedNoReplica);
    }
    if tables.replica(id).is_none_or(|replica| replica.hop.interface == 0) {
        return Err(Verdict::DroppedNoNextHop);
    }
    if headers.hops <= 1 {
        return Err(Verdict::DroppedTtlExpired);
    }
    draft.flow.hop = way_back(packet).ok_or(Verdict::PassedMalformed)?;
    draft.tried = [0; MAX_TRIED];
    replay::keep::<F>(packet, headers.segment, &mut draft.syn).ok_or(Verdict::PassedMalformed)?;
    Ok(id)
}

/// A replica that has not failed this handshake yet, whose entry is put into the draft. `None` if there is none.
#[inline(always)]
fn another<F: Family>(
    order: &Order<F>,
    tables: &impl Tables<F>,
    hash: u64,
    draft: &mut HalfOpen<F::Address>,
) -> Option<ReplicaId> {
    tables.half_open().with(&order.answer, |entry| *draft = *entry)?;
    if !replay::is_kept(&draft.syn) {
        return None;
    }
    *draft.tried.iter_mut().find(|id| **id == 0)? = order.failed;
    let service = tables.service(&service_key(&order.client))?;
    let mut attempt = 0;
    while attempt < SLOT_ATTEMPTS {
        attempt += 1;
        let id = tables.slot(service.table, hash::slot(hash::mix(hash, attempt)));
        let known = tables.replica(id).is_some_and(|replica| replica.hop.interface != 0);
        if id != 0 && known && !draft.tried.contains(&id) {
            return Some(id);
        }
    }
    None
}

#[inline(always)]
fn service_key<A: Address>(client: &Tuple<A>) -> ServiceKey {
    ServiceKey { address: client.destination.any(), port: client.destination_port }
}

/// A connection about to be.
struct Opening<'a, F: Family> {
    client: Tuple<F::Address>,
    id: ReplicaId,
    replica: &'a Replica,
    settings: &'a Settings,
    hash: u64,
    now: Ticks,
}

impl<F: Family> Opening<'_, F> {
    /// Claims a NAT port and enters both directions into the half-open table, made from `draft`: its SYN, the replicas that
    /// were tried, and the hop of its flow, which is the way back to the client. Leaves the client's flow there.
    #[inline(always)]
    fn remember(&self, draft: &mut HalfOpen<F::Address>, tables: &impl Tables<F>) -> Result<(), Verdict> {
        let back = draft.flow.hop;
        let mut attempt = 0;
        while attempt < PORT_ATTEMPTS {
            let outward = self.candidate(attempt);
            let answer = outward.reversed();
            let claim = Claim { polite: attempt < POLITE_ATTEMPTS, settings: self.settings, now: self.now };
            attempt += 1;
            draft.flow = self.flow(&answer, self.client.reversed(), back, Side::TO_CLIENT);
            match claim.take(&answer, draft, tables) {
                Ok(()) => {}
                Err(InsertError::Exists) => continue,
                Err(InsertError::Full) => return Err(Verdict::DroppedTableFull),
            }
            draft.flow = self.flow(&self.client, outward, Hop::default(), Side::TO_REPLICA);
            if tables.half_open().put(&self.client, draft).is_err() {
                tables.half_open().remove(&answer);
                return Err(Verdict::DroppedTableFull);
            }
            return Ok(());
        }
        Err(Verdict::DroppedNoPort)
    }

    /// The tuple towards the replica with the port of this attempt: the client's own if it may be used, then others
    /// at random but the same each time, so that a client that comes back meets its own resting ports.
    #[inline(always)]
    fn candidate(&self, attempt: u32) -> Tuple<F::Address> {
        let Settings { first_port, port_count, .. } = *self.settings;
        let wish = u32::from(self.client.source_port.get());
        let random = hash::mix(self.hash, u64::from(attempt));
        let port = if attempt == 0 && wish.wrapping_sub(first_port) < port_count {
            wish
        } else {
            first_port + hash::scale(random as u32, port_count)
        };
        // The address is at random, too; the mask tells the verifier what the agent promises.
        let address = hash::scale((random >> 32) as u32, self.replica.nat_count) as usize % MAX_NAT_ADDRESSES;
        Tuple {
            source: F::Address::from_any(self.replica.nat[address]),
            destination: F::Address::from_any(self.replica.address),
            source_port: Be16::new(port as u16),
            destination_port: self.replica.port,
        }
    }

    #[inline(always)]
    fn flow(
        &self,
        from: &Tuple<F::Address>,
        to: Tuple<F::Address>,
        hop: Hop,
        side: Side,
    ) -> Flow<F::Address> {
        let addresses = Delta::ZERO
            .slices(from.source.as_ref(), to.source.as_ref())
            .slices(from.destination.as_ref(), to.destination.as_ref());
        let ports = Delta::ZERO
            .word(from.source_port.raw(), to.source_port.raw())
            .word(from.destination_port.raw(), to.destination_port.raw());
        Flow {
            to,
            hop,
            address_delta: addresses.fold(),
            port_delta: ports.fold(),
            replica: self.id,
            state: State::SYN_SENT,
            side,
            last_seen: self.now,
            checked: self.now,
        }
    }
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
    fn take<F: Family>(
        &self,
        key: &Tuple<F::Address>,
        answer: &HalfOpen<F::Address>,
        tables: &impl Tables<F>,
    ) -> Result<(), InsertError> {
        let half_open = &tables.half_open();
        match half_open.insert(key, answer) {
            Ok(()) => {}
            Err(InsertError::Full) => return Err(InsertError::Full),
            Err(InsertError::Exists) => {
                let holder = half_open.with(key, |entry| entry.flow).ok_or(InsertError::Exists)?;
                if !self.may_end_handshake(&holder, &answer.flow) {
                    return Err(InsertError::Exists);
                }
                connection::remove(half_open, key, &connection::partner(&holder));
                half_open.insert(key, answer)?;
            }
        }
        let Some(holder) = tables.flows().with(key, |holder| *holder) else { return Ok(()) };
        if !self.may_end_connection(&holder, &answer.flow) {
            half_open.remove(key);
            return Err(InsertError::Exists);
        }
        connection::remove(&tables.flows(), key, &connection::partner(&holder));
        Ok(())
    }

    /// Whether a handshake must give up its port: it is over, or it is the client's own, of which the client's direction
    /// was evicted, or ports are short and it has had the time of the longest round trip, 300 ms.
    #[inline(always)]
    fn may_end_handshake<A: PartialEq + Copy>(&self, holder: &Flow<A>, claimant: &Flow<A>) -> bool {
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
    fn may_end_connection<A: PartialEq + Copy>(&self, holder: &Flow<A>, claimant: &Flow<A>) -> bool {
        let own =
            holder.to == claimant.to || (!self.polite && holder.to.destination == claimant.to.destination);
        (own && holder.state.ended()) || self.settings.expired(holder.state, holder.last_seen, self.now)
    }
}
