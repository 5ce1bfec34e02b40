//! A packet that no table knows: a client that opens a connection to a service, or nothing of ours.
//!
//! **NAT ports.** The replica sees the connection come from a NAT address and port, and that pair must tell it from all
//! others between the balancer and this replica. The entry of the replica's packets *is* the claim: inserting its key
//! into the half-open table, which succeeds for one packet only, takes the port; what the flow table holds under the
//! same key is looked at after that, because a handshake that is promoted stands there before it leaves the half-open
//! table.

use super::{Family, FlowTable, Headers, InsertError, Packet, Rewrite, Tables, connection};
use crate::{
    abi::{
        Flow, Hop, MAX_NAT_ADDRESSES, Replica, ReplicaId, ServiceKey, Settings, Side, State, Ticks, Tuple,
    },
    address::{Address, Be16},
    checksum::Delta,
    hash,
    verdict::Verdict,
    wire::Ethernet,
};

/// How many ports are tried. With 70 % of a replica's ports taken, one connection in 300 finds none of 16 free.
const PORT_ATTEMPTS: u32 = 16;

/// Steers a new connection to a replica and remembers both directions.
#[inline(always)]
pub(super) fn steer<F: Family>(
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Result<Rewrite<F>, Verdict> {
    let key = ServiceKey { address: headers.tuple.destination.any(), port: headers.tuple.destination_port };
    let service = tables.service(&key).ok_or(Verdict::PassedNotService)?;
    if headers.fragmented {
        return Err(Verdict::DroppedFragment);
    }
    if !headers.flags.opens() {
        return Err(Verdict::PassedNoFlow);
    }
    let hash = hash::flow(settings.hash_seed, &headers.tuple);
    let id = tables.slot(service.table, hash::slot(hash));
    if id == 0 {
        return Err(Verdict::DroppedNoReplica);
    }
    let replica = tables.replica(id).ok_or(Verdict::DroppedNoReplica)?;
    if replica.hop.interface == 0 {
        return Err(Verdict::DroppedNoNextHop);
    }
    if headers.hops <= 1 {
        return Err(Verdict::DroppedTtlExpired);
    }
    let opening = Opening { headers, id, replica, settings, hash, now };
    let flow = opening.remember(packet, tables)?;
    let rewrite = Rewrite::new(&flow).checked(headers, tables)?;
    tables.count(id, |counters| counters.new_flows += 1);
    Ok(rewrite)
}

/// A connection about to be.
struct Opening<'a, F: Family> {
    headers: &'a Headers<F>,
    id: ReplicaId,
    replica: &'a Replica,
    settings: &'a Settings,
    hash: u64,
    now: Ticks,
}

impl<F: Family> Opening<'_, F> {
    /// Claims a NAT port and enters both directions into the half-open table. Returns the client's one.
    #[inline(always)]
    fn remember(&self, packet: &impl Packet, tables: &impl Tables<F>) -> Result<Flow<F::Address>, Verdict> {
        let client = self.headers.tuple;
        let frame: Ethernet = packet.read(0).ok_or(Verdict::PassedMalformed)?;
        let back = Hop {
            interface: packet.interface(),
            destination: frame.macs.source,
            source: frame.macs.destination,
        };
        let mut attempt = 0;
        while attempt < PORT_ATTEMPTS {
            let outward = self.candidate(attempt);
            attempt += 1;
            let answer = self.flow(&outward.reversed(), client.reversed(), back, Side::TO_CLIENT);
            match claim(&outward.reversed(), &answer, tables, self.settings, self.now) {
                Ok(()) => {}
                Err(InsertError::Exists) => continue,
                Err(InsertError::Full) => return Err(Verdict::DroppedTableFull),
            }
            let flow = self.flow(&client, outward, Hop::default(), Side::TO_REPLICA);
            if tables.half_open().put(&client, &flow).is_err() {
                tables.half_open().remove(&outward.reversed());
                return Err(Verdict::DroppedTableFull);
            }
            return Ok(flow);
        }
        Err(Verdict::DroppedNoPort)
    }

    /// The tuple towards the replica with the port of this attempt: the client's own if it may be used, then others
    /// at random but the same each time, so that a client that comes back meets its own resting ports.
    #[inline(always)]
    fn candidate(&self, attempt: u32) -> Tuple<F::Address> {
        let Settings { first_port, port_count, .. } = *self.settings;
        let wish = u32::from(self.headers.tuple.source_port.get());
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

/// Takes the port that `key`, a tuple of the replica's packets, stands for.
#[inline(always)]
fn claim<F: Family>(
    key: &Tuple<F::Address>,
    answer: &Flow<F::Address>,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Result<(), InsertError> {
    let half_open = &tables.half_open();
    match half_open.insert(key, answer) {
        Ok(()) => {}
        Err(InsertError::Full) => return Err(InsertError::Full),
        Err(InsertError::Exists) => {
            let holder = half_open.with(key, |holder| *holder).ok_or(InsertError::Exists)?;
            // The client's own claim is left over where its direction of the handshake was evicted.
            let own = holder.to == answer.to;
            if !own && !settings.expired(holder.state, holder.last_seen, now) {
                return Err(InsertError::Exists);
            }
            connection::remove(half_open, key, &connection::partner(&holder));
            half_open.insert(key, answer)?;
        }
    }
    let Some(holder) = tables.flows().with(key, |holder| *holder) else { return Ok(()) };
    // A client may have its own port back at once: its clock runs on, so that the replica, in TIME_WAIT, takes the new
    // SYN for what it is (RFC 6191). Anybody else's SYN would be answered by a challenge ACK.
    let own = holder.state.ended() && holder.to.destination == answer.to.destination;
    if !own && !settings.expired(holder.state, holder.last_seen, now) {
        half_open.remove(key);
        return Err(InsertError::Exists);
    }
    connection::remove(&tables.flows(), key, &connection::partner(&holder));
    Ok(())
}
