//! Packets of handshakes. They have a table of their own, so that a flood of SYNs evicts other handshakes and never an
//! established connection. The client's ACK of the replica's SYN-ACK moves a connection over.
//!
//! A replica that fails a handshake does not fail the client: where it refuses, the client's SYN is sent to another one in
//! place of the refusal; where it is silent, the client's next SYN goes to another one.

use super::{
    Family, FlowTable, Headers, Rewrite, Tables, connection,
    connection::Touch,
    open::{Cause, Order},
    replay,
};
use crate::{
    abi::{Flow, Settings, Side, State, Ticks},
    verdict::Verdict,
    wire::TcpFlags,
};

/// What a packet of a handshake tells.
pub(super) enum Handshake<F: Family> {
    Decided(Rewrite<F>),
    /// The replica does not take it: another one is to be asked.
    Failed(Order<F>),
}

/// What becomes of a packet that has an entry in the half-open table; `None` if it has none (any more).
#[inline(always)]
pub(super) fn find<F: Family>(
    headers: &Headers<F>,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Option<Result<Handshake<F>, Verdict>> {
    let table = &tables.half_open();
    let flow = table.with(&headers.tuple, |entry| entry.flow)?;
    let partner = connection::partner(&flow);
    if settings.expired(flow.state, flow.last_seen, now) {
        connection::remove(table, &headers.tuple, &partner);
        return None;
    }
    let rewrite = match Rewrite::new(&flow).checked(headers, tables) {
        Ok(rewrite) => rewrite,
        Err(verdict) => return Some(Err(verdict)),
    };
    let from_client = flow.side == Side::TO_REPLICA;
    let failed = flow.replica;
    let unanswered = flow.state == State::SYN_SENT;
    let state = (!from_client && headers.flags.accepts()).then_some(State::SYN_RECEIVED);
    // Half a handshake must not speak for whoever has its port by now.
    if !connection::touch(table, &partner, &headers.tuple, Touch { state, hop: None }, now) {
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
            if replay::is_bare(headers.segment) {
                let order = Order { cause: Cause::Refused, client: partner, answer: headers.tuple, failed };
                return Some(Ok(Handshake::Failed(order)));
            }
        }
        connection::remove(table, &headers.tuple, &partner);
        return Some(Ok(Handshake::Decided(rewrite)));
    }
    // A client waits a second for the first answer (RFC 6298 section 2); a SYN that comes again earlier is a duplicate.
    let again = from_client && unanswered && headers.flags.opens();
    if again && now.wrapping_sub(flow.checked) > settings.second / 2 {
        let order = Order { cause: Cause::Silent, client: headers.tuple, answer: partner, failed };
        return Some(Ok(Handshake::Failed(order)));
    }
    if from_client && !unanswered && headers.flags.any(TcpFlags::ACK) && !headers.flags.any(TcpFlags::SYN) {
        promote(&flow, headers, tables, now)?;
    }
    Some(Ok(Handshake::Decided(rewrite)))
}

/// Moves both entries to the flow table. They are there before they are gone from the half-open table: a port is never
/// free in between. `None` if the handshake's other half has been evicted.
#[inline(always)]
fn promote<F: Family>(
    flow: &Flow<F::Address>,
    headers: &Headers<F>,
    tables: &impl Tables<F>,
    now: Ticks,
) -> Option<()> {
    let key = headers.tuple;
    let partner_key = connection::partner(flow);
    let state = connection::after(State::ESTABLISHED, headers.flags, true);
    let Some(partner) = tables.half_open().with(&partner_key, |entry| entry.flow) else {
        tables.half_open().remove(&key);
        return None;
    };
    if connection::partner(&partner) != key {
        tables.half_open().remove(&key);
        return None;
    }
    let established = |flow: Flow<F::Address>| Flow { state, last_seen: now, checked: now, ..flow };
    let moved = tables.flows().put(&partner_key, &established(partner)).is_ok()
        && tables.flows().put(&key, &established(*flow)).is_ok();
    if moved {
        connection::remove(&tables.half_open(), &key, &partner_key);
    } else {
        // The handshake stays where it is; the client's next packet tries again.
        connection::remove(&tables.flows(), &key, &partner_key);
    }
    Some(())
}
