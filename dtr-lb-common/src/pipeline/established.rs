//! Packets of established connections: one look-up, and seldom more.

use super::{Family, FlowTable, Headers, Packet, Rewrite, Tables, connection, connection::Touch, way_back};
use crate::{
    abi::{Flow, Settings, Side, State, Ticks},
    verdict::Verdict,
    wire::TcpFlags,
};

/// What one look at an entry tells.
enum Look<F: Family> {
    /// Nothing about the connection changes.
    Forward(Rewrite<F>),
    /// More than this entry is concerned.
    Consider(Flow<F::Address>),
}

/// Flags of packets that may change a connection's state.
const CONTROL: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);

/// What becomes of a packet that has an entry in the flow table; `None` if it has none (any more).
#[inline(always)]
pub(super) fn find<F: Family>(
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Option<Result<Rewrite<F>, Verdict>> {
    let look = tables.flows().with(&headers.tuple, |flow| {
        // The entry is checked against its partner once a second, so that one whose partner was evicted (its NAT port
        // may be another's by now) does not live on. Idle time-outs are longer, so they are looked at there, too.
        if headers.flags.any(CONTROL)
            || !flow.state.steady()
            || now.wrapping_sub(flow.checked) > settings.second
        {
            return Look::Consider(*flow);
        }
        flow.last_seen = now;
        Look::Forward(Rewrite::new(flow))
    })?;
    match look {
        Look::Forward(rewrite) => Some(rewrite.checked(headers, tables)),
        Look::Consider(flow) => consider(&flow, headers, packet, tables, settings, now),
    }
}

#[inline(always)]
fn consider<F: Family>(
    flow: &Flow<F::Address>,
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
    settings: &Settings,
    now: Ticks,
) -> Option<Result<Rewrite<F>, Verdict>> {
    let table = &tables.flows();
    let partner = connection::partner(flow);
    if flow.state == State::RESTING {
        if settings.expired(flow.state, flow.last_seen, now) {
            table.remove(&headers.tuple);
            return None;
        }
        return Some(Err(Verdict::DroppedLate));
    }
    if settings.expired(flow.state, flow.last_seen, now) {
        connection::remove(table, &headers.tuple, &partner);
        return None;
    }
    let from_client = flow.side == Side::TO_REPLICA;
    let over = flow.state.ended() || flow.state == State::CLIENT_RESET || flow.state == State::REPLICA_RESET;
    if from_client && headers.flags.opens() && over {
        // The client uses the tuple again. The replica may still be in TIME_WAIT on the old NAT port.
        table.remove(&headers.tuple);
        let rest = Touch { state: Some(State::RESTING), hop: None };
        connection::touch(table, &partner, &headers.tuple, rest, now);
        return None;
    }
    let after = connection::after(flow.state, headers.flags, from_client);
    let changed = (after != flow.state).then_some(after);
    // The way to a client may change while it is connected: its router fails over, its address moves.
    let hop = if from_client { way_back(packet) } else { None };
    if !connection::touch(table, &partner, &headers.tuple, Touch { state: changed, hop }, now) {
        table.remove(&headers.tuple);
        return None;
    }
    table.with(&headers.tuple, |flow| {
        if let Some(state) = changed {
            flow.state = state;
        }
        flow.last_seen = now;
        flow.checked = now;
    });
    Some(Rewrite::new(flow).checked(headers, tables))
}
