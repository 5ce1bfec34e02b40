//! Packets of connections that stand in the table: what each changes, and whether it goes on.

use super::{
    Packet, Scratch, Tables, handshake,
    open::{Cause, Order},
    rewrite,
    sequence::{self, Event},
    sweep, way_back,
};
use crate::{
    abi::{Settings, Ticks},
    flow_table::{self, Control, Direction, Flow, Line as _, Memory, Place, State, entry::word, next_hops},
    hash,
    verdict::Verdict,
    wire::TcpFlags,
};

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It leaves as its entry says, under this verdict.
    Leaves(Verdict),
    /// It is of no connection, or opens one: the order in the notes says which.
    Opens,
}

/// What two looks at a connection tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// There is none.
    No,
    Yes,
    /// Another processor is changing it.
    Busy,
}

/// Looks for the connection of packets with the tuple of the notes' `found.key`, and reads both of its entries into the notes. What
/// is left of one that is gone is taken away.
#[inline(always)]
pub(super) fn look_up(tables: &impl Tables, settings: &Settings, now: Ticks, scratch: &mut Scratch) -> Known {
    let Scratch { wanted, found: flow, other, .. } = scratch;
    let memory = &tables.flows();
    let hash = hash::flow_table(&settings.flow_keys, wanted);
    if !flow_table::find(memory, wanted, flow_table::buckets(hash, settings.flow_buckets), flow) {
        return Known::No;
    }
    let state = flow.state();
    if flow.direction() != Direction::Direct
        && state != State::TIME_WAIT_HELD
        && !flow_table::partner(memory, flow, other)
    {
        let Some(line) = memory.line(flow.partner) else { return Known::No };
        if Control(line.load(word::CONTROL)).locked() {
            return Known::Busy;
        }
        // The other half is gone, or another connection's.
        let _ = flow_table::end(memory, flow);
        return Known::No;
    }
    // A live one that has outlived the idle time-out goes on until both ends are told, by the agent.
    if !state.live() && sweep::outlived(settings, flow, other.last_seen, now) {
        let _ = flow_table::end(memory, flow);
        return Known::No;
    }
    Known::Yes
}

/// Decides what becomes of a TCP packet.
#[inline(always)]
pub(super) fn decide(
    packet: &impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Result<Decision, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    scratch.wanted = scratch.headers.tuple;
    match look_up(tables, settings, now, scratch) {
        Known::Busy => return Err(Verdict::DroppedBusy),
        Known::No => {
            scratch.order = Order { client: scratch.headers.tuple, ..Order::NONE };
            return Ok(Decision::Opens);
        }
        Known::Yes => {}
    }
    let flow = &scratch.found;
    let state = flow.state();
    if state == State::TIME_WAIT_HELD {
        return Err(Verdict::DroppedLate);
    }
    if flow.direction().from_client() && scratch.headers.flags.opens() && sequence::over(flow) {
        // The client uses the tuple again. The replica may still be in TIME_WAIT on the old NAT port.
        scratch.order = Order {
            client: scratch.headers.tuple,
            replaces: flow.place,
            replaced: flow.control,
            hold: true,
            ..Order::NONE
        };
        return Ok(Decision::Opens);
    }
    scratch.leaves.set(&scratch.found, tables);
    rewrite::check(packet, tables, scratch)?;
    if state.handshake() {
        return handshake::decide(packet, tables, settings, now, scratch);
    }
    let verdict = goes_on(packet, tables, now, scratch);
    let Scratch { headers, leaves, found, .. } = scratch;
    // A flow of a dead replica ends here: its client, told by a reset, opens another connection now and not when it has waited
    // long enough.
    if leaves.reset && !headers.flags.any(TcpFlags::RST) {
        let _ = flow_table::end(&tables.flows(), found);
        tables.count(leaves.replica, |counters| counters.reset += 1);
        return Err(Verdict::AnsweredReset);
    }
    Ok(Decision::Leaves(verdict))
}

/// A packet of a connection that is established, or was.
#[inline(always)]
fn goes_on(packet: &impl Packet, tables: &impl Tables, now: Ticks, scratch: &mut Scratch) -> Verdict {
    let Scratch { headers, found: flow, other, .. } = scratch;
    let memory = &tables.flows();
    let direct = flow.direction() == Direction::Direct;
    let from_client = flow.direction().from_client();
    let flags = headers.flags;
    let plausible = direct || sequence::in_window(headers.sequence, other.acknowledged);
    let end = headers.sequence.wrapping_add(headers.payload);
    let reset = flags.any(TcpFlags::RST);
    let fin = !reset && flags.any(TcpFlags::FIN);
    let pending = flow.control.fin(from_client);
    let event = Event {
        from_client,
        reset: reset && (direct || sequence::resets(headers.sequence, flow, other)),
        fin: fin && plausible,
        acknowledges_fin: !reset
            && flags.any(TcpFlags::ACK)
            && flow.control.fin(!from_client)
            && headers.acknowledgment == other.fin,
        talks_on: !reset && !fin && pending && headers.payload != 0 && end.wrapping_sub(flow.fin) as i32 >= 0,
    };
    if flags.any(TcpFlags::SYN) {
        // A SYN-ACK comes again where the client's ACK was lost.
        let repeated = flags.accepts() && !from_client && plausible;
        return if repeated { Verdict::Forwarded } else { Verdict::ForwardedUnverified };
    }
    let unverified = (reset && !event.reset) || (fin && !event.fin);
    // What does not fit says nothing about the connection, not even that somebody is there.
    if unverified || !(plausible || event.acknowledges_fin) {
        return if unverified { Verdict::ForwardedUnverified } else { Verdict::Forwarded };
    }
    if event.fin && !direct {
        set(memory, flow, word::FIN, end.wrapping_add(1));
    }
    let changed = if direct { direct_event(event, flow.control) } else { event.apply(flow.control) };
    if changed != flow.control {
        change(
            memory,
            flow,
            other,
            |control| {
                if direct { direct_event(event, control) } else { event.apply(control) }
            },
        );
    }
    set(memory, flow, word::LAST_SEEN, now);
    if flags.any(TcpFlags::ACK) && !reset {
        set(memory, flow, word::ACKNOWLEDGED, headers.acknowledgment);
    }
    if from_client {
        follow_client(packet, tables, now, flow, other);
    }
    Verdict::Forwarded
}

/// Of a direct mode only the client is seen: what it says is taken for true. Nothing is lost by it that its next packet does not
/// bring back.
#[inline(always)]
fn direct_event(event: Event, control: Control) -> Control {
    if event.fin {
        return control.with_state(State::CLIENT_CLOSED);
    }
    event.apply(control)
}

/// Writes a word of an entry, if it is still the connection's that was read.
#[inline(always)]
pub(super) fn set<M: Memory>(memory: &M, flow: &Flow, at: usize, value: u32) {
    if let Some(line) = memory.line(flow.place)
        && Control(line.load(word::CONTROL)).version() == flow.control.version()
    {
        line.store(at, value);
    }
}

/// Changes the state of a connection by either of its entries: the client's first, then the replica's.
#[inline(always)]
pub(super) fn change<M: Memory>(
    memory: &M,
    flow: &Flow,
    other: &Flow,
    next: impl Fn(Control) -> Control,
) -> bool {
    let (client, replica) = if flow.direction().from_client() { (flow, other) } else { (other, flow) };
    let version = client.control.version();
    if flow_table::transition(memory, client.place, version, next).is_none() {
        return false;
    }
    if flow.direction() != Direction::Direct {
        flow_table::copy_state(memory, client.place, version, replica);
    }
    true
}

/// Where the client's packets come from may change while it is connected: its router fails over, its address moves.
#[inline(always)]
fn follow_client(packet: &impl Packet, tables: &impl Tables, now: Ticks, flow: &Flow, other: &Flow) {
    let Some(hop) = way_back(packet) else { return };
    let hops = &tables.next_hops();
    if next_hops::get(hops, flow.hop) == Some(hop) {
        return;
    }
    let Some(index) = next_hops::assign(hops, &hop, now) else { return };
    let memory = &tables.flows();
    let words = |flow: &Flow, hop: u16| u32::from(flow.replica) | u32::from(hop) << 16;
    if flow.partner != Place::NONE {
        exchange(memory, other, words(other, other.hop), words(other, index));
    }
    exchange(memory, flow, words(flow, flow.hop), words(flow, index));
}

#[inline(always)]
fn exchange<M: Memory>(memory: &M, flow: &Flow, old: u32, new: u32) {
    if let Some(line) = memory.line(flow.place)
        && Control(line.load(word::CONTROL)).version() == flow.control.version()
    {
        // Where it fails another processor has seen a newer packet.
        let _ = line.exchange(word::REPLICA_HOP, old, new);
    }
}

/// An order to ask another replica for a handshake whose client's entry is `client`.
#[inline(always)]
pub(super) fn again(cause: Cause, client: &Flow) -> Order {
    Order {
        cause,
        client: client.key,
        failed: client.replica,
        kept: client.fin,
        replaces: client.place,
        replaced: client.control,
        hold: false,
    }
}
