//! Packets of established connections: one look-up, and seldom more.

use super::{FlowTable, Packet, Scratch, Tables, connection, connection::Touch, rewrite, way_back};
use crate::{
    abi::{Flow, Settings, Side, State, Ticks},
    verdict::Verdict,
    wire::TcpFlags,
};

/// Flags of packets that may change a connection's state.
const CONTROL: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);

/// What one look at the flow table tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The packet has no entry.
    Absent,
    /// It has, and nothing about the connection changes.
    Steady,
    /// It has, and more than this entry is concerned.
    Consider,
}

/// Looks a packet up.
#[inline(always)]
pub(super) fn look(tables: &impl Tables, settings: &Settings, scratch: &mut Scratch) -> Look {
    let Scratch { headers, found, leaves, .. } = scratch;
    let now = tables.now();
    let look = tables.flows().with(&headers.tuple, |flow| {
        // The entry is checked against its partner once a second, so that one whose partner was evicted (its NAT port
        // may be another's by now) does not live on. Idle time-outs are longer, so they are looked at there, too.
        if headers.flags.any(CONTROL)
            || !flow.state.steady()
            || now.wrapping_sub(flow.checked) > settings.second
        {
            *found = *flow;
            return Look::Consider;
        }
        flow.last_seen = now;
        leaves.set(flow);
        Look::Steady
    });
    look.unwrap_or(Look::Absent)
}

/// What becomes of a packet that concerns more than its own entry; `None` if it has none any more.
#[inline(always)]
pub(super) fn consider(
    packet: &impl Packet,
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Option<Result<(), Verdict>> {
    let Scratch { headers, found: flow, leaves, .. } = scratch;
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
    let from_client = flow.side != Side::TO_CLIENT;
    let direct = flow.side == Side::DIRECT;
    if from_client && headers.flags.opens() && over(flow) {
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
    if !direct && !connection::touch(table, &partner, &headers.tuple, Touch { state: changed, hop }, now) {
        table.remove(&headers.tuple);
        return None;
    }
    table.with(&headers.tuple, |flow| {
        if let Some(state) = changed {
            flow.state = state;
        }
        if direct && let Some(hop) = hop {
            flow.hop = hop;
        }
        flow.last_seen = now;
        flow.checked = now;
    });
    leaves.set(flow);
    Some(Ok(()))
}

/// Whether a connection is over for its client, whose SYN with the same tuple opens another one.
#[inline(always)]
pub fn over(flow: &Flow) -> bool {
    flow.state.ended()
        || flow.state == State::CLIENT_RESET
        || flow.state == State::REPLICA_RESET
        // The replica's end of it is not seen.
        || (flow.side == Side::DIRECT && flow.state == State::CLIENT_CLOSED)
}

/// The last look. A flow of a dead replica ends here: its client, told by a reset, opens another connection now and not
/// when it has waited long enough.
#[inline(always)]
pub(super) fn leave(
    packet: &impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Result<(), Verdict> {
    rewrite::check(packet, tables, scratch)?;
    let Scratch { headers, leaves, .. } = scratch;
    if leaves.reset && !headers.flags.any(TcpFlags::RST) {
        connection::remove(&tables.flows(), &headers.tuple, &leaves.to.reversed());
        tables.count(leaves.replica, |counters| counters.reset += 1);
        return Err(Verdict::AnsweredReset);
    }
    Ok(())
}
