//! Packets to a service: a client's.

use dtr_lb_common::{abi::Mode, verdict::Verdict};

use super::{
    Oracle, Step,
    bytes::{self, Wrong},
    connection::{Connection, Phase},
    is_nat_end,
};
use crate::{
    net::End,
    reader::{Seen, flag, read},
    world::{Full, SECOND},
};

impl Oracle {
    pub(super) fn of_client(&mut self, step: &Step<'_>, seen: &Seen, service: usize) -> Result<(), Wrong> {
        let current = self.current(seen.from, seen.to);
        match step.verdict {
            Verdict::Forwarded if step.opened == 0 => {
                let at = current.ok_or("forwarded, of no connection")?;
                self.continues(step, seen, at)
            }
            Verdict::Forwarded => self.opens(step, seen, service, current),
            Verdict::Redispatched => {
                let at = current.ok_or("redispatched, of no connection")?;
                self.asks_another(step, seen, at)
            }
            _ => self.client_is_stopped(step, seen, service, current),
        }
    }

    /// A packet of a connection was forwarded.
    fn continues(&mut self, step: &Step<'_>, seen: &Seen, at: usize) -> Result<(), Wrong> {
        let one = &self.connections[at];
        if one.sure && one.phase == Phase::Resting {
            return Err(format!("goes on, though its client has left it: {one:?}"));
        }
        if one.sure && one.over() && seen.opens() {
            return Err(format!("a SYN goes on in a connection that is over: {one:?}"));
        }
        let (_, replica) = step.world().replica(one.replica).ok_or("to a replica that is not there")?;
        if one.sure && !one.is_handshake() && replica.reset && seen.flags & flag::RST == 0 {
            return Err("goes on to a dead replica whose flows are to be reset".to_owned());
        }
        if self.impeded(step.world(), seen, one.replica, step.verdict).any {
            return Err("forwarded, though something stands in its way".to_owned());
        }
        let (side, outer) = (one.side, one.outer);
        let left = self.leaves(step, seen, one.replica, side)?;
        if outer.is_some() && outer != left.outer {
            return Err(format!("outer source {:?} became {:?}", outer, left.outer));
        }
        self.goes_on(at, step, seen, true)
    }

    /// A connection was opened.
    fn opens(
        &mut self,
        step: &Step<'_>,
        seen: &Seen,
        service: usize,
        current: Option<usize>,
    ) -> Result<(), Wrong> {
        let world = step.world();
        let frontend = &world.services[service];
        if step.opened != 1 {
            return Err(format!("{} connections were opened", step.opened));
        }
        if !self.may_open(step, seen, service) || !world.lets_in(service, &seen.from.ip) {
            return Err("opened a connection, which it may not".to_owned());
        }
        if let Some(at) = current {
            let one = &self.connections[at];
            if one.surely_lasts(self.now) {
                return Err(format!("opened anew, though it had {one:?}"));
            }
            self.rests(at);
        }
        let id = world.steered(service, seen.from);
        if id == 0 || self.impeded(world, seen, id, step.verdict).any {
            return Err(format!("forwarded to replica {id}, though something stands in its way"));
        }
        let side = if frontend.mode.direct() { None } else { Some(self.claimed(step, id)?) };
        let left = self.leaves(step, seen, id, side)?;
        let begun = self.new_connection(step, seen, service, id);
        self.begins(Connection { side, outer: left.outer, ..begun })
    }

    /// A client's SYN, sent again, went to another replica.
    fn asks_another(&mut self, step: &Step<'_>, seen: &Seen, at: usize) -> Result<(), Wrong> {
        let world = step.world();
        let one = self.connections[at].clone();
        let had_time = self.now - one.began > u64::from(SECOND / 2);
        if one.phase != Phase::Asked || !seen.opens() || !had_time || one.syn.data {
            return Err(format!("redispatched: {one:?}"));
        }
        let begun = self.new_connection(step, seen, one.service, 0);
        let mut why = "no replica is left".to_owned();
        for id in self.untried(step, &one) {
            if self.impeded(world, seen, id, step.verdict).any {
                continue;
            }
            let side = match world.services[one.service].mode.direct() {
                true => Ok(None),
                false => self.claimed(step, id).map(Some),
            };
            match side.and_then(|side| Ok((side, self.leaves(step, seen, id, side)?))) {
                Ok((side, left)) => {
                    return self.goes_over(at, &Connection { replica: id, side, outer: left.outer, ..begun });
                }
                Err(reason) => why = reason,
            }
        }
        Err(format!("redispatched: {why}"))
    }

    /// Replicas that may be asked for a handshake after the one that failed it.
    pub(super) fn untried(&self, step: &Step<'_>, one: &Connection) -> Vec<u16> {
        let service = &step.world().services[one.service];
        let ids = (0..service.replicas.len()).map(|at| crate::world::id(one.service, at));
        ids.filter(|id| service.steers_to(*id) && *id != one.replica && !one.tried.contains(id)).collect()
    }

    /// A handshake goes over to another replica.
    pub(super) fn goes_over(&mut self, at: usize, begun: &Connection) -> Result<(), Wrong> {
        let one = &mut self.connections[at];
        one.phase = Phase::Gone;
        let mut tried = one.tried.clone();
        tried.push(one.replica);
        let (ways, syn, sure) = (one.ways.clone(), one.syn.clone(), one.sure);
        self.begins(Connection { tried, ways, syn, sure, phase: Phase::Asked, ..begun.clone() })
    }

    /// A packet to a service was not forwarded.
    fn client_is_stopped(
        &mut self,
        step: &Step<'_>,
        seen: &Seen,
        service: usize,
        current: Option<usize>,
    ) -> Result<(), Wrong> {
        let world = step.world();
        let frontend = &world.services[service];
        let steered = world.steered(service, seen.from);
        let may_open = self.may_open(step, seen, service);
        let lets_in = world.lets_in(service, &seen.from.ip);
        let known =
            current.map(|at| &self.connections[at]).filter(|one| !one.sure || one.phase != Phase::Gone);
        let of_known = known.map(|one| self.impeded(world, seen, one.replica, step.verdict));
        let of_new = self.impeded(world, seen, steered, step.verdict);
        let resets = known.is_some_and(|one| world.replica(one.replica).is_some_and(|(_, one)| one.reset));
        if let Some(one) = known
            && one.surely_carries(seen, self.now)
            && !of_known.is_some_and(|impeded| impeded.by_this)
            && !(resets && step.verdict == Verdict::AnsweredReset)
        {
            return Err(format!("does not go on: {one:?}"));
        }
        let right = match step.verdict {
            Verdict::AnsweredReset => {
                if !resets || seen.flags & flag::RST != 0 {
                    return Err("reset, though its replica is not dead".to_owned());
                }
                bytes::reset(step.before, seen, step.after, &step.came)?;
                step.leaves_by(&step.came)?;
                if let Some(at) = current {
                    self.connections[at].phase = Phase::Gone;
                }
                return Ok(());
            }
            Verdict::AnsweredRefused => {
                bytes::reset(step.before, seen, step.after, &step.came)?;
                step.leaves_by(&step.came)?;
                may_open && lets_in && frontend.refuse && !frontend.has_slots()
            }
            Verdict::DroppedNoReplica => {
                may_open && lets_in && !frontend.refuse && !frontend.has_slots()
                    // Its entries made room while another replica was looked for.
                    || world.full == Full::Evicts && world.half_open < 20
            }
            Verdict::DroppedDenied => may_open && !lets_in,
            Verdict::DroppedNoPort => may_open && self.has_others(steered, world) || self.crowded(step),
            Verdict::DroppedTableFull => world.full == Full::Fails && world.half_open < 20,
            Verdict::DroppedFragment if seen.first_fragment && frontend.there => true,
            Verdict::PassedNotService => !frontend.there,
            // Options are looked at where they are to be kept.
            Verdict::PassedMalformed => may_open && step.before.len() < seen.transport + seen.tcp_header,
            Verdict::PassedNoFlow => frontend.there && !may_open && !seen.first_fragment,
            _ => of_known.is_some_and(|impeded| impeded.by_this) || (may_open && of_new.by_this),
        };
        if !right {
            return Err(format!("for no reason; {steered} is its replica, it had {known:?}"));
        }
        if matches!(step.verdict, Verdict::AnsweredTooBig) {
            self.too_big(step, seen)?;
        }
        if let Some(at) = current {
            // The way is noted before the packet is found to be none that may go it.
            let (one, back) = (&mut self.connections[at], step.came.back());
            if !one.is_handshake() && !one.ways.contains(&back) {
                one.ways.push(back);
            }
            one.client_last = self.now;
            if seen.opens() && self.connections[at].over() {
                self.rests(at);
            } else {
                self.stops(at, seen);
            }
        }
        Ok(())
    }

    /// Whether a packet may open a connection to a service, as far as it alone says.
    fn may_open(&self, step: &Step<'_>, seen: &Seen, service: usize) -> bool {
        let frontend = &step.world().services[service];
        // Another balancer may have had the connection, where the tables alone say its replica.
        let adopted = frontend.mode.direct() && seen.flags & flag::RST == 0;
        frontend.there && (seen.opens() || adopted)
    }

    /// Whether another connection could have the ports that one to this replica asks for.
    fn has_others(&self, id: u16, world: &crate::world::World) -> bool {
        let Some((_, replica)) = world.replica(id) else { return false };
        // Of thousands of ports, one of 16 is free.
        let few = world.ports <= 16;
        let sides = self.connections.iter().filter(|one| !one.sure || one.phase != Phase::Gone);
        let sides = sides.filter_map(|one| one.side);
        few && sides.into_iter().any(|(end, _)| end == replica.end)
    }

    fn crowded(&self, step: &Step<'_>) -> bool {
        let world = step.world();
        world.half_open < 20 && world.ports <= 16
    }

    /// The replica's end and the NAT end of a packet that left to a replica.
    pub(super) fn claimed(&self, step: &Step<'_>, id: u16) -> Result<(End, End), Wrong> {
        let left = read(step.after).map_err(|unread| format!("what left is {unread:?}"))?;
        let (_, replica) = step.world().replica(id).ok_or("no replica")?;
        if left.to != replica.end {
            return Err(format!("sent to {:?} and not to {:?}", left.to, replica.end));
        }
        if !is_nat_end(step.world(), id, left.from) {
            return Err(format!("sent from {:?}", left.from));
        }
        Ok((left.to, left.from))
    }

    /// Holds what left against the packet, by the mode of its service.
    fn leaves(&self, step: &Step<'_>, seen: &Seen, id: u16, side: Option<(End, End)>) -> Result<Left, Wrong> {
        let (service, replica) = step.world().replica(id).ok_or("no replica")?;
        step.leaves_by(&replica.way)?;
        let mut outer = None;
        match (side, service.mode) {
            (Some((end, nat)), Mode::NAT) => {
                bytes::rewritten(step.before, seen, step.after, &replica.way, nat, end)?;
            }
            (None, Mode::DSR) => bytes::redirected(step.before, step.after, &replica.way)?,
            (None, Mode::IPIP) => {
                let from = replica.nat[0];
                outer = Some(bytes::encapsulated(
                    step.before,
                    seen,
                    step.after,
                    &replica.way,
                    &from,
                    &replica.end.ip,
                )?);
            }
            _ => return Err("left in another mode than its service's".to_owned()),
        }
        Ok(Left { outer })
    }
}

/// What is learnt from a packet that left to a replica.
struct Left {
    outer: Option<crate::net::Ip>,
}
