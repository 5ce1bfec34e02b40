//! Packets of handshakes. A handshake stands in the same table as a connection, as a state that others may push out, and
//! becomes one by a change of its control words.
//!
//! It is over when the client acknowledges the number of the replica's SYN-ACK: a stranger who has invented his address has not
//! seen it. What a replica sends in a connection that it holds for established proves the same.
//!
//! A replica that fails a handshake does not fail the client: where it refuses, the client's SYN is sent to another one in
//! place of the refusal; where it is silent, the client's next SYN goes to another one.

use super::{
    Packet, Scratch, Tables,
    connection::{self, Decision},
    open::Cause,
    sequence,
};
use crate::{
    abi::{Settings, Ticks},
    flow_table::{self, Control, Direction, Flow, Memory, State, entry::word},
    verdict::Verdict,
    wire::TcpFlags,
};

/// What becomes of a packet of a handshake, which may leave as its entry says.
#[inline(always)]
pub(super) fn decide(
    _packet: &impl Packet,
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Result<Decision, Verdict> {
    match scratch.found.direction() {
        Direction::ToReplica => from_client(tables, settings, now, scratch),
        Direction::ToClient => from_replica(tables, now, scratch),
        Direction::Direct => direct(tables, settings, now, scratch),
    }
}

const LEAVES: Result<Decision, Verdict> = Ok(Decision::Leaves(Verdict::Forwarded));
const UNVERIFIED: Result<Decision, Verdict> = Ok(Decision::Leaves(Verdict::ForwardedUnverified));

#[inline(always)]
fn from_client(
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Result<Decision, Verdict> {
    let Scratch { headers, found: flow, other, order, .. } = scratch;
    let memory = &tables.flows();
    let flags = headers.flags;
    let unanswered = flow.state() == State::SYN_SENT;
    if flags.any(TcpFlags::RST) {
        // Of a client that gives up; or its answer to a challenge ACK, which is for the replica.
        if headers.sequence != other.acknowledged {
            return UNVERIFIED;
        }
        let _ = flow_table::end(memory, flow);
        return LEAVES;
    }
    if flags.opens() {
        if headers.sequence.wrapping_add(1) != other.acknowledged {
            return UNVERIFIED;
        }
        if unanswered && asks_again(flow, settings, now) {
            tables.count(flow.replica, |counters| counters.unanswered += 1);
            *order = connection::again(Cause::Silent, flow);
            return Ok(Decision::Opens);
        }
        connection::set(memory, flow, word::LAST_SEEN, now);
        return LEAVES;
    }
    let proves = !unanswered
        && flags.any(TcpFlags::ACK)
        && !flags.any(TcpFlags::SYN)
        && headers.acknowledgment == flow.acknowledged
        && sequence::in_window(headers.sequence, other.acknowledged);
    if !proves {
        return UNVERIFIED;
    }
    promote(memory, now, scratch);
    LEAVES
}

/// A client waits a second for the first answer (RFC 6298 section 2); a SYN that comes again earlier is a duplicate.
#[inline(always)]
fn asks_again(flow: &Flow, settings: &Settings, now: Ticks) -> bool {
    now.wrapping_sub(flow.opened) > settings.second / 2
}

#[inline(always)]
fn from_replica(tables: &impl Tables, now: Ticks, scratch: &mut Scratch) -> Result<Decision, Verdict> {
    let Scratch { headers, found: flow, other: client, order, .. } = scratch;
    let memory = &tables.flows();
    let flags = headers.flags;
    let unanswered = flow.state() == State::SYN_SENT;
    let of_our_syn = flags.any(TcpFlags::ACK) && headers.acknowledgment == flow.acknowledged;
    if flags.any(TcpFlags::RST) {
        if unanswered && of_our_syn {
            tables.count(flow.replica, |counters| counters.refused += 1);
            *order = connection::again(Cause::Refused, client);
            return Ok(Decision::Opens);
        }
        if unanswered || headers.sequence != client.acknowledged {
            return UNVERIFIED;
        }
        let _ = flow_table::end(memory, flow);
        return LEAVES;
    }
    if flags.accepts() {
        if !of_our_syn {
            return UNVERIFIED;
        }
        // What the client has to acknowledge. A replica under a flood may have sent another number before (SYN cookies).
        connection::set(memory, client, word::ACKNOWLEDGED, headers.sequence.wrapping_add(1));
        connection::set(memory, flow, word::LAST_SEEN, now);
        if unanswered {
            connection::change(memory, flow, client, |control| {
                if control.state() == State::SYN_SENT {
                    control.with_state(State::SYN_RECEIVED)
                } else {
                    control
                }
            });
        }
        return LEAVES;
    }
    // A challenge ACK, or what a replica says that has got the client's ACK before we did.
    let proves = !unanswered
        && flags.any(TcpFlags::ACK)
        && headers.sequence == client.acknowledged
        && sequence::in_window(headers.acknowledgment, flow.acknowledged);
    if proves {
        promote(memory, now, scratch);
    }
    LEAVES
}

/// A replica that answers directly is not seen, so that the client's word counts: the number that follows its SYN. Such a
/// connection takes no port, and may be pushed out.
#[inline(always)]
fn direct(
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Result<Decision, Verdict> {
    let Scratch { headers, found: flow, order, .. } = scratch;
    let memory = &tables.flows();
    let flags = headers.flags;
    let opened_here = flow.state() == State::SYN_SENT;
    if flags.any(TcpFlags::RST) {
        let _ = flow_table::end(memory, flow);
        return LEAVES;
    }
    if flags.opens() {
        if opened_here
            && headers.sequence.wrapping_add(1) == flow.acknowledged
            && asks_again(flow, settings, now)
        {
            tables.count(flow.replica, |counters| counters.unanswered += 1);
            *order = connection::again(Cause::Silent, flow);
            return Ok(Decision::Opens);
        }
        connection::set(memory, flow, word::LAST_SEEN, now);
        return LEAVES;
    }
    let proves = flags.any(TcpFlags::ACK)
        && (!opened_here || sequence::in_window(headers.sequence, flow.acknowledged));
    if !proves {
        return UNVERIFIED;
    }
    promote(memory, now, scratch);
    LEAVES
}

/// Makes a handshake a connection: two words. A FIN that came with the proof waits like any other.
#[inline(always)]
fn promote<M: Memory>(memory: &M, now: Ticks, scratch: &mut Scratch) {
    let Scratch { headers, found: flow, other, .. } = scratch;
    let from_client = flow.direction().from_client();
    let direct = flow.direction() == Direction::Direct;
    let fin = headers.flags.any(TcpFlags::FIN);
    if fin && !direct {
        let end = headers.sequence.wrapping_add(headers.payload).wrapping_add(1);
        connection::set(memory, flow, word::FIN, end);
    }
    connection::set(memory, flow, word::LAST_SEEN, now);
    connection::set(memory, flow, word::ACKNOWLEDGED, headers.acknowledgment);
    connection::change(memory, flow, other, |control: Control| {
        if !control.state().handshake() {
            return control;
        }
        match (fin, direct) {
            (true, true) => control.with_state(State::CLIENT_CLOSED),
            (true, false) => control.with_state(State::ESTABLISHED).with_fin(from_client, true),
            _ => control.with_state(State::ESTABLISHED),
        }
    });
}
