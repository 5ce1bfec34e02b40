//! What a connection makes of a segment: the rules by which numbers are believed, and states change.

use super::connection::{Connection, Phase, Side};
use crate::{
    reader::{Seen, flag},
    world::SECOND,
};

/// The largest window that there is (RFC 7323 section 2.2), and how far behind a number may be.
const WINDOW: u32 = 1 << 30;
const BEHIND: u32 = 1 << 16;
/// How far off both of a client's numbers may be, if its packet is to say where it is.
const NEAR: i64 = 1 << 24;

/// A segment, as far as a connection is changed by it.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub payload: u32,
    /// The sender's clock, if it is told where it is looked for.
    pub timestamp: Option<u32>,
}

impl Said {
    pub fn of(frame: &[u8], seen: &Seen) -> Self {
        let (sequence, acknowledgment) = seen.numbers(frame);
        let options = frame.get(seen.transport + 20..seen.transport + seen.tcp_header).unwrap_or_default();
        let bare = seen.network() == if seen.v4 { 20 } else { 40 };
        let timestamp = match options {
            [1, 1, 8, 10, a, b, c, d, _, _, _, _, ..] if bare => Some(u32::from_be_bytes([*a, *b, *c, *d])),
            _ => None,
        };
        Self { flags: seen.flags, sequence, acknowledgment, payload: seen.payload() as u32, timestamp }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn acknowledges(&self, number: u32) -> bool {
        self.has(flag::ACK) && self.acknowledgment == number
    }

    fn opens(&self) -> bool {
        self.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN
    }

    /// The number behind it.
    fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.payload).wrapping_add(u32::from(self.has(flag::FIN)))
    }
}

/// What becomes of a connection's packet, if nothing stands in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on, and what it says is taken for true.
    Believed,
    /// It goes on, and says nothing.
    Ignored,
    /// It goes on as unverified, and says nothing.
    Unverified,
    /// It goes on, and ends the connection at once.
    Ends,
    /// It opens another connection in the place of the handshake.
    Anew,
    /// Its replica has refused, or has not answered: another is to be asked.
    Fails,
}

impl Connection {
    /// Whether `number` may be sent by a side.
    fn in_window(&self, number: u32, side: Side) -> bool {
        let ahead = i64::from(number.wrapping_sub(self.acknowledged[side.other() as usize]) as i32);
        -i64::from(BEHIND) <= ahead && ahead < i64::from(WINDOW)
    }

    /// Whether a client's packet that is believed says where the client is now. In a handshake its number was held against the SYN's.
    pub fn tells_way(&self, said: &Said) -> bool {
        let near = |number: u32, acknowledged: u32| {
            let ahead = i64::from(number.wrapping_sub(acknowledged) as i32);
            (-NEAR..NEAR).contains(&ahead)
        };
        let [client, replica] = [Side::Client, Side::Replica].map(|side| self.acknowledged[side as usize]);
        self.direct()
            || self.phase.handshake()
            || (near(said.sequence, replica) && near(said.acknowledgment, client))
    }

    /// A packet of one side's, about which nothing else is to be said: takes note of it.
    pub fn hears(&mut self, said: &Said, side: Side, now: u64) -> Fate {
        match (self.phase.handshake(), self.direct(), side) {
            (true, true, _) => self.direct_handshake(said, now),
            (true, false, Side::Client) => self.client_in_handshake(said, now),
            (true, false, Side::Replica) => self.replica_in_handshake(said, now),
            (false, true, _) => self.direct_goes_on(said, now),
            (false, false, side) => self.goes_on(said, side, now),
        }
    }

    fn may_ask_again(&self, now: u64) -> bool {
        self.phase == Phase::Asked && now - self.began > u64::from(SECOND / 2)
    }

    fn client_in_handshake(&mut self, said: &Said, now: u64) -> Fate {
        // What the replica has to acknowledge: the number behind the SYN.
        let behind = self.acknowledged[Side::Replica as usize];
        if said.has(flag::RST) {
            return if said.sequence == behind { Fate::Ends } else { Fate::Unverified };
        }
        if said.opens() {
            if said.sequence.wrapping_add(1) != behind {
                // Nobody has answered the first one: the client's own may take its place.
                return if self.phase == Phase::Asked { Fate::Anew } else { Fate::Unverified };
            }
            if self.may_ask_again(now) {
                return Fate::Fails;
            }
            self.last[Side::Client as usize] = now;
            return Fate::Believed;
        }
        let proves = self.phase == Phase::Answered
            && !said.has(flag::SYN)
            && said.acknowledges(self.acknowledged[Side::Client as usize])
            && self.in_window(said.sequence, Side::Client);
        if !proves {
            return Fate::Unverified;
        }
        self.opens(said, Side::Client, now);
        Fate::Believed
    }

    fn replica_in_handshake(&mut self, said: &Said, now: u64) -> Fate {
        // The SYN, and what it carries or a part of that.
        let behind = self.acknowledged[Side::Replica as usize];
        let (said_more, carries) =
            (said.acknowledgment.wrapping_sub(behind), self.syn_end.wrapping_sub(behind));
        let of_syn = said.has(flag::ACK) && said_more <= carries;
        let next = self.acknowledged[Side::Client as usize];
        match (said.has(flag::RST), self.phase) {
            (true, Phase::Asked) => return if of_syn { Fate::Fails } else { Fate::Unverified },
            (true, _) => return if said.sequence == next { Fate::Ends } else { Fate::Unverified },
            (false, _) => {}
        }
        if said.has(flag::SYN) && said.has(flag::ACK) {
            if !of_syn {
                return Fate::Unverified;
            }
            self.acknowledged[Side::Client as usize] = said.sequence.wrapping_add(1);
            self.last[Side::Replica as usize] = now;
            self.phase = Phase::Answered;
            return Fate::Believed;
        }
        // It has another connection by this port.
        let bare = said.has(flag::ACK) && !said.has(flag::FIN) && said.payload == 0;
        if self.phase == Phase::Asked && bare && !of_syn {
            return Fate::Fails;
        }
        // It holds the connection for open, and so has got the client's ACK.
        let ahead = i64::from(said.acknowledgment.wrapping_sub(behind) as i32);
        let proves = self.phase == Phase::Answered
            && said.has(flag::ACK)
            && said.sequence == next
            && -i64::from(BEHIND) <= ahead
            && ahead < i64::from(WINDOW);
        if !proves {
            return Fate::Ignored;
        }
        self.opens(said, Side::Replica, now);
        Fate::Believed
    }

    fn direct_handshake(&mut self, said: &Said, now: u64) -> Fate {
        let behind = self.acknowledged[Side::Client as usize];
        if said.has(flag::RST) {
            return Fate::Ends;
        }
        if said.opens() {
            if said.sequence.wrapping_add(1) == behind && self.may_ask_again(now) {
                return Fate::Fails;
            }
            self.last[Side::Client as usize] = now;
            return Fate::Believed;
        }
        let ahead = i64::from(said.sequence.wrapping_sub(behind) as i32);
        let fits = -i64::from(BEHIND) <= ahead && ahead < i64::from(WINDOW);
        if !said.has(flag::ACK) || (self.phase == Phase::Asked && !fits) {
            return Fate::Unverified;
        }
        self.opens(said, Side::Client, now);
        if said.has(flag::FIN) {
            (self.phase, self.fins) = (Phase::ClientClosed, [None; 2]);
        }
        Fate::Believed
    }

    /// The handshake is over.
    fn opens(&mut self, said: &Said, by: Side, now: u64) {
        self.phase = Phase::Open;
        self.last[by as usize] = now;
        self.acknowledged[by as usize] = said.acknowledgment;
        self.fins[by as usize] = said.has(flag::FIN).then(|| said.end());
    }

    /// A direct mode's: the client is believed.
    fn direct_goes_on(&mut self, said: &Said, now: u64) -> Fate {
        if said.has(flag::SYN) {
            return Fate::Unverified;
        }
        let rst = said.has(flag::RST);
        self.phase = match self.phase {
            _ if !rst && said.has(flag::FIN) => Phase::ClientClosed,
            Phase::ClientReset if !rst => Phase::Open,
            phase if rst && phase.live() => Phase::ClientReset,
            phase => phase,
        };
        self.last[Side::Client as usize] = now;
        if said.has(flag::ACK) && !rst {
            self.acknowledged[Side::Client as usize] = said.acknowledgment;
        }
        Fate::Believed
    }

    fn goes_on(&mut self, said: &Said, side: Side, now: u64) -> Fate {
        let fits = self.in_window(said.sequence, side);
        if said.has(flag::SYN) {
            // A SYN-ACK comes again where the client's ACK was lost.
            let repeated = side == Side::Replica && said.has(flag::ACK) && !said.has(flag::RST) && fits;
            return if repeated { Fate::Ignored } else { Fate::Unverified };
        }
        let asked_for = self.acknowledged[side.other() as usize];
        if said.has(flag::RST) {
            if said.sequence != asked_for {
                return Fate::Unverified;
            }
            if self.phase.live() {
                let by_client = side == Side::Client;
                self.phase = if by_client { Phase::ClientReset } else { Phase::ReplicaReset };
                self.fins = [None; 2];
            }
            self.last[side as usize] = now;
            return Fate::Believed;
        }
        let ends_other = self.fins[side.other() as usize].is_some_and(|end| said.acknowledges(end));
        // A FIN out of the window may still acknowledge the other end's; it says no more than that.
        if said.has(flag::FIN) && !fits && !ends_other {
            return Fate::Unverified;
        }
        // A segment of an open connection that has nothing to decide is not held against the window.
        let plain = self.phase == Phase::Open && self.fins == [None; 2] && said.has(flag::ACK);
        if !fits && !ends_other {
            if plain {
                self.last[side as usize] = now;
                self.acknowledged[side as usize] = said.acknowledgment;
            }
            return Fate::Ignored;
        }
        let closes = side == Side::Client && said.has(flag::FIN) && fits;
        if closes && matches!(self.phase, Phase::Open | Phase::ReplicaClosed) {
            let ahead =
                |last: Option<u32>| said.timestamp.unwrap_or(0).wrapping_sub(last.unwrap_or(0)) as i32 > 0;
            if self.fins[Side::Client as usize].is_none() || ahead(self.clock) {
                // A clock at 0 counts as none.
                self.clock = said.timestamp.filter(|clock| *clock != 0);
            }
        }
        self.talks(said, side, ends_other, fits);
        self.last[side as usize] = now;
        if said.has(flag::ACK) {
            self.acknowledged[side as usize] = said.acknowledgment;
        }
        Fate::Believed
    }

    fn talks(&mut self, said: &Said, side: Side, ends_other: bool, fits: bool) {
        let by_client = side == Side::Client;
        if self.phase == if by_client { Phase::ClientReset } else { Phase::ReplicaReset } {
            // Who goes on talking has sent no reset.
            self.phase = Phase::Open;
        }
        if ends_other {
            self.fins[side.other() as usize] = None;
            self.phase = match (self.phase, side.other()) {
                (Phase::Open, Side::Client) => Phase::ClientClosed,
                (Phase::Open, Side::Replica) => Phase::ReplicaClosed,
                (Phase::ClientClosed, Side::Replica) => Phase::Closed,
                (Phase::ReplicaClosed, Side::Client) => Phase::TimeWait,
                (phase, _) => phase,
            };
        }
        let own = &mut self.fins[side as usize];
        if said.has(flag::FIN) {
            let still_to_close = match self.phase {
                Phase::Open => true,
                Phase::ClientClosed => !by_client,
                Phase::ReplicaClosed => by_client,
                _ => false,
            };
            if fits && (still_to_close || own.is_some()) {
                *own = Some(said.end());
            }
        } else if said.payload != 0 && own.is_some_and(|end| said.end().wrapping_sub(end) as i32 >= 0) {
            // More than that FIN had left to say: it was another's.
            *own = None;
        }
    }
}
