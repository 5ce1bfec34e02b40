//! A packet that no entry knows: a client that opens a connection to a service, or nothing of ours. And a connection
//! that one replica did not take, opened to another.
//!
//! **NAT ports.** The replica sees the connection come from a NAT address and port, and that pair must tell it from all
//! others between the balancer and this replica. The entry of the replica's packets *is* the claim: its key is there once at
//! most, so that who enters it has the port. The client's entry follows; both are seen when both are whole. In mode DNAT the
//! pair is the client's own, and claimed in the same way.

use super::{
    Headers, Packet, PacketContext, Tables,
    nat_port::{self, first_number},
    rewrite, steer, way_back,
};
use crate::{
    abi::{
        Control, Direction, End, Flow, MAX_ATTEMPTED, Mode, Place, Replica, ReplicaId, Settings, State,
        Ticks, Tuple,
    },
    flow_table::{
        self, Clock, Insertion, Memory as _,
        insert::{self, Replace},
        next_hops,
    },
    hash,
    verdict::Verdict,
};

/// Insertions for a connection at most.
pub(super) const INSERTIONS: u32 =
    nat_port::ATTEMPTS + nat_port::FURTHER_ATTEMPTS * nat_port::FURTHER_REPLICAS + 2;

/// Why a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A client's first SYN, or nothing of ours.
    New,
    /// Its replica refused: the packet is the refusal.
    Refused,
    /// Its replica has another connection by this port, and answers the SYN by a challenge ACK (RFC 5961 section 4): the packet is that.
    Challenged,
    /// Its replica does not answer: the packet is the client's SYN once more.
    Silent,
}

impl Cause {
    /// Whether the packet is the replica's, in the place of which the client's SYN leaves.
    #[inline(always)]
    const fn is_answer(self) -> bool {
        matches!(self, Self::Refused | Self::Challenged)
    }
}

/// A connection to be opened. Without an `Option` in it: the verifier refuses the register of a value that is not there,
/// even where nothing is made of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) cause: Cause,
    /// The tuple of the client's packets.
    pub(super) client: Tuple,
    /// The replica that failed; 0 where there is none.
    pub(super) failed: ReplicaId,
    /// Where the client's SYN is kept; 0 if it is not.
    pub(super) kept: u32,
    /// The client's entry that makes room for the new one, as it was seen; `NONE` where there is none.
    pub(super) replaces: Place,
    pub(super) replaced: Control,
    /// Whether the replica's entry of what is replaced goes on holding its port.
    pub(super) hold: bool,
}

impl Order {
    pub(super) const NONE: Self = Self {
        cause: Cause::New,
        client: Headers::NONE.tuple,
        failed: 0,
        kept: 0,
        replaces: Place::NONE,
        replaced: Control(0),
        hold: false,
    };
}

/// On what terms an entry is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// It is a replica's: its key is a port.
    port: bool,
    polite: bool,
}

impl Claim {
    pub(super) const NONE: Self = Self { port: false, polite: false };
}

/// How far the opening of a connection is: what the draft in the context is, which is to be entered next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is to be entered: the verdict is there.
    Done,
    /// The replica's entry, with a port.
    Port,
    /// The client's.
    Client,
}

/// Begins to open a connection, as the order in the context says: to the replica of its slot or, where that one has failed, to
/// another. Then the draft is to be entered, [`advance`] tells how to go on, and so forth until all is done. Each is a stage
/// of its own, and none calls another: a program has 512 bytes of stack for all functions that are under way.
#[inline(always)]
pub(super) fn open(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Verdict {
    match begin(packet, tables, context) {
        Ok(()) => Verdict::PassedNoFlow,
        Err(verdict) => settle(Err(verdict), packet, tables, context),
    }
}

/// Goes on after the draft was entered, or was not.
#[inline(always)]
pub(super) fn advance(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Verdict {
    match entered(packet, tables, context) {
        Ok(false) => Verdict::PassedNoFlow,
        Ok(true) => settle(Ok(()), packet, tables, context),
        Err(verdict) => settle(Err(verdict), packet, tables, context),
    }
}

/// The end of it. Where there is no other replica the packet goes on as it would have.
#[inline(always)]
fn settle(
    opened: Result<(), Verdict>,
    packet: &impl Packet,
    tables: &impl Tables,
    context: &mut PacketContext,
) -> Verdict {
    let PacketContext { found, egress, order, resend_syn, progress, draft, target, .. } = context;
    *progress = Progress::Done;
    match opened {
        Ok(()) => {
            tables.count(*target, |counters| counters.new_flows += 1);
            egress.set(draft, tables);
            let Some(replica) = tables.replica(*target) else { return Verdict::DroppedNoReplica };
            egress.by(replica);
            if order.cause == Cause::New {
                return Verdict::Forwarded;
            }
            tables.count(order.failed, |counters| counters.redispatched += 1);
            *resend_syn = order.cause.is_answer();
            Verdict::Redispatched
        }
        Err(verdict) if order.cause == Cause::New => verdict,
        Err(_) => {
            let memory = &tables.flows();
            if order.cause == Cause::Refused {
                let _ = flow_table::end(memory, found, End::REFUSED);
            } else if !flow_table::stands(memory, found) {
                // It made room for the first half of what was not to be, and its port is free.
                return Verdict::DroppedBusy;
            }
            egress.set(found, tables);
            match rewrite::check(packet, tables, context) {
                Ok(()) => Verdict::Forwarded,
                Err(verdict) => verdict,
            }
        }
    }
}

/// Finds a replica, and drafts the first entry.
#[inline(always)]
fn begin(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Result<(), Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    let seed = settings.hash_seed;
    let id = if context.order.cause == Cause::New {
        first(packet, tables, now, context)?
    } else {
        steer::another(tables, seed, now, context).ok_or(Verdict::DroppedNoReplica)?
    };
    let replica = tables.replica(id).ok_or(Verdict::DroppedNoReplica)?;
    // A refusal is no packet for the replica: the SYN that takes its place was looked at when it came.
    if !context.order.cause.is_answer() {
        rewrite::reaches(packet, replica, context)?;
    }
    context.target = id;
    (context.attempt, context.further, context.beside_handshakes) = (0, 0, false);
    context.random = hash::flow(seed, &context.order.client);
    let opening = Opening { id, replica, settings, now };
    if replica.mode.direct() {
        opening.draft_direct(tables, context);
    } else {
        opening.draft_port(context);
    }
    Ok(())
}

/// Looks how it went with the draft, and drafts the next one. Says whether there is none, as all is done.
#[inline(always)]
fn entered(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Result<bool, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let replica = tables.replica(context.target).ok_or(Verdict::DroppedNoReplica)?;
    let opening = Opening { id: context.target, replica, settings, now: tables.now() };
    let memory = &tables.flows();
    let PacketContext { insertion, progress, draft, claimed, holder, attempt, beside_handshakes, .. } =
        context;
    let direct = draft.direction() == Direction::Direct;
    match (*progress, *insertion) {
        (Progress::Port, Insertion::Done) => {
            *claimed = *draft;
            opening.draft_client(tables, context);
            Ok(false)
        }
        // Once more, without what was in the way.
        (Progress::Client, Insertion::Cleared) => Ok(false),
        (Progress::Port, Insertion::Exists | Insertion::Cleared) => {
            *beside_handshakes |= holder.state().handshake();
            *attempt += 1;
            if nat_port::is_last(*attempt, *insertion == Insertion::Exists, replica) {
                return to_another(packet, tables, settings, context);
            }
            if *insertion == Insertion::Exists {
                opening.draft_port(context);
            }
            Ok(false)
        }
        (_, Insertion::Done) => {
            if !direct {
                claimed.partner = draft.place;
                flow_table::publish(memory, claimed);
            }
            flow_table::publish(memory, draft);
            Ok(true)
        }
        (at, failed) => {
            if at == Progress::Client && !direct {
                insert::withdraw(memory, claimed);
            }
            // Of two of the same SYN at once, one is enough.
            Err(if failed == Insertion::Full { Verdict::AnsweredTableFull } else { Verdict::DroppedBusy })
        }
    }
}

/// No port towards the replica is free: drafts the entry of another one. There may be none. Then who asks is refused; unless ports are held
/// by handshakes, in a flood most likely: they are free again when the client asks again.
#[inline(always)]
fn to_another(
    packet: &impl Packet,
    tables: &impl Tables,
    settings: &Settings,
    context: &mut PacketContext,
) -> Result<bool, Verdict> {
    let PacketContext { order, steered, kept, target, further, beside_handshakes, .. } = context;
    let none = if *beside_handshakes { Verdict::DroppedNoPort } else { Verdict::AnsweredNoPort };
    // What was sent on to a replica by now may still be answered by it.
    if order.cause != Cause::New || *further >= nat_port::FURTHER_REPLICAS {
        return Err(none);
    }
    *further += 1;
    let further = *further;
    let id = steer::untried(tables, settings.hash_seed, &steered.service, *target, kept).ok_or(none)?;
    let replica = tables.replica(id).ok_or(none)?;
    // The agent may have changed its service meanwhile.
    if replica.mode.direct() {
        return Err(none);
    }
    rewrite::reaches(packet, replica, context).map_err(|_| none)?;
    context.target = id;
    context.attempt = nat_port::first_attempt(further);
    Opening { id, replica, settings, now: tables.now() }.draft_port(context);
    Ok(false)
}

/// The replica of a new connection, whose SYN is kept.
#[inline(always)]
fn first(
    packet: &impl Packet,
    tables: &impl Tables,
    now: Ticks,
    context: &mut PacketContext,
) -> Result<ReplicaId, Verdict> {
    let PacketContext { headers, steered, draft, kept, is_read, .. } = context;
    let hop = way_back(packet, &context.tags).ok_or(Verdict::PassedMalformed)?;
    draft.hop = next_hops::assign(&tables.next_hops(), &hop, now).ok_or(Verdict::DroppedNextHopsFull)?;
    kept.client = headers.tuple;
    kept.attempted = [0; MAX_ATTEMPTED];
    if !*is_read {
        return Err(Verdict::PassedMalformed);
    }
    Ok(steered.replica)
}

/// A connection about to be.
struct Opening<'a> {
    id: ReplicaId,
    replica: &'a Replica,
    settings: &'a Settings,
    now: Ticks,
}

impl Opening<'_> {
    /// Drafts the only entry of a connection whose replica answers directly.
    #[inline(always)]
    fn draft_direct(&self, tables: &impl Tables, context: &mut PacketContext) {
        let PacketContext { headers, draft, order, kept, claim, progress, .. } = context;
        let opens = headers.flags.opens();
        draft.key = order.client;
        draft.to = order.client;
        self.fill(draft, if opens { State::SYN_SENT } else { State::SYN_RECEIVED }, Direction::Direct);
        draft.partner = Place::NONE;
        // The number that has to follow.
        draft.acknowledged = headers.sequence.wrapping_add(1);
        kept.asked = tables.micros();
        draft.fin = if opens { tables.keep_syn(kept) } else { 0 };
        *claim = Claim { port: false, polite: true };
        *progress = Progress::Client;
    }

    /// Drafts the replica's entry with the port of this attempt.
    #[inline(always)]
    fn draft_port(&self, context: &mut PacketContext) {
        let PacketContext { headers, draft, order, claim, kept, attempt, further, random, progress, .. } =
            context;
        *random = nat_port::random(*random, *attempt);
        nat_port::draw(*random, *attempt, self.replica, self.settings, &order.client, &mut draft.key);
        draft.to = order.client.reversed();
        self.fill(draft, State::SYN_SENT, Direction::ToClient);
        draft.partner = Place::NONE;
        draft.acknowledged = first_number(&kept.syn).wrapping_add(1);
        // A refusal that becomes a SYN carries nothing.
        let carries = if order.cause.is_answer() { 0 } else { headers.payload };
        draft.fin = draft.acknowledged.wrapping_add(carries);
        *claim = Claim {
            port: true,
            polite: self.replica.mode != Mode::DNAT && nat_port::is_polite(*attempt, *further),
        };
        *progress = Progress::Port;
    }

    /// Drafts the client's entry, after the replica's has its port.
    #[inline(always)]
    fn draft_client(&self, tables: &impl Tables, context: &mut PacketContext) {
        let PacketContext { draft, claimed, order, claim, kept, progress, .. } = context;
        draft.key = order.client;
        draft.to = claimed.key.reversed();
        self.fill(draft, State::SYN_SENT, Direction::ToReplica);
        draft.partner = claimed.place;
        // A number of its own, until the replica says what the client has to acknowledge: see `connection::replace`.
        draft.acknowledged = first_number(&kept.syn).wrapping_add(1);
        kept.asked = tables.micros();
        draft.fin = tables.keep_syn(kept);
        *claim = Claim { port: false, polite: true };
        *progress = Progress::Client;
    }

    /// Fills in what both directions have in common. Key, rewriting, hop and numbers stay.
    #[inline(always)]
    fn fill(&self, flow: &mut Flow, state: State, direction: Direction) {
        flow.control = Control::new(state, direction, false);
        flow.replica = self.id;
        flow.last_seen = self.now;
        flow.opened = self.now;
    }
}

/// Enters the draft in the context, which says on what terms.
#[inline(always)]
pub(super) fn enter(tables: &impl Tables, context: &mut PacketContext) {
    let Some(settings) = tables.settings() else {
        context.insertion = Insertion::Full;
        return;
    };
    let clock = Clock { settings, now: tables.now() };
    let PacketContext { draft, holder, claim, order, kept, insertion, wanted, .. } = context;
    *wanted = draft.to;
    holder.control = Control(0);
    let hash = hash::flow_table(&settings.flow_keys, &draft.key);
    let buckets = flow_table::buckets(hash, settings.flow_buckets);
    // A client's were looked at when its SYN came.
    if claim.port {
        tables.flows().fetch(buckets);
    }
    *insertion = flow_table::insert(&tables.flows(), buckets, draft, holder, &clock, |holder| {
        if !claim.port {
            return replaces_client(holder, order);
        }
        if !nat_port::gives_up(holder, wanted, &kept.syn, claim.polite, &clock) {
            Replace::No
        } else if holder.to == *wanted {
            Replace::Own
        } else {
            Replace::Yes
        }
    });
}

/// The client's entry makes room if it is the one that the order is about, as it was seen then.
#[inline(always)]
fn replaces_client(holder: &Flow, order: &Order) -> Replace {
    if holder.place != order.replaces || holder.control != order.replaced {
        Replace::No
    } else if order.hold {
        Replace::OwnAndHold
    } else {
        Replace::Own
    }
}
