//! Packets of handshakes. A handshake stands in the same table as a connection, as a state that others may push out, and
//! becomes one by a change of its control words.
//!
//! It is over when the client acknowledges the number of the replica's SYN-ACK: a stranger who has invented his address has not
//! seen it. What a replica sends in a connection that it holds for established proves the same.
//!
//! A replica that fails a handshake does not fail the client: where it refuses, the client's SYN is sent to another one in
//! place of the refusal; where it is silent, the client's next SYN goes to another one.

use super::{
    PacketContext, Tables,
    connection::{self, Decision, Step},
    open::Cause,
    sequence::{self, Event},
};
use crate::{
    abi::{End, Settings, Ticks, stat},
    flow_table::{Direction, Flow, State},
    verdict::Verdict,
    wire::TcpFlags,
};

const LEAVES: Decision = Decision::Leaves(Verdict::Forwarded);

/// What a packet of a handshake makes of it. The packet may leave as its entry says.
#[inline(always)]
pub(super) fn consider(
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    context: &mut PacketContext,
) -> Step {
    match context.found.direction() {
        Direction::ToReplica => from_client(tables, settings, now, context),
        Direction::ToClient => from_replica(tables, context),
        Direction::Direct => direct(tables, settings, now, context),
    }
}

#[inline(always)]
fn from_client(tables: &impl Tables, settings: &Settings, now: Ticks, context: &mut PacketContext) -> Step {
    let PacketContext { headers, found: flow, other, order, .. } = context;
    let flags = headers.flags;
    let unanswered = flow.state() == State::SYN_SENT;
    let event = Event::FROM_CLIENT;
    if flags.any(TcpFlags::RST) {
        // Of a client that gives up; or its answer to a challenge ACK, which is for the replica.
        return if headers.sequence == other.acknowledged {
            Step::end(LEAVES, End::ABANDONED)
        } else {
            Step::UNVERIFIED
        };
    }
    if flags.opens() {
        if headers.sequence.wrapping_add(1) != other.acknowledged {
            if !unanswered {
                return Step::UNVERIFIED;
            }
            // Nothing has proven the first one: whoever invented it must not keep the client from its own.
            *order = connection::instead(headers.tuple, flow, false);
            return Step::quiet(Decision::Opens);
        }
        tables.tally(flow.replica, stat::SYNS_AGAIN, 1);
        if unanswered && asks_again(flow, settings, now) {
            *order = connection::again(Cause::Silent, flow);
            return Step::quiet(Decision::Opens);
        }
        return Step::tell(event);
    }
    let proves = !unanswered
        && flags.any(TcpFlags::ACK)
        && !flags.any(TcpFlags::SYN)
        && headers.acknowledgment == flow.acknowledged
        && sequence::in_window(headers.sequence, other.acknowledged);
    if !proves {
        return Step::UNVERIFIED;
    }
    Step::tell(event.with(Event::PROVES, true).with(Event::FIN, flags.any(TcpFlags::FIN)))
}

/// A client waits a second for the first answer (RFC 6298 section 2); a SYN that comes again earlier is a duplicate.
#[inline(always)]
fn asks_again(flow: &Flow, settings: &Settings, now: Ticks) -> bool {
    now.wrapping_sub(flow.opened) > settings.second / 2
}

#[inline(always)]
fn from_replica(tables: &impl Tables, context: &mut PacketContext) -> Step {
    let PacketContext { headers, found: flow, other: client, order, .. } = context;
    let flags = headers.flags;
    let unanswered = flow.state() == State::SYN_SENT;
    // The SYN, and what it carried or a part of that (RFC 7413 section 4.2.2).
    let of_our_syn = flags.any(TcpFlags::ACK)
        && headers.acknowledgment.wrapping_sub(flow.acknowledged) <= flow.fin.wrapping_sub(flow.acknowledged);
    if flags.any(TcpFlags::RST) {
        if unanswered && of_our_syn {
            tables.count(flow.replica, |counters| counters.refused += 1);
            *order = connection::again(Cause::Refused, client);
            return Step::quiet(Decision::Opens);
        }
        let ends = !unanswered && headers.sequence == client.acknowledged;
        return if ends { Step::end(LEAVES, End::REFUSED) } else { Step::UNVERIFIED };
    }
    if flags.accepts() {
        return if of_our_syn { Step::tell(Event::ACCEPTS) } else { Step::UNVERIFIED };
    }
    // The port is another connection's there: one that a flood has left, or that was closed without its knowledge. Nobody's failure.
    let challenges =
        flags.any(TcpFlags::ACK) && !flags.any(TcpFlags::FIN) && headers.payload == 0 && !of_our_syn;
    if unanswered && challenges {
        *order = connection::again(Cause::Challenged, client);
        return Step::quiet(Decision::Opens);
    }
    // What a replica says that has got the client's ACK before we did. Else it is a challenge ACK, for the client to answer.
    let proves = !unanswered
        && flags.any(TcpFlags::ACK)
        && headers.sequence == client.acknowledged
        && sequence::in_window(headers.acknowledgment, flow.acknowledged);
    if !proves {
        return Step::quiet(LEAVES);
    }
    Step::tell(Event::PROVES.with(Event::FIN, flags.any(TcpFlags::FIN)))
}

/// A replica that answers directly is not seen, so that the client's word counts: the number that follows its SYN. Such a
/// connection takes no port, and may be pushed out.
#[inline(always)]
fn direct(tables: &impl Tables, settings: &Settings, now: Ticks, context: &mut PacketContext) -> Step {
    let PacketContext { headers, found: flow, order, .. } = context;
    let flags = headers.flags;
    let opened_here = flow.state() == State::SYN_SENT;
    let event = Event::FROM_CLIENT.with(Event::DIRECT, true);
    if flags.any(TcpFlags::RST) {
        return Step::end(LEAVES, End::ABANDONED);
    }
    if flags.opens() {
        let same = headers.sequence.wrapping_add(1) == flow.acknowledged;
        tables.tally(flow.replica, stat::SYNS_AGAIN, u64::from(same));
        if opened_here && same && asks_again(flow, settings, now) {
            *order = connection::again(Cause::Silent, flow);
            return Step::quiet(Decision::Opens);
        }
        return Step::tell(event);
    }
    let proves = flags.any(TcpFlags::ACK)
        && (!opened_here || sequence::in_window(headers.sequence, flow.acknowledged));
    if !proves {
        return Step::UNVERIFIED;
    }
    Step::tell(event.with(Event::PROVES, true).with(Event::FIN, flags.any(TcpFlags::FIN)))
}
