//! The two entries of a connection as one thing.

use super::{FlowEntry as _, FlowTable};
use crate::{
    abi::{Flow, Hop, State, Ticks, Tuple},
    wire::TcpFlags,
};

/// The key of the other direction's entry.
#[inline(always)]
pub(super) fn partner(flow: &Flow) -> Tuple {
    flow.to.reversed()
}

/// Removes an entry and, if it is still its pair, the other direction's: that one's key may have found a new partner.
#[inline(always)]
pub(super) fn remove(table: &impl FlowTable, key: &Tuple, partner_key: &Tuple) {
    table.remove(key);
    let is_pair = |flow: &Flow| partner(flow) == *key && flow.state != State::RESTING;
    if table.with(partner_key, |entry| is_pair(entry.flow())) == Some(true) {
        table.remove(partner_key);
    }
}

/// The state after a packet with `flags` from a client or from a replica.
///
/// A reset is believed only as long as nobody contradicts it: its sequence number is not looked at, so that a stranger
/// can send one, and the end that ignores it goes on talking.
#[inline(always)]
pub(super) fn after(state: State, flags: TcpFlags, from_client: bool) -> State {
    let reset = if from_client { State::CLIENT_RESET } else { State::REPLICA_RESET };
    if flags.any(TcpFlags::RST) {
        return if state.ended() { state } else { reset };
    }
    let state = if state == reset { State::ESTABLISHED } else { state };
    if !flags.any(TcpFlags::FIN) {
        return state;
    }
    match (state, from_client) {
        (State::ESTABLISHED, true) => State::CLIENT_CLOSED,
        (State::ESTABLISHED, false) => State::REPLICA_CLOSED,
        (State::CLIENT_CLOSED, false) => State::CLOSED,
        (State::REPLICA_CLOSED, true) => State::TIME_WAIT,
        _ => state,
    }
}

/// What a packet changes in the other direction's entry.
#[derive(Clone, Copy, Default)]
pub(super) struct Touch {
    pub(super) state: Option<State>,
    /// The way to the client, seen from a packet of the client's.
    pub(super) hop: Option<Hop>,
}

/// Marks the other direction of `key` as seen, and changes it. Says whether `partner_key` still is that other direction.
#[inline(always)]
pub(super) fn touch(
    table: &impl FlowTable,
    partner_key: &Tuple,
    key: &Tuple,
    touch: Touch,
    now: Ticks,
) -> bool {
    let pair = table.with(partner_key, |entry| {
        let flow = entry.flow();
        if partner(flow) != *key || flow.state == State::RESTING {
            return false;
        }
        if let Some(state) = touch.state {
            flow.state = state;
        }
        if let Some(hop) = touch.hop {
            flow.hop = hop;
        }
        flow.last_seen = now;
        true
    });
    pair == Some(true)
}
