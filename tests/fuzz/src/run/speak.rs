//! What ends say in their connections, and who passes himself off as one.

use dtr_lb_common::verdict::{Action, Verdict};

use super::{Player, SOMEWHERE};
use crate::{
    ends::{Numbers, Tcp},
    event::Sends,
    net::{End, Tags, Way},
    oracle::connection::Side,
    reader::{flag, read},
    world::World,
};

/// Who speaks, in which connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaker {
    /// One of its ends.
    End(usize, Side),
    /// Somebody who passes himself off as one.
    Stranger(usize, Side),
    /// A client that has no connection, or anybody.
    Nobody,
}

impl Player<'_, '_> {
    pub(super) fn client_sends(
        &mut self,
        client: usize,
        service: usize,
        other_router: bool,
        sends: &Sends,
    ) -> Result<(), String> {
        let services = &self.memory.world.services;
        let vip = services[service % services.len()].vip;
        let (end, way) = World::client(client, vip.ip.is_v4(), other_router);
        let opens = sends.flags & (flag::SYN | flag::ACK) == flag::SYN;
        let current = self.oracle.last(end, vip);
        // Who opens another connection takes another number.
        let goes_on = current.filter(|at| !opens || self.oracle.connections[*at].lasts());
        let speaker = goes_on.map_or(Speaker::Nobody, |at| Speaker::End(at, Side::Client));
        self.sends(way, end, vip, sends, speaker)
    }

    pub(super) fn replica_sends(&mut self, at: usize, sends: &Sends) -> Result<(), String> {
        let Some((replica, nat)) = self.oracle.connections[at].side else { return Ok(()) };
        self.sends(SOMEWHERE, replica, nat, sends, Speaker::End(at, Side::Replica))
    }

    pub(super) fn shake_hands(&mut self, client: usize, service: usize) -> Result<(), String> {
        self.client_sends(client, service, false, &Sends::plain(flag::SYN))?;
        if self.memory.store.last.get().is_some_and(|(verdict, _)| verdict == Verdict::AnsweredChallenge) {
            self.proves_itself(client, service)?;
            self.client_sends(client, service, false, &Sends::plain(flag::SYN))?;
        }
        self.answers(client, service, flag::SYN | flag::ACK)?;
        self.client_sends(client, service, false, &Sends::plain(flag::ACK))
    }

    /// A client answers the challenge that was the last frame (RFC 9293 section 3.10.7.3).
    fn proves_itself(&mut self, client: usize, service: usize) -> Result<(), String> {
        let services = &self.memory.world.services;
        let vip = services[service % services.len()].vip;
        let (end, way) = World::client(client, vip.ip.is_v4(), false);
        let (_, challenge) = Tags::split(&self.frame.bytes);
        let told = read(&challenge).map_err(|_| "a challenge that cannot be read".to_owned())?;
        let (_, number) = told.numbers(&challenge);
        let mut segment = Sends::plain(flag::RST).segment(way, end, vip);
        segment.sequence = number;
        segment.write(&mut self.before);
        self.passes(&way)
    }

    pub(super) fn close(&mut self, client: usize, service: usize, replica_first: bool) -> Result<(), String> {
        let fin = flag::FIN | flag::ACK;
        let ends = if replica_first { [false, true, false] } else { [true, false, true] };
        for (by_client, flags) in ends.into_iter().zip([fin, fin, flag::ACK]) {
            if by_client {
                self.client_sends(client, service, false, &Sends::plain(flags))?;
            } else {
                self.answers(client, service, flags)?;
            }
        }
        Ok(())
    }

    /// A client's last connection with a service.
    pub(super) fn last(&self, client: usize, service: usize) -> Option<usize> {
        let services = &self.memory.world.services;
        let vip = services[service % services.len()].vip;
        let (end, _) = World::client(client, vip.ip.is_v4(), false);
        self.oracle.last(end, vip)
    }

    /// The replica's end of a client's last connection sends.
    pub(super) fn answers(&mut self, client: usize, service: usize, flags: u8) -> Result<(), String> {
        self.last(client, service).map_or(Ok(()), |at| self.replica_sends(at, &Sends::plain(flags)))
    }

    pub(super) fn spoofs(
        &mut self,
        recent: usize,
        from_client: bool,
        same_way: bool,
        sends: &Sends,
    ) -> Result<(), String> {
        let Some(at) = self.oracle.connections.len().checked_sub(recent + 1) else { return Ok(()) };
        let one = &self.oracle.connections[at];
        let (from, to, side) = match one.side {
            Some((replica, nat)) if !from_client => (replica, nat, Side::Replica),
            _ => (one.client, one.vip, Side::Client),
        };
        let way = if same_way && side == Side::Client { one.way.back() } else { SOMEWHERE };
        self.sends(way, from, to, sends, Speaker::Stranger(at, side))
    }

    pub(super) fn sends(
        &mut self,
        way: Way,
        from: End,
        to: End,
        sends: &Sends,
        speaker: Speaker,
    ) -> Result<(), String> {
        let mut segment = sends.segment(way, from, to);
        let knob = match speaker {
            Speaker::Stranger(..) => Tcp::stranger(sends.numbers()),
            Speaker::End(..) | Speaker::Nobody => sends.numbers(),
        };
        let mut numbers = Numbers { sequence: segment.sequence, acknowledgment: segment.acknowledgment };
        if let Speaker::End(at, side) | Speaker::Stranger(at, side) = speaker {
            let tcp = &self.oracle.connections[at].ends[side as usize];
            numbers = tcp.numbers(sends.flags, knob, sends.random());
            (segment.sequence, segment.acknowledgment) = (numbers.sequence, numbers.acknowledgment);
        }
        segment.write(&mut self.before);
        if let Some(damage) = &sends.damage {
            damage.apply(&mut self.before);
        }
        let guard = match speaker {
            Speaker::Stranger(at, side) if sends.damage.is_none() => {
                Some(self.oracle.guard(&self.memory.world, at, side, sends.flags, numbers))
            }
            Speaker::Stranger(at, _) => {
                // What it says by now nobody knows.
                self.oracle.connections[at].fooled = true;
                None
            }
            Speaker::End(..) | Speaker::Nobody => None,
        };
        self.passes(&way)?;
        if let Some(guard) = guard {
            self.oracle.holds(guard)?;
        }
        // What was damaged is lost.
        if let Speaker::End(at, side) = speaker
            && sends.damage.is_none()
        {
            let arrives =
                self.memory.store.last.get().is_some_and(|(verdict, _)| verdict.action() == Action::Forward);
            let ends = &mut self.oracle.connections[at].ends;
            ends[side as usize].sent(numbers, sends.flags, segment.data.into());
            if arrives {
                ends[side.other() as usize].receives(numbers, sends.flags, segment.data.into());
            }
        }
        Ok(())
    }
}
