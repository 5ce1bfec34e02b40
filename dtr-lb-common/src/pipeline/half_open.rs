//! Packets of handshakes. They have a table of their own, so that a flood of SYNs evicts other handshakes and never an
//! established connection. The client's ACK of the replica's SYN-ACK moves a connection over.
//!
//! A replica that fails a handshake does not fail the client: where it refuses, the client's SYN is sent to another one in
//! place of the refusal; where it is silent, the client's next SYN goes to another one.

use super::{
    FlowTable, Packet, Scratch, Tables, connection,
    connection::Touch,
    open::{Cause, Order},
    rewrite,
};
use crate::{
    abi::{Flow, Settings, Side, State, Ticks, Tuple},
    verdict::Verdict,
    wire::TcpFlags,
};

/// What a packet of a handshake tells.
pub(super) enum Handshake {
    Decided,
    /// The replica does not take it: another one is to be asked, by the order in the notes.
    Failed,
}

/// What becomes of a packet that has an entry in the half-open table; `None` if it has none (any more).
#[inline(always)]
pub(super) fn find(
    packet: &impl Packet,
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Option<Result<Handshake, Verdict>> {
    let table = &tables.half_open();
    let Scratch { headers, found: flow, leaves, .. } = scratch;
    table.with(&headers.tuple, |entry| *flow = entry.flow)?;
    let partner = connection::partner(flow);
    if settings.expired(flow.state, flow.last_seen, now) {
        connection::remove(table, &headers.tuple, &partner);
        return None;
    }
    leaves.set(flow);
    if let Err(verdict) = rewrite::check(packet, tables, scratch) {
        return Some(Err(verdict));
    }
    let Scratch { headers, found: flow, order, .. } = scratch;
    let from_client = flow.side != Side::TO_CLIENT;
    let direct = flow.side == Side::DIRECT;
    let unanswered = flow.state == State::SYN_SENT;
    let state = (!from_client && headers.flags.accepts()).then_some(State::SYN_RECEIVED);
    // Half a handshake must not speak for whoever has its port by now.
    if !direct && !connection::touch(table, &partner, &headers.tuple, Touch { state, hop: None }, now) {
        table.remove(&headers.tuple);
        return None;
    }
    table.with(&headers.tuple, |entry| {
        if let Some(state) = state {
            entry.flow.state = state;
        }
        entry.flow.last_seen = now;
    });
    if headers.flags.any(TcpFlags::RST) {
        if !from_client && unanswered {
            tables.count(flow.replica, |counters| counters.refused += 1);
            let failed = flow.replica;
            *order = Order { cause: Cause::Refused, client: partner, answer: headers.tuple, failed };
            return Some(Ok(Handshake::Failed));
        }
        connection::remove(table, &headers.tuple, &partner);
        return Some(Ok(Handshake::Decided));
    }
    // A client waits a second for the first answer (RFC 6298 section 2); a SYN that comes again earlier is a duplicate.
    let again = from_client && unanswered && headers.flags.opens();
    if again && now.wrapping_sub(flow.checked) > settings.second / 2 {
        tables.count(flow.replica, |counters| counters.unanswered += 1);
        let answer = if direct { headers.tuple } else { partner };
        let failed = flow.replica;
        *order = Order { cause: Cause::Silent, client: headers.tuple, answer, failed };
        return Some(Ok(Handshake::Failed));
    }
    // Of a replica that answers clients directly the answer is not seen: the client's ACK tells of it.
    let answered = direct || (from_client && !unanswered);
    if answered && headers.flags.any(TcpFlags::ACK) && !headers.flags.any(TcpFlags::SYN) {
        promote(&partner, tables, now, scratch)?;
    }
    Some(Ok(Handshake::Decided))
}

/// Moves both entries to the flow table. They are there before they are gone from the half-open table: a port is never
/// free in between. `None` if the handshake's other half has been evicted.
#[inline(always)]
fn promote(partner_key: &Tuple, tables: &impl Tables, now: Ticks, scratch: &mut Scratch) -> Option<()> {
    let Scratch { headers, found: flow, holder: partner, .. } = scratch;
    let key = &headers.tuple;
    let state = connection::after(State::ESTABLISHED, headers.flags, true);
    let establish = |flow: &mut Flow| {
        flow.state = state;
        flow.last_seen = now;
        flow.checked = now;
    };
    establish(flow);
    if flow.side == Side::DIRECT {
        if tables.flows().put(key, flow).is_ok() {
            tables.half_open().remove(key);
        }
        return Some(());
    }
    let there = tables.half_open().with(partner_key, |entry| *partner = entry.flow).is_some();
    if !there || connection::partner(partner) != *key {
        tables.half_open().remove(key);
        return None;
    }
    establish(partner);
    let moved = tables.flows().put(partner_key, partner).is_ok() && tables.flows().put(key, flow).is_ok();
    if moved {
        connection::remove(&tables.half_open(), key, partner_key);
    } else {
        // The handshake stays where it is; the client's next packet tries again.
        connection::remove(&tables.flows(), key, partner_key);
    }
    Some(())
}
