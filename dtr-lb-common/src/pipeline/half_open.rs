//! Packets of handshakes. They have a table of their own, so that a flood of SYNs evicts other handshakes and never an
//! established connection. The client's ACK of the replica's SYN-ACK moves a connection over.

use super::{Family, FlowTable, Headers, Rewrite, Tables, connection};
use crate::{
    abi::{Flow, Settings, Side, State, Ticks},
    verdict::Verdict,
    wire::TcpFlags,
};

/// What becomes of a packet that has an entry in the half-open table; `None` if it has none (any more).
#[inline(always)]
pub(super) fn find<F: Family>(
    headers: &Headers<F>,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Option<Result<Rewrite<F>, Verdict>> {
    let table = &tables.half_open();
    let flow = table.with(&headers.tuple, |flow| *flow)?;
    let partner = connection::partner(&flow);
    if settings.expired(flow.state, flow.last_seen, now) {
        connection::remove(table, &headers.tuple, &partner);
        return None;
    }
    let rewrite = match Rewrite::new(&flow).checked(headers, tables) {
        Ok(rewrite) => rewrite,
        verdict => return Some(verdict),
    };
    let from_client = flow.side == Side::TO_REPLICA;
    if headers.flags.any(TcpFlags::RST) {
        if !from_client {
            tables.count(flow.replica, |counters| counters.refused += 1);
        }
        connection::remove(table, &headers.tuple, &partner);
        return Some(Ok(rewrite));
    }
    let accepted = flow.state == State::SYN_RECEIVED;
    if from_client && accepted && headers.flags.any(TcpFlags::ACK) && !headers.flags.any(TcpFlags::SYN) {
        return promote(&flow, headers, tables, now).map(|()| Ok(rewrite));
    }
    let accepts = !from_client && headers.flags.accepts();
    let changed = accepts.then_some(State::SYN_RECEIVED);
    if !connection::touch(table, &partner, &headers.tuple, changed, now) {
        table.remove(&headers.tuple);
        return None;
    }
    table.with(&headers.tuple, |flow| {
        if let Some(state) = changed {
            flow.state = state;
        }
        flow.last_seen = now;
    });
    Some(Ok(rewrite))
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
    let Some(partner) = tables.half_open().with(&partner_key, |partner| *partner) else {
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
