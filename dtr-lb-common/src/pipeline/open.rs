//! A packet that no entry knows: a client that opens a connection to a service, or nothing of ours. And a connection
//! that one replica did not take, opened to another.
//!
//! **NAT ports.** The replica sees the connection come from a NAT address and port, and that pair must tell it from all
//! others between the balancer and this replica. The entry of the replica's packets *is* the claim: its key is there once at
//! most, so that who enters it has the port. The client's entry follows; both are seen when both are whole.

use super::{Headers, Packet, Scratch, Tables, replay, rewrite, way_back};
use crate::{
    abi::{
        Control, Direction, Flow, KeptSyn, MAX_ATTEMPTED, MAX_NAT_ADDRESSES, Place, Replica, ReplicaId,
        Service, ServiceFlags, ServiceKey, Settings, State, Ticks, Tuple,
    },
    address::{Address, Be16, Family},
    checksum::Delta,
    flow_table::{
        self, Clock, Insertion,
        insert::{self, Replace},
        next_hops,
    },
    hash,
    verdict::Verdict,
};

/// How many ports are tried. With 70 % of a replica's ports taken, one connection in 300 finds none of 16 free.
const PORT_ATTEMPTS: u32 = 16;
/// Insertions for a connection at most.
pub(super) const INSERTIONS: u32 = PORT_ATTEMPTS + 2;
/// So many attempts are polite. After them ports are short, and a port may be taken from a client that has closed
/// another connection on it, and from a handshake that is older than the longest round trip.
const POLITE_ATTEMPTS: u32 = 4;
/// How many slots are looked at for a replica that was not tried yet. With two of seven replicas left to find, one
/// connection in 200 finds none.
const SLOT_ATTEMPTS: u64 = 16;

/// Why a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A client's first SYN, or nothing of ours.
    New,
    /// Its replica refused: the packet is the refusal.
    Refused,
    /// Its replica does not answer: the packet is the client's SYN once more.
    Silent,
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

/// How far the opening of a connection is: what the draft of the notes is, which is to be entered next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing is to be entered: the verdict is there.
    Done,
    /// The replica's entry, with a port.
    Port,
    /// The client's.
    Client,
}

/// Begins to open a connection, as the order in the notes says: to the replica of its slot or, where that one has failed, to
/// another. Then the draft is to be entered, [`advance`] tells how to go on, and so forth until all is done. Each is a stage
/// of its own, and none calls another: a program has 512 bytes of stack for all functions that are under way.
#[inline(always)]
pub(super) fn open(packet: &impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Verdict {
    match begin(packet, tables, scratch) {
        Ok(()) => Verdict::PassedNoFlow,
        Err(verdict) => settle(Err(verdict), packet, tables, scratch),
    }
}

/// Goes on after the draft was entered, or was not.
#[inline(always)]
pub(super) fn advance(packet: &impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Verdict {
    match entered(tables, scratch) {
        Ok(false) => Verdict::PassedNoFlow,
        Ok(true) => settle(Ok(()), packet, tables, scratch),
        Err(verdict) => settle(Err(verdict), packet, tables, scratch),
    }
}

/// The end of it. Where there is no other replica the packet goes on as it would have.
#[inline(always)]
fn settle(
    opened: Result<(), Verdict>,
    packet: &impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Verdict {
    let Scratch { found, leaves, order, replay, progress, draft, target, .. } = scratch;
    *progress = Progress::Done;
    match opened {
        Ok(()) => {
            tables.count(*target, |counters| counters.new_flows += 1);
            leaves.set(draft, tables);
            let Some(replica) = tables.replica(*target) else { return Verdict::DroppedNoReplica };
            leaves.by(replica);
            if order.cause == Cause::New {
                return Verdict::Forwarded;
            }
            tables.count(order.failed, |counters| counters.redispatched += 1);
            *replay = order.cause == Cause::Refused;
            Verdict::Redispatched
        }
        Err(verdict) if order.cause == Cause::New => verdict,
        Err(_) => {
            let memory = &tables.flows();
            if order.cause == Cause::Refused {
                let _ = flow_table::end(memory, found);
            } else if !flow_table::stands(memory, found) {
                // It made room for the first half of what was not to be, and its port is free.
                return Verdict::DroppedBusy;
            }
            leaves.set(found, tables);
            match rewrite::check(packet, tables, scratch) {
                Ok(()) => Verdict::Forwarded,
                Err(verdict) => verdict,
            }
        }
    }
}

/// Finds a replica, and drafts the first entry.
#[inline(always)]
fn begin(packet: &impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Result<(), Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    let seed = settings.hash_seed;
    let id = if scratch.order.cause == Cause::New {
        first(packet, tables, seed, now, scratch)?
    } else {
        another(tables, seed, scratch).ok_or(Verdict::DroppedNoReplica)?
    };
    let replica = tables.replica(id).ok_or(Verdict::DroppedNoReplica)?;
    // A refusal is no packet for the replica: the SYN that takes its place was looked at when it came.
    if scratch.order.cause != Cause::Refused {
        rewrite::reaches(packet, replica, scratch)?;
    }
    scratch.target = id;
    scratch.attempt = 0;
    scratch.random = hash::flow(seed, &scratch.order.client);
    let opening = Opening { id, replica, settings, now };
    if replica.mode.direct() {
        opening.draft_direct(tables, scratch);
    } else {
        opening.draft_port(scratch);
    }
    Ok(())
}

/// Looks how it went with the draft, and drafts the next one. Says whether there is none, as all is done.
#[inline(always)]
fn entered(tables: &impl Tables, scratch: &mut Scratch) -> Result<bool, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let replica = tables.replica(scratch.target).ok_or(Verdict::DroppedNoReplica)?;
    let opening = Opening { id: scratch.target, replica, settings, now: tables.now() };
    let memory = &tables.flows();
    let Scratch { insertion, progress, draft, claimed, attempt, .. } = scratch;
    let direct = draft.direction() == Direction::Direct;
    match (*progress, *insertion) {
        (Progress::Port, Insertion::Done) => {
            *claimed = *draft;
            opening.draft_client(tables, scratch);
            Ok(false)
        }
        // Once more, without what was in the way.
        (Progress::Client, Insertion::Cleared) => Ok(false),
        (Progress::Port, Insertion::Exists | Insertion::Cleared) => {
            *attempt += 1;
            if *attempt >= PORT_ATTEMPTS {
                return Err(Verdict::DroppedNoPort);
            }
            if *insertion == Insertion::Exists {
                opening.draft_port(scratch);
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

/// The replica of a new connection, whose SYN is kept.
#[inline(always)]
fn first(
    packet: &impl Packet,
    tables: &impl Tables,
    seed: u64,
    now: Ticks,
    scratch: &mut Scratch,
) -> Result<ReplicaId, Verdict> {
    let Scratch { headers, draft, kept, .. } = scratch;
    let service = tables.service(&service_key(&headers.tuple)).ok_or(Verdict::PassedNotService)?;
    if headers.fragmented {
        return Err(Verdict::DroppedFragment);
    }
    // Where replicas answer directly, a connection may have been opened by another balancer, before this one took over: by
    // equal tables it goes to the same replica.
    let direct = service.flags.has(ServiceFlags::DIRECT);
    if !headers.flags.opens() && (!direct || headers.flags.any(crate::wire::TcpFlags::RST)) {
        return Err(Verdict::PassedNoFlow);
    }
    if service.sources != 0 && !tables.allowed(service.sources, &headers.tuple.source) {
        return Err(Verdict::DroppedDenied);
    }
    let id = tables.slot(service.table, hash::slot(steering(&service, seed, &headers.tuple)));
    if id == 0 {
        let refuse = service.flags.has(ServiceFlags::REFUSE);
        return Err(if refuse { Verdict::AnsweredRefused } else { Verdict::DroppedNoReplica });
    }
    let hop = way_back(packet).ok_or(Verdict::PassedMalformed)?;
    draft.hop = next_hops::assign(&tables.next_hops(), &hop, now).ok_or(Verdict::DroppedNextHopsFull)?;
    kept.client = headers.tuple;
    kept.attempted = [0; MAX_ATTEMPTED];
    replay::keep(packet, headers, &mut kept.syn).ok_or(Verdict::PassedMalformed)?;
    Ok(id)
}

/// The hash by which a connection is steered.
#[inline(always)]
pub fn steering(service: &Service, seed: u64, client: &Tuple) -> u64 {
    if service.flags.has(ServiceFlags::SOURCE_AFFINITY) {
        hash::source(seed, client)
    } else {
        hash::flow(seed, client)
    }
}

/// A replica that has not failed this handshake yet. `None` if there is none, or the client's SYN is kept no more.
#[inline(always)]
fn another(tables: &impl Tables, seed: u64, scratch: &mut Scratch) -> Option<ReplicaId> {
    let Scratch { order, kept, draft, found, other, .. } = scratch;
    if !tables.kept_syn(order.kept, kept) || kept.client != order.client || !replay::is_kept(&kept.syn) {
        return None;
    }
    draft.hop = if found.direction().from_client() { found.hop } else { other.hop };
    *kept.attempted.iter_mut().find(|id| **id == 0)? = order.failed;
    let service = tables.service(&service_key(&order.client))?;
    let mut hash = steering(&service, seed, &order.client);
    let mut attempt = 0;
    while attempt < SLOT_ATTEMPTS {
        attempt += 1;
        hash = hash::mix(hash, attempt);
        let id = tables.slot(service.table, hash::slot(hash));
        let known = tables.replica(id).is_some_and(|replica| replica.hop.interface != 0);
        if id != 0 && known && !kept.attempted.contains(&id) {
            return Some(id);
        }
    }
    None
}

#[inline(always)]
fn service_key(client: &Tuple) -> ServiceKey {
    ServiceKey::new(client.destination, client.destination_port)
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
    fn draft_direct(&self, tables: &impl Tables, scratch: &mut Scratch) {
        let Scratch { headers, draft, order, kept, claim, progress, .. } = scratch;
        let opens = headers.flags.opens();
        draft.key = order.client;
        draft.to = order.client;
        self.fill(draft, if opens { State::SYN_SENT } else { State::SYN_RECEIVED }, Direction::Direct);
        draft.partner = Place::NONE;
        // The number that has to follow.
        draft.acknowledged = headers.sequence.wrapping_add(1);
        draft.fin = if opens { tables.keep_syn(kept) } else { 0 };
        *claim = Claim { port: false, polite: true };
        *progress = Progress::Client;
    }

    /// Drafts the replica's entry with the port of this attempt.
    #[inline(always)]
    fn draft_port(&self, scratch: &mut Scratch) {
        let Scratch { headers, draft, order, claim, kept, attempt, random, progress, .. } = scratch;
        *random = hash::mix(*random, u64::from(*attempt));
        self.draw(*random, *attempt == 0, &order.client, &mut draft.key);
        draft.to = order.client.reversed();
        self.fill(draft, State::SYN_SENT, Direction::ToClient);
        draft.partner = Place::NONE;
        draft.acknowledged = sequence(kept).wrapping_add(1);
        // A refusal that becomes a SYN carries nothing.
        let carries = if order.cause == Cause::Refused { 0 } else { headers.payload };
        draft.fin = draft.acknowledged.wrapping_add(carries);
        *claim = Claim { port: true, polite: *attempt < POLITE_ATTEMPTS };
        *progress = Progress::Port;
    }

    /// Drafts the client's entry, after the replica's has its port.
    #[inline(always)]
    fn draft_client(&self, tables: &impl Tables, scratch: &mut Scratch) {
        let Scratch { draft, claimed, order, claim, kept, progress, .. } = scratch;
        draft.key = order.client;
        draft.to = claimed.key.reversed();
        self.fill(draft, State::SYN_SENT, Direction::ToReplica);
        draft.partner = claimed.place;
        // A number of its own, until the replica says what the client has to acknowledge: see `connection::replace`.
        draft.acknowledged = sequence(kept).wrapping_add(1);
        draft.fin = tables.keep_syn(kept);
        *claim = Claim { port: false, polite: true };
        *progress = Progress::Client;
    }

    /// Makes `answer` the tuple of the replica's packets with the port of this attempt: the client's own if it may be used, then others
    /// at random but the same each time, so that a client that comes back meets its own resting ports.
    #[inline(always)]
    fn draw(&self, random: u64, first: bool, client: &Tuple, answer: &mut Tuple) {
        let Settings { first_port, port_count, .. } = *self.settings;
        let wish = u32::from(client.source_port.get());
        let port = if first && wish.wrapping_sub(first_port) < port_count {
            wish
        } else {
            first_port + hash::scale(random as u32, port_count)
        };
        // The address is at random, too; the mask tells the verifier what the agent promises.
        let address = hash::scale((random >> 32) as u32, self.replica.nat_count) as usize % MAX_NAT_ADDRESSES;
        answer.source = self.replica.address;
        answer.destination = self.replica.nat[address];
        answer.source_port = self.replica.port;
        answer.destination_port = Be16::new(port as u16);
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

/// The first number of a SYN.
#[inline(always)]
fn sequence(kept: &KeptSyn) -> u32 {
    u32::from_be_bytes(bytemuck::must_cast(kept.syn.sequence))
}

/// Enters the draft of the notes, which say on what terms.
#[inline(always)]
pub(super) fn enter(tables: &impl Tables, scratch: &mut Scratch) {
    let Some(settings) = tables.settings() else {
        scratch.insertion = Insertion::Full;
        return;
    };
    let clock = Clock { settings, now: tables.now() };
    let Scratch { draft, holder, claim, order, insertion, wanted, .. } = scratch;
    *wanted = draft.to;
    let hash = hash::flow_table(&settings.flow_keys, &draft.key);
    let buckets = flow_table::buckets(hash, settings.flow_buckets);
    *insertion = flow_table::insert(&tables.flows(), buckets, draft, holder, &clock, |holder| {
        if !claim.port {
            return replaces_client(holder, order);
        }
        if gives_up_port(holder, wanted, claim.polite, &clock) { Replace::Yes } else { Replace::No }
    });
}

/// The client's entry makes room if it is the one that the order is about, as it was seen then.
#[inline(always)]
fn replaces_client(holder: &Flow, order: &Order) -> Replace {
    if holder.place != order.replaces || holder.control != order.replaced {
        Replace::No
    } else if order.hold {
        Replace::AndHold
    } else {
        Replace::Yes
    }
}

/// Whether a connection must give up its port to one whose replica's packets leave with `to`.
///
/// A handshake must if it is over, or the client's own, or ports are short and it has had the time of the longest round trip,
/// 300 ms. A client may have its own port back at once when its connection has ended: its clock runs on, so that the replica,
/// in TIME_WAIT, takes the new SYN for what it is (RFC 6191). Anybody else's SYN would be answered by a challenge ACK. One
/// address may be several clients behind a NAT, each with its own clock, so that the address alone counts only where ports are
/// short. Where no socket is left at the replica, the port rests only until the last packets are over.
#[inline(always)]
fn gives_up_port(holder: &Flow, to: &Tuple, polite: bool, clock: &Clock<'_>) -> bool {
    let Clock { settings, now } = *clock;
    let own = holder.to == *to;
    let state = holder.state();
    if state.handshake() {
        let age = now.wrapping_sub(holder.opened);
        return own
            || settings.expired(state, holder.last_seen, now)
            || (!polite && age > settings.second * 3 / 10);
    }
    if !state.ended() {
        return false;
    }
    let silent = now.wrapping_sub(holder.last_seen) as i32;
    let no_socket = matches!(state, State::CLOSED | State::CLIENT_RESET | State::REPLICA_RESET);
    own || (!polite && holder.to.destination == to.destination)
        || settings.expired(state, holder.last_seen, now)
        || (no_socket && silent > settings.port_rest as i32)
}

/// What the addresses of a tuple change in the sum of a pseudo-header, where they become those of another.
#[inline(always)]
pub(super) fn difference(from: &Tuple, to: &Tuple) -> Delta {
    let delta = |delta: Delta, old: &Address, new: &Address| match (old.family(), new.family()) {
        (Family::V4, Family::V4) => delta.slices(&old.v4_words(), &new.v4_words()),
        // The mark of a mapped address is all ones, which sums to nothing.
        _ => delta.slices(&old.words(), &new.words()),
    };
    delta(delta(Delta::ZERO, &from.source, &to.source), &from.destination, &to.destination)
}
