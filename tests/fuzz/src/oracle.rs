//! What must become of each frame, said of connections and of bytes, not of tables.
//!
//! The oracle follows each connection by what its ends, and strangers, send. It demands:
//! - what is passed or dropped is as it came; what leaves is rewritten by the book, to the last byte; what is answered is
//!   answered exactly (`bytes`);
//! - a frame is counted once, and a replica's counters are the sums of what was sent;
//! - a packet of a connection goes on, to its own replica and port, under the verdict that its numbers deserve, unless
//!   something stands in the way that the verdict says; a client's SYN reaches a replica if one can take it;
//! - states change by numbers only that are right (`hears`), and never by a stranger's whose are wrong (`guard`);
//! - after each event the flow table has the entries of all connections, as they are, and no others (`table`): both halves
//!   of a connection agree, no key is there twice, entries do not overlap, handshakes are few in a bucket;
//! - what vanishes may: it is over, or it had to make room where another one stands now. A live NAT connection never does;
//! - no two connections share a replica's end and a NAT end; after a close that leaves the replica's socket in
//!   TIME_WAIT not before that has passed; a handshake may lose its port after 300 ms;
//! - a connection changes its replica by redispatch only, before it was answered, to the one that was to be asked next;
//! - nothing else is forwarded;
//! - each packet that goes on is in its connection's account, and each connection is told once, with what it carried and what was
//!   measured (`accounts`).
//!
//! Which port and which place a connection gets, and which of several has to make room, is the datapath's choice.

mod accounts;
mod bytes;
mod challenge;
pub mod connection;
mod guard;
mod hears;
mod icmp;
mod open;
mod table;

use bytes::Wrong;
use challenge::Challenges;
use connection::{Connection, Phase, Side, Syn};
use dtr_lb_common::{
    abi::{End as How, FlowStats, Mode},
    verdict::{Action, Verdict},
};
use hears::{Fate, Said};
use table::Room;

use crate::{
    memory::Memory,
    net::{End, Ip, Tags, Way, tuple},
    reader::{Seen, Unread, read},
    world::{FIRST_PORT, World},
};

/// A frame that went through the pipeline.
#[derive(Debug)]
pub struct Step<'a> {
    /// Without its tags.
    pub before: &'a [u8],
    /// The way it came.
    pub came: Way,
    /// The tags that it came with.
    pub tags: Tags,
    /// Without the tags that it left with.
    pub after: &'a [u8],
    pub left: Tags,
    pub verdict: Verdict,
    /// Interface by which it is to leave.
    pub interface: u32,
    /// Connections that were opened by it.
    pub opened: u64,
    pub memory: &'a Memory,
}

impl Step<'_> {
    fn world(&self) -> &World {
        &self.memory.world
    }

    /// Whether it was sent to many or to another host.
    fn to_other_host(&self) -> bool {
        let to = self.came.destination;
        to[0] & 1 != 0 || !self.world().takes(to)
    }

    /// Whether it left by this way, as far as interface and Ethernet addresses say.
    fn left_by(&self, way: &Way) -> bool {
        way.leads(self.after) && self.leaves_by(way).is_ok()
    }

    fn leaves_by(&self, way: &Way) -> Result<(), Wrong> {
        if self.interface != way.interface {
            return Err(format!("left by interface {} and not {}", self.interface, way.interface));
        }
        // An answer goes back as what it answers came.
        let answers = self.verdict.action() == Action::Answer;
        let wanted = if answers { self.tags } else { way.vlans.at(self.tags.priority()) };
        if self.left == wanted {
            Ok(())
        } else {
            Err(format!("left with the tags {:02x?} and not {wanted:02x?}", self.left))
        }
    }

    /// Bytes of the frame on the wire.
    fn bytes(&self) -> u64 {
        (self.before.len() + self.tags.bytes().len()) as u64
    }
}

/// What the datapath must have counted by now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub packets: u64,
    pub bytes: u64,
    pub redispatched: u64,
    pub reset: u64,
    pub unanswered: u64,
    /// Packets to clients with data or a FIN.
    pub data_to_client: u64,
    pub new_flows: u64,
}

#[derive(Debug, Default)]
pub struct Oracle {
    pub now: u64,
    pub connections: Vec<Connection>,
    frames: u64,
    sums: Sums,
    /// What the frame may have done to other connections.
    room: Room,
    /// Handshakes in each bucket after the frame before.
    handshakes: Vec<u32>,
    /// How the frame has ended a connection, where the frame says it.
    cause: Option<(usize, How)>,
    /// What must have been counted of connections, by replica.
    stats: Vec<FlowStats>,
    /// Clients that were challenged, and those that have proven themselves.
    challenges: Challenges,
}

impl Oracle {
    /// A client's last connection with a service, even if nothing is left of it.
    pub fn last(&self, client: End, vip: End) -> Option<usize> {
        self.connections.iter().rposition(|one| one.client == client && one.vip == vip)
    }

    /// One of the last connections, of those whose replica answers through the datapath.
    pub fn recent_with_side(&self, recent: usize) -> Option<usize> {
        let mut sides = self.connections.iter().enumerate().rev().filter(|(_, one)| one.side.is_some());
        sides.nth(recent).map(|(at, _)| at)
    }

    /// The connection that a client's packets are of.
    fn current(&self, client: End, vip: End) -> Option<usize> {
        let stands = |one: &Connection| !matches!(one.phase, Phase::Held | Phase::Gone);
        self.last(client, vip).filter(|at| stands(&self.connections[*at]))
    }

    /// The connection that a replica's packets to a NAT end are of.
    fn owner(&self, replica: End, nat: End) -> Option<usize> {
        self.connections.iter().rposition(|one| one.side == Some((replica, nat)) && one.phase != Phase::Gone)
    }

    /// The agent has ended so many entries that had outlived their state.
    pub fn swept(&mut self, count: usize, memory: &Memory) -> Result<(), Wrong> {
        let mut over = 0;
        for one in &mut self.connections {
            if one.phase != Phase::Gone && one.outlived(self.now) {
                one.phase = Phase::Gone;
                over += 1;
            }
        }
        if count != over {
            return Err(format!("{count} connections were swept, and {over} are over"));
        }
        self.settle(memory, Room::No)?;
        self.cause = None;
        self.account(memory, None)
    }

    /// Judges a frame.
    pub fn judge(&mut self, step: &Step<'_>) -> Result<(), Wrong> {
        self.frames += 1;
        counted_once(self.frames, step)?;
        let action = step.verdict.action();
        let as_it_came = step.before == step.after && step.tags == step.left;
        if matches!(action, Action::Pass | Action::Drop) && !as_it_came {
            return Err("changed, though it did not leave".to_owned());
        }
        if step.verdict == Verdict::DroppedRewrite {
            return Err("could not be rewritten".to_owned());
        }
        self.room = Room::No;
        self.cause = None;
        let mut passed = self.passed(step);
        match read(step.before) {
            Err(unread) => unreadable(unread, step)?,
            Ok(_) if !step.world().ready => only(step, Verdict::PassedNotReady)?,
            Ok(seen) if seen.protocol != 6 && step.to_other_host() => only(step, Verdict::PassedOtherHost)?,
            Ok(seen) if seen.protocol != 6 => self.icmp(step, &seen)?,
            Ok(seen) => self.tcp(step, &seen)?,
        }
        self.settle(step.memory, self.room)?;
        passed.counts = self.count(step);
        self.account(step.memory, Some(&passed))?;
        if self.sums == (Sums { new_flows: self.sums.new_flows, ..self.observed(step.memory) }) {
            Ok(())
        } else {
            Err(format!("counters of replicas are {:?} and not {:?}", self.observed(step.memory), self.sums))
        }
    }

    fn tcp(&mut self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        let service = step.world().service_at(seen.to);
        let (side, known) = match service {
            Some(_) => (Side::Client, self.current(seen.from, seen.to)),
            None => (Side::Replica, self.owner(seen.from, seen.to)),
        };
        // What is over is found out by its next packet; of a live one, by the agent's sweep.
        let known = known.filter(|at| {
            let one = &mut self.connections[*at];
            let over = !one.phase.live() && one.outlived(self.now);
            if over {
                one.phase = Phase::Gone;
            }
            !over
        });
        match (known, service) {
            (Some(at), service) => self.of_connection(step, seen, at, side, service),
            (None, Some(service)) => self.opens(step, seen, service, None),
            (None, None) => only(step, Verdict::PassedNotService),
        }
    }

    /// A packet of a connection.
    fn of_connection(
        &mut self,
        step: &Step<'_>,
        seen: &Seen,
        at: usize,
        side: Side,
        service: Option<usize>,
    ) -> Result<(), Wrong> {
        let (world, now) = (step.world(), self.now);
        let one = &self.connections[at];
        if side == Side::Client && step.to_other_host() {
            return only(step, Verdict::PassedOtherHost);
        }
        if one.phase == Phase::Held {
            return only(step, Verdict::DroppedLate);
        }
        if let Some(service) = service
            && seen.opens()
            && one.over()
        {
            return self.opens(step, seen, service, Some(at));
        }
        let impeded = match side {
            Side::Client => self.impeded(world, seen, one.replica, step.verdict),
            Side::Replica => self.impeded_back(seen, &one.client.ip, step.verdict),
        };
        if impeded.any {
            return self.is_stopped(step, seen, impeded);
        }
        let mut heard = one.clone();
        let fate = heard.hears(&Said::of(step.before, seen), side, now);
        if side == Side::Client && one.repeats_syn(seen.opens(), seen.numbers(step.before).0) {
            self.stats[usize::from(one.replica)].syns_again += 1;
        }
        if one.phase.handshake() && !heard.phase.handshake() {
            self.challenges.completed(one.service, one.client, now);
        }
        if fate == Fate::Fails && side == Side::Client {
            let again = Syn::of(step.before, seen);
            let plain = !again.data && seen.network() == if seen.v4 { 20 } else { 40 };
            if plain && !again.whole {
                only(step, Verdict::ForwardedUnverified)?;
                return self.left_to_replica(step, seen, at);
            }
            self.sums.unanswered += u64::from(plain && self.came_whole(step, at));
        }
        if fate == Fate::Anew
            && let Some(service) = service
        {
            return self.opens(step, seen, service, Some(at));
        }
        if fate == Fate::Fails {
            return self.fails(step, seen, at, side);
        }
        let dead = world.replica(one.replica).is_some_and(|(_, replica)| replica.reset);
        let rst = seen.flags & crate::reader::flag::RST != 0;
        if dead && side == Side::Client && !one.phase.handshake() && !rst {
            only(step, Verdict::AnsweredReset)?;
            self.cause = Some((at, How::REPLICA_DOWN));
            self.connections[at].phase = Phase::Gone;
            return self.is_reset(step, seen);
        }
        only(step, if fate == Fate::Unverified { Verdict::ForwardedUnverified } else { Verdict::Forwarded })?;
        match side {
            Side::Client => self.left_to_replica(step, seen, at)?,
            Side::Replica => bytes::rewritten(step.before, seen, step.after, &one.way, one.vip, one.client)
                .and_then(|()| step.leaves_by(&one.way))?,
        }
        match fate {
            Fate::Believed if side == Side::Client && one.tells_way(&Said::of(step.before, seen)) => {
                // Where the client's packets come from may change; there may be no room to note it.
                let back = step.came.back();
                if step.memory.store.takes_hop(&back.hop()) || self.noted(step, at, &back) {
                    heard.way = back;
                }
            }
            Fate::Ends => {
                let end = if side == Side::Client { How::ABANDONED } else { How::REFUSED };
                self.cause = Some((at, end));
                heard.phase = Phase::Gone;
            }
            Fate::Believed | Fate::Ignored | Fate::Unverified | Fate::Fails | Fate::Anew => {}
        }
        self.connections[at] = heard;
        Ok(())
    }

    /// Whether the SYN that is kept of a handshake, if it still is, was whole when it came.
    fn came_whole(&self, step: &Step<'_>, at: usize) -> bool {
        let one = &self.connections[at];
        let Some(kept) = step.memory.store.kept_before(one.kept) else { return false };
        let its_own = kept.client == tuple(one.client, one.vip)
            && bytemuck::bytes_of(&kept.syn.sequence) == one.syn.sequence;
        if !its_own {
            return false;
        }
        // Where a later SYN of the same client with the same number stands in the place, that is looked at.
        let of_its_own = |other: &&Connection| {
            (other.client, other.vip) == (one.client, one.vip)
                && bytemuck::bytes_of(&kept.syn.sequence) == other.syn.sequence
        };
        let came = self.connections.iter().rev().find(of_its_own);
        came.is_some_and(|other| !other.syn.data && other.syn.whole && other.syn.answerable)
    }

    /// Whether the datapath has noted a way to a connection's client.
    fn noted(&self, step: &Step<'_>, at: usize, back: &Way) -> bool {
        let place = self.connections[at].places[Side::Client as usize];
        let entries = step.memory.store.flows.entries();
        let flow = entries.iter().find(|flow| flow.place == place);
        flow.is_some_and(|flow| step.memory.store.hop(flow.hop) == Some(back.hop()))
    }

    fn is_stopped(&self, step: &Step<'_>, seen: &Seen, impeded: Impeded) -> Result<(), Wrong> {
        if !impeded.by_this {
            return Err("must not go on, for another reason".to_owned());
        }
        if step.verdict == Verdict::AnsweredTooBig { self.too_big(step, seen) } else { Ok(()) }
    }

    fn is_reset(&self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        bytes::reset(step.before, seen, step.after, &step.came)?;
        step.leaves_by(&step.came)
    }

    /// Says whether the frame counts as a replica's traffic.
    fn count(&mut self, step: &Step<'_>) -> bool {
        match step.verdict {
            Verdict::Redispatched => self.sums.redispatched += 1,
            Verdict::AnsweredReset => self.sums.reset += 1,
            _ => {}
        }
        // A refusal that becomes a SYN is no traffic of its replica's.
        let refusal =
            step.verdict == Verdict::Redispatched && step.before.len() > 13 && self.was_refusal(step);
        let forwarded = matches!(step.verdict, Verdict::Forwarded | Verdict::ForwardedUnverified);
        let counts = forwarded || (step.verdict == Verdict::Redispatched && !refusal);
        if counts {
            self.sums.packets += 1;
            self.sums.bytes += step.bytes();
            self.sums.data_to_client += u64::from(speaks_to_client(step));
        }
        counts
    }

    fn was_refusal(&self, step: &Step<'_>) -> bool {
        read(step.before).is_ok_and(|seen| step.world().service_at(seen.to).is_none())
    }

    fn observed(&self, memory: &Memory) -> Sums {
        let mut sums = Sums::default();
        for one in memory.store.counters() {
            sums.packets += one.to_client.packets + one.to_replica.packets;
            sums.bytes += one.to_client.bytes + one.to_replica.bytes;
            sums.redispatched += one.redispatched;
            sums.reset += one.reset;
            sums.unanswered += one.unanswered;
            sums.data_to_client += one.data_to_client;
            sums.new_flows += one.new_flows;
        }
        sums
    }

    /// Whether anything stands in the way of a packet to a replica, by what its verdict may be.
    fn impeded(&self, world: &World, seen: &Seen, id: u16, verdict: Verdict) -> Impeded {
        let Some((service, replica)) = world.replica(id) else {
            return Impeded { any: true, by_this: false };
        };
        let crosses = service.mode == Mode::NAT && seen.v4 != replica.end.ip.is_v4();
        let overhead = match (service.mode, replica.end.ip.is_v4()) {
            (Mode::IPIP, true) => 20,
            (Mode::IPIP, false) => 40,
            (Mode::NAT, false) if seen.v4 => 20,
            _ => 0,
        };
        // A length is 16 bits.
        let limit = if replica.mtu == 0 { 0xffff } else { replica.mtu.into() };
        let grows = seen.ip_length + overhead > limit;
        Impeded::of(
            verdict,
            &[
                (Verdict::DroppedFragment, seen.first_fragment),
                (Verdict::DroppedNoNextHop, replica.way.interface == 0),
                (Verdict::DroppedTtlExpired, seen.ttl <= 1 && service.mode != Mode::DSR),
                (Verdict::DroppedUntranslatable, crosses && !seen.translatable()),
                (Verdict::AnsweredTooBig, grows),
                (Verdict::DroppedTooBig, grows),
            ],
        )
    }

    /// The same towards a client.
    fn impeded_back(&self, seen: &Seen, client: &Ip, verdict: Verdict) -> Impeded {
        Impeded::of(
            verdict,
            &[
                (Verdict::DroppedFragment, seen.first_fragment),
                (Verdict::DroppedTtlExpired, seen.ttl <= 1),
                (Verdict::DroppedUntranslatable, seen.v4 != client.is_v4() && !seen.translatable()),
            ],
        )
    }
}

/// What stands in the way of a packet.
#[derive(Clone, Copy, Debug)]
struct Impeded {
    any: bool,
    /// Something does, and the verdict says it.
    by_this: bool,
}

impl Impeded {
    fn of(verdict: Verdict, reasons: &[(Verdict, bool)]) -> Self {
        let any = reasons.iter().any(|(_, holds)| *holds);
        Self { any, by_this: reasons.contains(&(verdict, true)) }
    }
}

/// Whether a NAT end is one that a client's connections to this replica may have.
fn is_nat_end(world: &World, id: u16, client: End, nat: End) -> bool {
    let in_range = nat.port >= FIRST_PORT && nat.port - FIRST_PORT < world.ports;
    world.replica(id).is_some_and(|(service, replica)| match service.mode {
        Mode::DNAT => nat == client,
        _ => in_range && replica.nat.contains(&nat.ip),
    })
}

/// Whether a packet that goes on comes from a replica, with data or a FIN.
fn speaks_to_client(step: &Step<'_>) -> bool {
    let says = |seen: &Seen| seen.payload() != 0 || seen.flags & crate::reader::flag::FIN != 0;
    read(step.before).is_ok_and(|seen| step.world().service_at(seen.to).is_none() && says(&seen))
}

fn counted_once(frames: u64, step: &Step<'_>) -> Result<(), Wrong> {
    let bytes = step.bytes() as u32;
    if step.memory.store.recorded.get() != frames
        || step.memory.store.last.get() != Some((step.verdict, bytes))
    {
        return Err(format!("not counted once: {:?}", step.memory.store.last.get()));
    }
    let told = step.verdict.is_reported();
    let dropped = told.then_some(step.verdict);
    if step.memory.store.reported.take() != dropped {
        return Err("a drop is reported, and nothing else".to_owned());
    }
    Ok(())
}

fn only(step: &Step<'_>, verdict: Verdict) -> Result<(), Wrong> {
    if step.verdict == verdict { Ok(()) } else { Err(format!("must be {}", verdict.name())) }
}

/// What is no TCP or ICMP to look at is the host's. A frame may be short in two ways at once: then either reason is right.
fn unreadable(unread: Unread, step: &Step<'_>) -> Result<(), Wrong> {
    let verdict = step.verdict;
    let right = match unread {
        Unread::NotIp => verdict == Verdict::PassedNotIp,
        // A third tag, or the frame ends in its tags.
        Unread::Vlan if step.tags.0[1].is_some() => verdict == Verdict::PassedVlan,
        Unread::Vlan => verdict == Verdict::PassedMalformed,
        Unread::Malformed => verdict == Verdict::PassedMalformed,
        Unread::OtherProtocol => matches!(verdict, Verdict::PassedNotTcp | Verdict::PassedMalformed),
        Unread::LaterFragment => verdict == Verdict::PassedFragment,
        Unread::Extension => verdict == Verdict::PassedExtension,
    };
    if right { Ok(()) } else { Err(format!("a frame that is unreadable ({unread:?})")) }
}
