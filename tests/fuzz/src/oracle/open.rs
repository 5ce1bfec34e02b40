//! Packets to a service that open a connection, or do not; and handshakes that go over to another replica.

use dtr_lb_common::{
    abi::{End as How, Flow, Mode, Place, Tuple},
    verdict::Verdict,
};

use super::{
    Oracle, Step,
    accounts::Account,
    bytes::{self, Wrong},
    challenge::Proof,
    connection::{Connection, Phase, Side, Syn},
    is_nat_end, only,
    table::{Room, any_crowded, crowded},
};
use crate::{
    ends::Tcp,
    net::{End, Ip, tuple},
    reader::{Seen, flag, read},
    world::{Backend, Frontend, World},
};

impl Oracle {
    /// A packet to a service that is of no connection, or opens one after that which its client had before.
    pub(super) fn opens(
        &mut self,
        step: &Step<'_>,
        seen: &Seen,
        service: usize,
        before: Option<usize>,
    ) -> Result<(), Wrong> {
        let world = step.world();
        let frontend = &world.services[service];
        // Another balancer may have had the connection, where the tables alone say its replica.
        let adopted = frontend.mode.direct() && seen.flags & flag::RST == 0;
        let id = world.steered(service, seen.from);
        // The answer to a challenge, if it is not too old; where that is to be told by a tick, either is right.
        let answers = frontend.there && frontend.challenges && !seen.first_fragment;
        let answer = if answers { self.challenges.is_answer(step, seen, self.now) } else { Some(false) };
        if answer == Some(true) || (answer.is_none() && step.verdict == Verdict::PassedProof) {
            self.challenges.proven(service, seen.from, self.now);
            return only(step, Verdict::PassedProof);
        }
        let refused = match () {
            () if !frontend.there => Some(Verdict::PassedNotService),
            () if seen.first_fragment => Some(Verdict::DroppedFragment),
            () if !seen.opens() && !adopted => Some(Verdict::PassedNoFlow),
            () if step.to_other_host() => Some(Verdict::PassedOtherHost),
            () if world.is_invented(seen.v4, &seen.from.ip) || is_nat_address(world, id, &seen.from.ip) => {
                Some(Verdict::DroppedMartian)
            }
            () if !world.lets_in(service, &seen.from.ip) => Some(if frontend.resets_denied && seen.opens() {
                Verdict::AnsweredDenied
            } else {
                Verdict::DroppedDenied
            }),
            () if id == 0 && !seen.opens() => Some(Verdict::DroppedNoReplica),
            () if id == 0 => Some(Verdict::AnsweredRefused),
            () => None,
        };
        if let Some(verdict) = refused {
            only(step, verdict)?;
            let told = matches!(verdict, Verdict::AnsweredRefused | Verdict::AnsweredDenied);
            return if told { self.is_reset(step, seen) } else { Ok(()) };
        }
        // Who closed a connection with these ends a moment ago had proven himself for it.
        let closed = before.is_some_and(|before| !self.connections[before].phase.handshake());
        if frontend.challenges && seen.opens() && !closed {
            let proof = self.challenges.proof(service, seen.from, self.now);
            if proof == Proof::Lacks || (proof == Proof::Either && step.verdict == Verdict::AnsweredChallenge)
            {
                only(step, Verdict::AnsweredChallenge)?;
                return self.challenges.asked(step, seen, self.now);
            }
        }
        // Options are looked at where they are to be kept.
        if step.verdict == Verdict::PassedMalformed && step.before.len() < seen.transport + seen.tcp_header {
            return Ok(());
        }
        if step.verdict == Verdict::DroppedNextHopsFull {
            let room = step.memory.store.takes_hop(&step.came.back().hop());
            return if room { Err("there is room for a next hop".to_owned()) } else { Ok(()) };
        }
        let impeded = self.impeded(world, seen, id, step.verdict);
        if impeded.any {
            return self.is_stopped(step, seen, impeded);
        }
        if step.verdict != Verdict::Forwarded || step.opened != 1 {
            self.room = Room::Tried;
            let asked = self.may_be_asked(world, seen.from, service, id);
            let finds = |id: &u16| self.finds_no_room(step, seen.from, seen.to, *id);
            if !asked.iter().any(|id| finds(id).is_ok()) {
                finds(&id)?;
            }
            if let Some(before) = before
                && self.connections[before].wide != is_wide(world, seen.to, id)
            {
                self.is_left_half(before, step);
            }
            return if matches!(step.verdict, Verdict::AnsweredTableFull | Verdict::AnsweredNoPort) {
                self.is_reset(step, seen)
            } else {
                Ok(())
            };
        }
        let id = self.with_a_port(step, seen, service, id);
        let begun = Connection {
            phase: if seen.opens() { Phase::Asked } else { Phase::Answered },
            side: if frontend.mode.direct() { None } else { Some(self.claimed(step, seen.from, id)?) },
            ..self.asked(step, seen, service, id)
        };
        if let Some(before) = before {
            self.makes_way(before, &begun, step);
        }
        self.begins(begun, step, seen)
    }

    /// The replica that a SYN was sent to. What is wrong with it is told when it is held against its replica.
    fn with_a_port(&self, step: &Step<'_>, seen: &Seen, service: usize, id: u16) -> u16 {
        let mut asked = self.may_be_asked(step.world(), seen.from, service, id).into_iter();
        asked.find(|id| self.claimed(step, seen.from, *id).is_ok()).unwrap_or(id)
    }

    /// The replica of a SYN, and those that are asked where the ones before may have had no port left.
    fn may_be_asked(&self, world: &World, client: End, service: usize, id: u16) -> Vec<u16> {
        let mut asked = vec![id];
        if world.services[service].mode.direct() {
            return asked;
        }
        while asked.len() < 3
            && asked.last().is_some_and(|last| self.may_lack_ports(world, client, *last))
            && let Some(next) = world.steered_again(service, client, &asked)
        {
            asked.push(next);
        }
        asked
    }

    /// Of thousands of ports, one of 16 is free. Where the client's own is kept, that one has to be.
    fn may_lack_ports(&self, world: &World, client: End, id: u16) -> bool {
        let Some((service, replica)) = world.replica(id) else { return false };
        let keeps_client = service.mode == Mode::DNAT;
        let taken = |(end, nat): (End, End)| end == replica.end && (!keeps_client || nat == client);
        (keeps_client || world.ports <= 16)
            && self.connections.iter().any(|one| one.phase != Phase::Gone && one.side.is_some_and(taken))
    }

    /// The last connection of a client makes way for its next one. Its port rests, unless that is the new one's, or one of its
    /// entries had to make room: then another stands there.
    fn makes_way(&mut self, before: usize, begun: &Connection, step: &Step<'_>) {
        let one = &mut self.connections[before];
        let entries = step.memory.store.flows.entries();
        let covers = |key: Tuple, side: Side| {
            let own = one.places[side as usize].0;
            let over = |flow: &Flow| {
                own == flow.place.0
                    || (flow.wide() && own == flow.place.0 + 1)
                    || (one.wide && own + 1 == flow.place.0)
            };
            entries.iter().any(|flow| flow.key == key && over(flow))
        };
        // The client's entry takes the place of the one before.
        let rests = begun.side.is_some_and(|(replica, nat)| {
            let claim = tuple(replica, nat);
            begun.side != one.side
                && !covers(claim, Side::Client)
                && !covers(claim, Side::Replica)
                && !covers(tuple(begun.client, begun.vip), Side::Replica)
        });
        let holds = rests && !one.phase.handshake();
        (one.phase, one.fins) = (if holds { Phase::Held } else { Phase::Gone }, [None; 2]);
    }

    /// A client's last connection had made way, as its entry has another width than the next one's, and that was not entered.
    fn is_left_half(&mut self, before: usize, step: &Step<'_>) {
        let one = &mut self.connections[before];
        let entries = step.memory.store.flows.entries();
        let stands = |side: Side| {
            let entry = entries.iter().find(|flow| flow.place == one.places[side as usize]);
            entry.map(Flow::state)
        };
        if stands(Side::Client).is_none() && stands(Side::Replica) == Some(Phase::Held.state()) {
            (one.phase, one.fins) = (Phase::Held, [None; 2]);
        }
    }

    /// A client's handshake whose replica has refused it, or does not answer.
    pub(super) fn fails(&mut self, step: &Step<'_>, seen: &Seen, at: usize, side: Side) -> Result<(), Wrong> {
        self.room = Room::Tried;
        self.cause = Some((at, How::AGAIN));
        let world = step.world();
        let one = self.connections[at].clone();
        let next = self.asks_next(step, &one);
        // The replica's answer becomes the SYN; a refusal ends the connection where nobody else is left, a challenge does not.
        let answer = side == Side::Replica;
        let refused = answer && seen.flags & flag::RST != 0;
        let impeded = next.map(|id| self.impeded(world, seen, id, step.verdict));
        let stopped = !answer && impeded.is_some_and(|impeded| impeded.any);
        if step.verdict == Verdict::Redispatched {
            let id = next.filter(|_| !stopped).ok_or("redispatched, and nobody is left to be asked")?;
            let begun = self.goes_over(step, &one, id, answer)?;
            self.connections[at].phase = Phase::Gone;
            return self.begins(begun, step, seen);
        }
        // It goes on as it would have, unless what it was a packet of has made room for what was not to be.
        let stands = |flow: &Flow| one.places[Side::Client as usize] == flow.place;
        let stands = refused || step.memory.store.flows.entries().iter().any(stands);
        only(step, if stands { Verdict::Forwarded } else { Verdict::DroppedBusy })?;
        if let Some(id) = next.filter(|_| !stopped && stands) {
            self.finds_no_room(step, one.client, one.vip, id)
                .map_err(|why| format!("not sent to {id}, which was to be asked: {why}"))?;
        }
        if answer && stands {
            if refused {
                self.cause = Some((at, How::REFUSED));
                self.connections[at].phase = Phase::Gone;
            }
            bytes::rewritten(step.before, seen, step.after, &one.way, one.vip, one.client)?;
            return step.leaves_by(&one.way);
        }
        if stands { self.left_to_replica(step, seen, at) } else { Ok(()) }
    }

    /// The replica that is to be asked after the one that has failed.
    fn asks_next(&self, step: &Step<'_>, one: &Connection) -> Option<u16> {
        let kept = step.memory.store.kept_before(one.kept)?;
        let of_client = kept.client == tuple(one.client, one.vip)
            && bytemuck::bytes_of(&kept.syn.sequence) == one.syn.sequence;
        let mut failed: Vec<u16> = kept.attempted.into_iter().filter(|id| *id != 0).collect();
        let frontend = &step.world().services[one.service];
        // Four fit there.
        if !of_client || one.syn.data || failed.len() == 4 || !frontend.there {
            return None;
        }
        failed.push(one.replica);
        step.world().steered_again(one.service, one.client, &failed)
    }

    /// A handshake goes over to another replica: what left to it.
    fn goes_over(
        &self,
        step: &Step<'_>,
        one: &Connection,
        id: u16,
        refused: bool,
    ) -> Result<Connection, Wrong> {
        let (_, replica) = step.world().replica(id).ok_or("no replica")?;
        let side = if one.direct() { None } else { Some(self.claimed(step, one.client, id)?) };
        if let Some((end, nat)) = side.filter(|_| refused) {
            step.leaves_by(&replica.way)?;
            bytes::replayed(&one.syn, step.after, &replica.way, nat, end)?;
        }
        let mut tried = one.tried.clone();
        tried.push(one.replica);
        let (now, began) = (self.now, self.now);
        let client = one.ends[Side::Client as usize];
        let ends = [Tcp { got: 0, ..client }, Tcp::default()];
        Ok(Connection {
            replica: id,
            side,
            tried,
            began,
            last: [now; 2],
            ends,
            phase: Phase::Asked,
            ..one.clone()
        })
    }

    /// The connection of a client with a replica, about to begin.
    fn asked(&self, step: &Step<'_>, seen: &Seen, service: usize, id: u16) -> Connection {
        let (sequence, _) = seen.numbers(step.before);
        let payload = seen.payload() as u32;
        let mut client = Tcp::opened(sequence, payload);
        let replica = Tcp { got: client.next, ..Tcp::default() };
        if !seen.opens() {
            // The middle of one: what its ends know is not known here.
            client.next = sequence.wrapping_add(payload);
        }
        Connection {
            client: seen.from,
            service,
            vip: seen.to,
            replica: id,
            side: None,
            phase: Phase::Asked,
            began: self.now,
            last: [self.now; 2],
            acknowledged: [0; 2],
            clock: None,
            syn_end: 0,
            fins: [None; 2],
            way: step.came.back(),
            outer: None,
            tried: Vec::new(),
            account: Account::default(),
            syn: Syn::of(step.before, seen),
            kept: 0,
            places: [Place::NONE; 2],
            wide: false,
            in_place: [false; 2],
            ends: [client, replica],
            fooled: false,
        }
    }

    /// A SYN was sent to a replica.
    fn begins(&mut self, begun: Connection, step: &Step<'_>, seen: &Seen) -> Result<(), Wrong> {
        self.room = Room::Made;
        let now = self.now;
        for one in self.connections.iter_mut().filter(|one| begun.side.is_some() && one.side == begun.side) {
            if one.phase != Phase::Gone && !one.gives_up_port(&begun, now) {
                return Err(format!("{:?} got the NAT port of {one:?}", begun.client));
            }
            one.phase = Phase::Gone;
        }
        let behind = u32::from_be_bytes(begun.syn.sequence).wrapping_add(1);
        // Of a direct mode the number that has to follow; of others, what the replica has to acknowledge.
        // The client has nothing to acknowledge yet: there stands a number that is no other client's.
        let acknowledged = if begun.direct() { [behind, 0] } else { [behind; 2] };
        let in_place = self.in_place(&begun, step);
        let outer = self.left(step, seen, &begun)?;
        // A refusal that became a SYN carries nothing.
        let carries = if seen.to == begun.vip { seen.payload() as u32 } else { 0 };
        let syn_end = behind.wrapping_add(carries);
        self.connections.push(Connection {
            acknowledged,
            syn_end,
            outer,
            in_place,
            account: Account::default(),
            ..begun
        });
        Ok(())
    }

    /// Whether its entries stand where others with their keys did.
    fn in_place(&self, begun: &Connection, step: &Step<'_>) -> [bool; 2] {
        let entries = step.memory.store.flows.entries();
        let place = |key| entries.iter().find(|flow| flow.key == key).map(|flow| flow.place);
        let client = place(tuple(begun.client, begun.vip));
        let replica = begun.side.and_then(|(replica, nat)| place(tuple(replica, nat)));
        let stood = |one: &Connection, side: Side, place| Some(one.places[side as usize]) == place;
        let own = |one: &Connection| one.client == begun.client && one.vip == begun.vip;
        [
            self.connections.iter().any(|one| own(one) && stood(one, Side::Client, client)),
            self.connections.iter().any(|one| one.side == begun.side && stood(one, Side::Replica, replica)),
        ]
    }

    /// Why a connection was not opened, though nothing stands in the way of its packet.
    fn finds_no_room(&self, step: &Step<'_>, client: End, vip: End, id: u16) -> Result<(), Wrong> {
        let world = step.world();
        world.replica(id).ok_or("no replica")?;
        let direct = world.services.iter().any(|one| one.vip == vip && one.mode.direct());
        let wide = is_wide(world, vip, id);
        let no_port = !direct && self.may_lack_ports(world, client, id);
        let own = world.buckets_of(client, vip);
        let full = if direct {
            crowded(&self.connections, step.memory, own, wide, 0, self.now)
        } else {
            crowded(&self.connections, step.memory, own, wide, 1, self.now)
                || any_crowded(&self.connections, step.memory, wide, self.now)
        };
        let busy = step.memory.store.refused.get();
        let right = match step.verdict {
            Verdict::AnsweredNoPort => no_port,
            Verdict::DroppedNoPort => no_port && self.connections.iter().any(|one| one.phase.handshake()),
            Verdict::AnsweredTableFull => full,
            Verdict::DroppedBusy => busy,
            // A handshake that stays with its replica.
            Verdict::Forwarded => no_port || full || busy,
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("nothing stands in the way of a connection to replica {id}")) }
    }

    /// The replica's end and the NAT end of a client's packet that left to a replica.
    fn claimed(&self, step: &Step<'_>, client: End, id: u16) -> Result<(End, End), Wrong> {
        let left = read(step.after).map_err(|unread| format!("what left is {unread:?}"))?;
        let (_, replica) = step.world().replica(id).ok_or("no replica")?;
        if left.to != replica.end {
            return Err(format!("sent to {:?} and not to {:?}", left.to, replica.end));
        }
        if !is_nat_end(step.world(), id, client, left.from) {
            return Err(format!("sent from {:?}", left.from));
        }
        Ok((left.to, left.from))
    }

    /// Holds what left to a connection's replica against the packet.
    pub(super) fn left_to_replica(&self, step: &Step<'_>, seen: &Seen, at: usize) -> Result<(), Wrong> {
        let one = &self.connections[at];
        let outer = self.left(step, seen, one)?;
        if outer != one.outer {
            return Err(format!("outer source {:?} became {outer:?}", one.outer));
        }
        Ok(())
    }

    /// The same by the mode of its service. Returns the outer source, if it travels in another packet.
    fn left(&self, step: &Step<'_>, seen: &Seen, one: &Connection) -> Result<Option<Ip>, Wrong> {
        let (service, replica) = step.world().replica(one.replica).ok_or("no replica")?;
        // What takes the place of a refusal was looked at.
        if step.verdict == Verdict::Redispatched && one.side.is_some() && seen.to != one.vip {
            return Ok(None);
        }
        step.leaves_by(&replica.way)?;
        match (one.side, service.mode) {
            (Some((end, nat)), Mode::NAT | Mode::DNAT) => {
                bytes::rewritten(step.before, seen, step.after, &replica.way, nat, end)?;
            }
            (None, Mode::DSR) => bytes::redirected(step.before, step.after, &replica.way)?,
            (None, Mode::IPIP) => {
                let (from, to) = (replica.nat[0], replica.end.ip);
                let outer = bytes::encapsulated(step.before, seen, step.after, &replica.way, &from, &to)?;
                return Ok(Some(outer));
            }
            _ => return Err("left in another mode than its service's".to_owned()),
        }
        Ok(None)
    }
}

/// Whether entries of connections to a replica take two places each.
fn is_wide(world: &World, vip: End, id: u16) -> bool {
    let v4 = |(service, replica): (&Frontend, &Backend)| service.mode.direct() || replica.end.ip.is_v4();
    !(vip.ip.is_v4() && world.replica(id).is_some_and(v4))
}

/// Whether connections to this replica come from that address: it is the balancer's own.
fn is_nat_address(world: &World, id: u16, ip: &Ip) -> bool {
    world.replica(id).is_some_and(|(_, replica)| replica.nat.contains(ip))
}
