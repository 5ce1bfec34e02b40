//! The two entries of a connection as one thing.

use super::{Family, FlowTable};
use crate::{
    abi::{Flow, State, Ticks, Tuple},
    wire::TcpFlags,
};

/// The key of the other direction's entry.
#[inline(always)]
pub(super) fn partner<A: Copy>(flow: &Flow<A>) -> Tuple<A> {
    flow.to.reversed()
}

/// Removes an entry and, if it is still its pair, the other direction's: that one's key may have found a new partner.
#[inline(always)]
pub(super) fn remove<F: Family>(
    table: &impl FlowTable<F>,
    key: &Tuple<F::Address>,
    partner_key: &Tuple<F::Address>,
) {
    table.remove(key);
    if table.with(partner_key, |flow| partner(flow) == *key && flow.state != State::RESTING) == Some(true) {
        table.remove(partner_key);
    }
}

/// The state after a packet with `flags` from a client or from a replica. A FIN or a reset only: all others change
/// nothing once a connection is established.
#[inline(always)]
pub(super) fn after(state: State, flags: TcpFlags, from_client: bool) -> State {
    if flags.any(TcpFlags::RST) {
        return if state == State::TIME_WAIT { state } else { State::CLOSED };
    }
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

/// Marks the other direction of `key` as seen and, if there is one, sets its new state. Says whether `partner_key` still
/// is that other direction.
#[inline(always)]
pub(super) fn touch<F: Family>(
    table: &impl FlowTable<F>,
    partner_key: &Tuple<F::Address>,
    key: &Tuple<F::Address>,
    state: Option<State>,
    now: Ticks,
) -> bool {
    let pair = table.with(partner_key, |flow| {
        if partner(flow) != *key || flow.state == State::RESTING {
            return false;
        }
        if let Some(state) = state {
            flow.state = state;
        }
        flow.last_seen = now;
        true
    });
    pair == Some(true)
}
