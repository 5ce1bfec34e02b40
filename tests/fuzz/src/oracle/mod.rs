//! What must become of each frame, said of connections and of bytes, not of tables.
//!
//! The oracle follows each connection by what was forwarded. It demands:
//! - what is passed or dropped is as it came; what leaves is rewritten by the book, to the last byte; what is answered is
//!   answered exactly (`bytes`);
//! - a frame is counted once, and a replica's counters are the sums of what was sent;
//! - a connection that is open, or about to be, has each of its packets forwarded, to its own replica and port, unless
//!   something stands in the way that the verdict says; a client's SYN reaches a replica if one can take it;
//! - what a replica sends reaches the client whose connection it is part of, while that is the client's last one;
//! - no two connections share a replica's end and a NAT end; after a close that leaves the replica's socket in
//!   TIME_WAIT not before that has passed; a handshake may lose its port after 300 ms;
//! - a connection changes its replica by redispatch only, before it was answered, to one that was not asked yet;
//! - a connection of which half was evicted is forgotten within a second;
//! - nothing else is forwarded.
//!
//! Where an entry was evicted or a table is full, the oracle holds to who gets what, and not to what must be forwarded.

mod bytes;
mod client;
pub mod connection;
mod icmp;
mod replica;

use bytes::Wrong;
use connection::{Connection, Phase, Syn};
use dtr_lb_common::{
    abi::{Mode, Tuple},
    verdict::{Action, Verdict},
};

use crate::{
    memory::Memory,
    net::{End, Ip, Way, tuple},
    reader::{Seen, Unread, flag, read},
    world::{FIRST_PORT, Full, SECOND, World},
};

/// A frame that went through the pipeline.
#[derive(Debug)]
pub struct Step<'a> {
    pub before: &'a [u8],
    /// The way it came.
    pub came: Way,
    pub after: &'a [u8],
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

    /// Whether it left by this way, as far as interface and Ethernet addresses say.
    fn left_by(&self, way: &Way) -> bool {
        way.leads(self.after) && way.interface == self.interface
    }

    fn leaves_by(&self, way: &Way) -> Result<(), Wrong> {
        if self.interface == way.interface {
            Ok(())
        } else {
            Err(format!("left by interface {} and not {}", self.interface, way.interface))
        }
    }
}

/// What the datapath must have counted by now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub packets: u64,
    pub bytes: u64,
    pub redispatched: u64,
    pub reset: u64,
    pub new_flows: u64,
}

#[derive(Debug, Default)]
pub struct Oracle {
    pub now: u64,
    pub connections: Vec<Connection>,
    frames: u64,
    sums: Sums,
}

impl Oracle {
    /// The connection of a client's packets: its last one.
    pub fn current(&self, client: End, vip: End) -> Option<usize> {
        self.connections.iter().rposition(|one| one.client == client && one.vip == vip)
    }

    /// The connection of a replica's packets: the last one that had this NAT end.
    fn owner(&self, replica: End, nat: End) -> Option<usize> {
        self.connections.iter().rposition(|one| one.side == Some((replica, nat)))
    }

    /// An entry vanished.
    pub fn evicted(&mut self, key: &Tuple, memory: &Memory) {
        let lost = !memory.flows.has(key) && !memory.half_open.has(key);
        for one in &mut self.connections {
            let of_client = tuple(one.client, one.vip) == *key;
            if of_client || one.side.is_some_and(|(replica, nat)| tuple(replica, nat) == *key) {
                one.sure = false;
                if lost {
                    one.evicted.get_or_insert(self.now);
                }
            }
        }
    }

    /// Judges a frame.
    pub fn judge(&mut self, step: &Step<'_>) -> Result<(), Wrong> {
        self.frames += 1;
        counted_once(self.frames, step)?;
        let action = step.verdict.action();
        if matches!(action, Action::Pass | Action::Drop) && step.before != step.after {
            return Err("changed, though it did not leave".to_owned());
        }
        if step.verdict == Verdict::DroppedRewrite {
            return Err("could not be rewritten".to_owned());
        }
        match read(step.before) {
            Err(unread) => unreadable(unread, step.verdict)?,
            Ok(seen) if seen.protocol != 6 => self.icmp(step, &seen)?,
            Ok(_) if !step.world().ready => only(step, Verdict::PassedNotReady)?,
            Ok(seen) => self.tcp(step, &seen)?,
        }
        self.count(step);
        if self.sums == (Sums { new_flows: self.sums.new_flows, ..self.observed(step.memory) }) {
            Ok(())
        } else {
            Err(format!("counters of replicas are {:?} and not {:?}", self.observed(step.memory), self.sums))
        }
    }

    fn tcp(&mut self, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        // What made room did so before the frame left, and may have made room for its own connection.
        let mut evicted = step.memory.flows.take_evicted();
        evicted.extend(step.memory.half_open.take_evicted());
        evicted.iter().for_each(|key| self.evicted(key, step.memory));
        let result = if let Some(service) = step.world().service_at(seen.to) {
            self.of_client(step, seen, service)
        } else if let Some(owner) = self.owner(seen.from, seen.to) {
            self.of_replica(step, seen, owner)
        } else {
            only(step, Verdict::PassedNotService)
        };
        evicted.iter().for_each(|key| self.evicted(key, step.memory));
        let World { full, half_open, .. } = *step.world();
        if full == Full::Fails && step.memory.half_open.count() + 2 > half_open {
            // A claim may have made room for itself and then found none for the other direction.
            self.connections.iter_mut().for_each(|one| one.sure = false);
        }
        result
    }

    fn count(&mut self, step: &Step<'_>) {
        match step.verdict {
            Verdict::Redispatched => self.sums.redispatched += 1,
            Verdict::AnsweredReset => self.sums.reset += 1,
            _ => {}
        }
        // A refusal that becomes a SYN is no traffic of its replica's.
        let refusal =
            step.verdict == Verdict::Redispatched && step.before.len() > 13 && self.was_refusal(step);
        if step.verdict == Verdict::Forwarded || (step.verdict == Verdict::Redispatched && !refusal) {
            self.sums.packets += 1;
            self.sums.bytes += step.before.len() as u64;
        }
    }

    fn was_refusal(&self, step: &Step<'_>) -> bool {
        read(step.before).is_ok_and(|seen| step.world().service_at(seen.to).is_none())
    }

    fn observed(&self, memory: &Memory) -> Sums {
        let mut sums = Sums::default();
        for one in memory.counters() {
            sums.packets += one.to_client.packets + one.to_replica.packets;
            sums.bytes += one.to_client.bytes + one.to_replica.bytes;
            sums.redispatched += one.redispatched;
            sums.reset += one.reset;
            sums.new_flows += one.new_flows;
        }
        sums
    }

    /// A packet of a connection went on.
    fn goes_on(&mut self, at: usize, step: &Step<'_>, seen: &Seen, from_client: bool) -> Result<(), Wrong> {
        let now = self.now;
        let one = &mut self.connections[at];
        if one.evicted.is_some_and(|evicted| now - evicted > u64::from(SECOND)) {
            return Err(format!("half evicted long ago, and not forgotten: {one:?}"));
        }
        if one.sure && (one.phase == Phase::Gone || now - one.last > one.lifetime()) {
            return Err(format!("over, and not forgotten: {one:?}"));
        }
        let established = !one.is_handshake();
        let mut phase = one.after(seen.flags, from_client);
        // A table that is full takes a connection later.
        if !established && from_client && phase != Phase::Gone && phase != one.phase {
            let open = step.memory.flows.has(&tuple(one.client, one.vip));
            phase = if open { phase } else { one.phase };
        }
        if from_client {
            let control = seen.flags & (flag::SYN | flag::FIN | flag::RST) != 0;
            let back = step.came.back();
            if established && (control || now - one.client_last > u64::from(SECOND)) && one.sure {
                one.ways.clear();
            }
            if established && !one.ways.contains(&back) {
                one.ways.push(back);
            }
            one.client_last = now;
        }
        one.phase = phase;
        one.last = now;
        Ok(())
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

    /// A packet of a connection did not go on.
    fn stops(&mut self, at: usize, seen: &Seen) {
        let now = self.now;
        let one = &mut self.connections[at];
        if one.phase == Phase::Gone {
            return;
        }
        if one.sure && now - one.last > one.lifetime() {
            one.phase = Phase::Gone;
            return;
        }
        // In the last second of its time it may be over for one direction and not yet for the other.
        one.sure &= one.surely_in_time(now);
        // Of a handshake nothing is noted before it is known to go on.
        if one.is_handshake() || one.phase == Phase::Resting {
            return;
        }
        one.last = now;
        // The datapath has noted it, as far as it got.
        if one.is_reset() || seen.flags & (flag::SYN | flag::FIN | flag::RST) != 0 {
            one.sure = false;
        }
    }

    /// The client of a connection that is over has sent another SYN.
    fn rests(&mut self, at: usize) {
        let now = self.now;
        let one = &mut self.connections[at];
        if matches!(one.phase, Phase::Resting | Phase::Gone) {
            return;
        }
        one.sure &= one.surely_in_time(now);
        // A reset connection keeps its port, too; one of a replica that answers directly has none.
        let rests = !one.sure || (one.over() && one.side.is_some());
        one.phase = if rests { Phase::Resting } else { Phase::Gone };
        one.last = now;
    }

    /// A SYN was sent to a replica, with this NAT end.
    fn begins(&mut self, begun: Connection) -> Result<(), Wrong> {
        for one in self.connections.iter_mut().filter(|one| begun.side.is_some() && one.side == begun.side) {
            if one.surely_holds_against(&begun.client.ip, self.now) {
                return Err(format!("{:?} got the NAT port of {one:?}", begun.client));
            }
            // Whatever was left of it has made room.
            one.phase = Phase::Gone;
        }
        self.connections.push(begun);
        Ok(())
    }

    /// The connection of a client with a replica, about to begin.
    fn new_connection(&self, step: &Step<'_>, seen: &Seen, service: usize, id: u16) -> Connection {
        Connection {
            client: seen.from,
            service,
            vip: seen.to,
            replica: id,
            side: None,
            phase: if seen.opens() { Phase::Asked } else { Phase::Answered },
            began: self.now,
            last: self.now,
            client_last: self.now,
            sure: true,
            evicted: None,
            ways: vec![step.came.back()],
            outer: None,
            tried: Vec::new(),
            syn: Syn::of(step.before, seen),
        }
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

/// Whether a NAT end is one that connections to this replica may have.
fn is_nat_end(world: &World, id: u16, nat: End) -> bool {
    let in_range = nat.port >= FIRST_PORT && nat.port - FIRST_PORT < world.ports;
    in_range && world.replica(id).is_some_and(|(_, replica)| replica.nat.contains(&nat.ip))
}

fn counted_once(frames: u64, step: &Step<'_>) -> Result<(), Wrong> {
    let bytes = step.before.len() as u32;
    if step.memory.recorded.get() != frames || step.memory.last.get() != Some((step.verdict, bytes)) {
        return Err(format!("not counted once: {:?}", step.memory.last.get()));
    }
    let dropped = (step.verdict.action() == Action::Drop).then_some(step.verdict);
    if step.memory.reported.take() != dropped {
        return Err("a drop is reported, and nothing else".to_owned());
    }
    Ok(())
}

fn only(step: &Step<'_>, verdict: Verdict) -> Result<(), Wrong> {
    if step.verdict == verdict { Ok(()) } else { Err(format!("must be {}", verdict.name())) }
}

/// What is no TCP or ICMP to look at is the host's. A frame may be short in two ways at once: then either reason is right.
fn unreadable(unread: Unread, verdict: Verdict) -> Result<(), Wrong> {
    let right = match unread {
        Unread::NotIp => verdict == Verdict::PassedNotIp,
        Unread::Vlan => verdict == Verdict::PassedVlan,
        Unread::Malformed => verdict == Verdict::PassedMalformed,
        Unread::OtherProtocol => matches!(verdict, Verdict::PassedNotTcp | Verdict::PassedMalformed),
        Unread::LaterFragment => verdict == Verdict::PassedFragment,
        Unread::Extension => verdict == Verdict::PassedExtension,
    };
    if right { Ok(()) } else { Err(format!("a frame that is unreadable ({unread:?})")) }
}
