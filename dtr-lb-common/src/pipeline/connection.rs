//! Packets of connections that stand in the table: what each changes, and whether it goes on.

use super::{
    Packet, PacketContext, Tables, handshake,
    milestone::Turn,
    open::{Cause, Order},
    parse, rewrite,
    sequence::{self, Event},
    sweep, way_back,
};
use crate::{
    abi::{End, Settings, Ticks, Tuple},
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
    /// It does not.
    Stops(Verdict),
    /// It is of no connection, or opens one: the order in the context says which.
    Opens,
}

/// What a packet makes of its connection. There is one place where a connection ends and one where it changes, so that the
/// verifier looks at each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) decision: Decision,
    /// The connection ends: this is how.
    pub(super) ends: bool,
    pub(super) end: End,
    /// The packet tells something about its connection, which goes on. If not, not even that somebody is there.
    pub(super) tells: bool,
    pub(super) event: Event,
}

impl Step {
    #[inline(always)]
    pub(super) const fn quiet(decision: Decision) -> Self {
        Self { decision, ends: false, end: End::AGAIN, tells: false, event: Event::NONE }
    }

    #[inline(always)]
    pub(super) const fn end(decision: Decision, end: End) -> Self {
        Self { ends: true, end, ..Self::quiet(decision) }
    }

    /// It leaves, and its connection changes.
    #[inline(always)]
    pub(super) const fn tell(event: Event) -> Self {
        Self { event, tells: true, ..Self::quiet(Decision::Leaves(Verdict::Forwarded)) }
    }

    pub(super) const UNVERIFIED: Self = Self::quiet(Decision::Leaves(Verdict::ForwardedUnverified));

    /// As one number, of which the verifier is to know nothing.
    #[inline(always)]
    const fn packed(self) -> u64 {
        let (kind, verdict) = match self.decision {
            Decision::Leaves(verdict) => (0, verdict as u64),
            Decision::Stops(verdict) => (1, verdict as u64),
            Decision::Opens => (2, 0),
        };
        kind | verdict << 8
            | (self.ends as u64) << 16
            | (self.tells as u64) << 17
            | (self.event.0 as u64) << 24
            | (self.end.0 as u64) << 32
    }

    #[inline(always)]
    const fn unpacked(number: u64) -> Self {
        let verdict = match Verdict::from_number((number >> 8 & 0xff) as u32) {
            Some(verdict) => verdict,
            None => Verdict::DroppedRewrite,
        };
        let decision = match number & 0xff {
            0 => Decision::Leaves(verdict),
            1 => Decision::Stops(verdict),
            _ => Decision::Opens,
        };
        let (ends, tells) = (number >> 16 & 1 != 0, number >> 17 & 1 != 0);
        let end = End((number >> 32) as u32);
        Self { decision, ends, end, tells, event: Event((number >> 24) as u8) }
    }
}

/// What two looks at a connection tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// There is none.
    No,
    /// What is left of one, which is in the way of nobody, and is to go.
    Gone,
    Yes,
    /// Another processor is changing it.
    Busy,
}

/// Looks for the connection of packets with the tuple that the context wants, and reads both of its entries into the context. Most
/// likely there is none if the packet opens one.
#[inline(always)]
pub(super) fn look_up(
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    context: &mut PacketContext,
    opens: bool,
) -> Known {
    let PacketContext { wanted, found: flow, other, .. } = context;
    let memory = &tables.flows();
    let hash = hash::flow_table(&settings.flow_keys, wanted);
    let buckets = flow_table::buckets(hash, settings.flow_buckets);
    if opens {
        memory.fetch(buckets);
    }
    if !flow_table::find(memory, wanted, buckets, flow) {
        return Known::No;
    }
    let state = flow.state();
    if flow.direction() != Direction::Direct
        && state != State::TIME_WAIT_HELD
        && !flow_table::partner(memory, flow, other)
    {
        let Some(line) = memory.line(flow.partner) else { return Known::Gone };
        // Or the other half is gone, or another connection's.
        return if Control(line.load(word::CONTROL)).locked() { Known::Busy } else { Known::Gone };
    }
    // A live one that has outlived the idle time-out goes on until both ends are told, by the agent.
    if !state.live() && sweep::outlived(settings, flow, other.last_seen, now) {
        return Known::Gone;
    }
    Known::Yes
}

/// Decides what becomes of a TCP packet, and of its connection.
#[inline(always)]
pub(super) fn decide(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Decision {
    let Some(settings) = tables.settings() else { return Decision::Stops(Verdict::PassedNotReady) };
    let now = tables.now();
    let step = consider(packet, tables, settings, now, context);
    let memory = &tables.flows();
    let packed = memory.opaque(step.packed());
    let step = Step::unpacked(packed);
    if step.ends {
        let _ = flow_table::end(memory, &context.found, step.end);
    } else if step.tells {
        tell(packet, tables, now, step.event, context);
        context.completes = step.event.has(Event::PROVES);
    }
    step.decision
}

#[inline(always)]
fn consider(
    packet: &impl Packet,
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    context: &mut PacketContext,
) -> Step {
    context.wanted = context.headers.tuple;
    let opens = context.headers.flags.opens();
    let known = look_up(tables, settings, now, context, opens);
    if known == Known::Busy {
        return Step::quiet(Decision::Stops(Verdict::DroppedBusy));
    }
    if known != Known::Yes {
        context.order = Order { client: context.headers.tuple, ..Order::NONE };
        let opens = Step::quiet(Decision::Opens);
        return if known == Known::Gone { Step { ends: true, end: End::OUTLIVED, ..opens } } else { opens };
    }
    let flow = &context.found;
    let state = flow.state();
    if flow.direction().from_client() && context.to_other_host {
        return Step::quiet(Decision::Stops(Verdict::PassedOtherHost));
    }
    if state == State::TIME_WAIT_HELD {
        return Step::quiet(Decision::Stops(Verdict::DroppedLate));
    }
    if flow.direction().from_client() && context.headers.flags.opens() && sequence::over(flow) {
        // The client uses the tuple again. The replica may still be in TIME_WAIT on the old NAT port.
        context.order = instead(context.headers.tuple, flow, true);
        return Step::quiet(Decision::Opens);
    }
    context.egress.set(&context.found, tables);
    if let Err(verdict) = rewrite::check(packet, tables, context) {
        return Step::quiet(Decision::Stops(verdict));
    }
    if state.handshake() {
        return handshake::consider(tables, settings, now, context);
    }
    let PacketContext { headers, egress, .. } = context;
    // A flow of a dead replica ends here: its client, told by a reset, opens another connection now and not when it has waited
    // long enough.
    if egress.reset && !headers.flags.any(TcpFlags::RST) {
        tables.count(egress.replica, |counters| counters.reset += 1);
        return Step::end(Decision::Stops(Verdict::AnsweredReset), End::REPLICA_DOWN);
    }
    goes_on(context)
}

/// A packet of a connection that is established, or was.
#[inline(always)]
fn goes_on(context: &PacketContext) -> Step {
    let PacketContext { headers, found: flow, other, .. } = context;
    let direct = flow.direction() == Direction::Direct;
    let from_client = flow.direction().from_client();
    let event = Event::NONE.with(Event::FROM_CLIENT, from_client).with(Event::DIRECT, direct);
    let flags = headers.flags;
    let plausible = direct || sequence::in_window(headers.sequence, other.acknowledged);
    if flags.any(TcpFlags::SYN) {
        // A SYN-ACK comes again where the client's ACK was lost.
        let repeated = flags.accepts() && !from_client && plausible;
        return if repeated { Step::quiet(Decision::Leaves(Verdict::Forwarded)) } else { Step::UNVERIFIED };
    }
    if flags.any(TcpFlags::RST) {
        if !direct && headers.sequence != other.acknowledged {
            return Step::UNVERIFIED;
        }
        return Step::tell(event.with(Event::RESET, true));
    }
    let fin = flags.any(TcpFlags::FIN);
    let end = headers.sequence.wrapping_add(headers.payload);
    let acknowledges_fin =
        flags.any(TcpFlags::ACK) && flow.control.fin(!from_client) && headers.acknowledgment == other.fin;
    // What does not fit says nothing about the connection, not even that somebody is there.
    if !plausible && !acknowledges_fin {
        // But for what the fast path does not hold against the window, which takes the other direction's entry.
        return match (fin, flow.control.steady() && flags.any(TcpFlags::ACK)) {
            (true, _) => Step::UNVERIFIED,
            (false, true) => Step::tell(Event::NONE),
            (false, false) => Step::quiet(Decision::Leaves(Verdict::Forwarded)),
        };
    }
    let talks_on = !fin
        && flow.control.fin(from_client)
        && headers.payload != 0
        && end.wrapping_sub(flow.fin) as i32 >= 0;
    Step::tell(
        event
            .with(Event::FIN, fin && plausible)
            .with(Event::ACKNOWLEDGES_FIN, acknowledges_fin)
            .with(Event::TALKS_ON, talks_on),
    )
}

/// Writes down what a packet tells, and in the context what its connection was and has become by it, and by no other packet.
#[inline(always)]
fn tell(packet: &impl Packet, tables: &impl Tables, now: Ticks, event: Event, context: &mut PacketContext) {
    let PacketContext { headers, found: flow, other, turn, .. } = context;
    let memory = &tables.flows();
    if event.has(Event::FIN) {
        let end = headers.sequence.wrapping_add(headers.payload).wrapping_add(1);
        replace(memory, flow, word::FIN, end);
    }
    set(memory, flow, word::LAST_SEEN, now);
    if event.has(Event::ACCEPTS) {
        // What the client has to acknowledge. A replica under a flood may have sent another number before (SYN cookies).
        let expected = headers.sequence.wrapping_add(1);
        replace(memory, other, word::EXPECTED, expected);
        set(memory, other, word::ACKNOWLEDGED, expected);
    } else if headers.flags.any(TcpFlags::ACK)
        && !event.has(Event::RESET)
        && (event.has(Event::PROVES) || !flow.state().handshake())
    {
        set(memory, flow, word::ACKNOWLEDGED, headers.acknowledgment);
    }
    if event.apply(flow.control) != flow.control {
        *turn = change(memory, flow, other, event);
    }
    let context = &*context;
    let PacketContext { headers, found: flow, other, .. } = context;
    let numbers = [headers.sequence, headers.acknowledgment];
    // In a handshake they were held against what was sent, exactly.
    let is_clients = event.has(Event::DIRECT)
        || flow.state().handshake()
        || sequence::near(numbers, [other.acknowledged, flow.acknowledged]);
    if event.has(Event::FROM_CLIENT) && is_clients {
        follow_client(packet, tables, now, context);
    }
    note_clock(packet, memory, event, context);
}

/// Leaves the timestamp of a client's FIN in the replica's entry: by that a replica in TIME_WAIT tells a new SYN from an old one
/// ([`super::nat_port`]). That of the first FIN, or of a later one that is ahead, as the replica takes no others (RFC 7323 section 5).
#[inline(always)]
fn note_clock<M: Memory>(packet: &impl Packet, memory: &M, event: Event, context: &PacketContext) {
    let PacketContext { headers, found: flow, other, .. } = context;
    // As one number: the verifier would follow each way to it by itself.
    let fin = event.has(Event::FIN)
        & (flow.direction() == Direction::ToReplica)
        & ((flow.state() == State::ESTABLISHED) | (flow.state() == State::REPLICA_CLOSED));
    if memory.opaque(fin.into()) == 0 {
        return;
    }
    let timestamp = memory.opaque(parse::timestamp(packet, headers).into()) as u32;
    if !flow.control.fin(true) || timestamp.wrapping_sub(other.timestamp) as i32 > 0 {
        replace(memory, other, word::TIMESTAMP, timestamp);
    }
}

/// Writes a word of an entry, if it is still the connection's that was read. It may be another one's by the time that this is stored:
/// for words by which nothing is decided that the next packet would not put right.
#[inline(always)]
fn set<M: Memory>(memory: &M, flow: &Flow, at: usize, value: u32) {
    if let Some(line) = memory.line(flow.place)
        && Control(line.load(word::CONTROL)).version() == flow.control.version()
    {
        line.store(at, value);
    }
}

/// The same for a word that decides. By an exchange: what comes late finds another number there, that of another connection, and
/// leaves it. Else it might stand in the way of a handshake for good, or in an address of a wide entry.
#[inline(always)]
fn replace<M: Memory>(memory: &M, flow: &Flow, at: usize, value: u32) {
    let Some(line) = memory.line(flow.place) else { return };
    let before = line.load(at);
    if Control(line.load(word::CONTROL)).version() == flow.control.version() {
        // Where it fails another processor has seen the same, or the connection is gone.
        let _ = line.exchange(at, before, value);
    }
}

/// Changes the state of a connection by either of its entries: the client's first, then the replica's.
#[inline(always)]
fn change<M: Memory>(memory: &M, flow: &Flow, other: &Flow, event: Event) -> Turn {
    let (client, replica) = if flow.direction().from_client() { (flow, other) } else { (other, flow) };
    let version = client.control.version();
    // Who makes it an end sees to it that this is told; one who goes on talking takes that back.
    let next = |control: Control| {
        let next = event.apply(control);
        next.with_told(next.state().ended())
    };
    let Some((was, is)) = flow_table::transition(memory, client.place, version, next) else {
        return Turn::NONE;
    };
    if !event.has(Event::DIRECT) {
        flow_table::copy_state(memory, client.place, version, replica);
    }
    Turn { was, is }
}

/// Where the client's packets come from may change while it is connected: its router fails over, its address moves.
#[inline(always)]
fn follow_client(packet: &impl Packet, tables: &impl Tables, now: Ticks, context: &PacketContext) {
    let PacketContext { found: flow, other, tags, .. } = context;
    let Some(hop) = way_back(packet, tags) else { return };
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

/// An order to open a connection in the place of what the client's entry `client` is about, whose port is held or not.
#[inline(always)]
pub(super) fn instead(tuple: Tuple, client: &Flow, hold: bool) -> Order {
    Order { client: tuple, replaces: client.place, replaced: client.control, hold, ..Order::NONE }
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
