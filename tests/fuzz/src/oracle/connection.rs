//! A TCP connection through the balancer, as its ends see it.

use crate::{
    net::{End, Ip, Way},
    reader::{Seen, flag},
    world::{CLOSED, HALF_CLOSED, HALF_OPEN, IDLE, SECOND, TIME_WAIT},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its SYN was sent to a replica.
    Asked,
    /// The replica has accepted.
    Answered,
    Open,
    ClientClosed,
    ReplicaClosed,
    /// Both ends have closed it, the replica first.
    TimeWait,
    /// Both ends have closed it, the client first.
    Closed,
    ClientReset,
    ReplicaReset,
    /// Its client has another one by now; its NAT port rests.
    Resting,
    /// Nothing of it is left.
    Gone,
}

/// What of a client's SYN another replica must see.
#[derive(Clone, Debug, Default)]
pub struct Syn {
    pub sequence: [u8; 4],
    pub flags: u8,
    pub window: [u8; 2],
    pub options: Vec<u8>,
    pub ttl: u8,
    pub tos: u8,
    /// Fragment field of IPv4; that of IPv6 is "don't".
    pub fragment: [u8; 2],
    /// It carried data, which nobody keeps.
    pub data: bool,
}

impl Syn {
    pub fn of(frame: &[u8], seen: &Seen) -> Self {
        let tcp = &frame[seen.transport..];
        let options = tcp.get(20..seen.tcp_header).unwrap_or_default().to_vec();
        Self {
            sequence: [tcp[4], tcp[5], tcp[6], tcp[7]],
            flags: tcp[13],
            window: [tcp[14], tcp[15]],
            options,
            ttl: seen.ttl,
            tos: seen.tos,
            fragment: if seen.v4 { [frame[20], frame[21]] } else { [0x40, 0] },
            data: seen.ip_length != seen.network() + seen.tcp_header,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub client: End,
    pub service: usize,
    pub vip: End,
    pub replica: u16,
    /// The replica's address and port, and the NAT address and port that it sees. Nothing where it answers directly.
    pub side: Option<(End, End)>,
    pub phase: Phase,
    /// When its SYN was sent to this replica.
    pub began: u64,
    /// When the last packet of it was known to the datapath.
    pub last: u64,
    /// When the last packet of its client's was.
    pub client_last: u64,
    /// Nothing happened to it that the oracle does not follow to the end: an eviction, a full table.
    pub sure: bool,
    /// When one of its entries vanished.
    pub evicted: Option<u64>,
    /// The ways to the client that may be in force.
    pub ways: Vec<Way>,
    /// Source of the outer packets, in mode IPIP.
    pub outer: Option<Ip>,
    /// Replicas that were asked before.
    pub tried: Vec<u16>,
    pub syn: Syn,
}

impl Connection {
    /// How long it may be without a packet, in ticks.
    pub fn lifetime(&self) -> u64 {
        let seconds = match self.phase {
            Phase::Asked | Phase::Answered => HALF_OPEN,
            Phase::Open => IDLE,
            Phase::ClientClosed | Phase::ReplicaClosed => HALF_CLOSED,
            Phase::TimeWait | Phase::Resting | Phase::ClientReset | Phase::ReplicaReset => TIME_WAIT,
            Phase::Closed | Phase::Gone => CLOSED,
        };
        u64::from(seconds * SECOND)
    }

    pub fn is_handshake(&self) -> bool {
        matches!(self.phase, Phase::Asked | Phase::Answered)
    }

    pub fn is_reset(&self) -> bool {
        matches!(self.phase, Phase::ClientReset | Phase::ReplicaReset)
    }

    /// Neither closed nor reset.
    fn lasts(&self) -> bool {
        match self.phase {
            Phase::Asked | Phase::Answered | Phase::Open | Phase::ReplicaClosed => true,
            // Of a replica that answers directly, nobody sees it close.
            Phase::ClientClosed => self.side.is_some(),
            Phase::TimeWait | Phase::Closed | Phase::ClientReset | Phase::ReplicaReset => false,
            Phase::Resting | Phase::Gone => false,
        }
    }

    /// Over, so that its client may open another.
    pub fn over(&self) -> bool {
        !self.lasts() && !matches!(self.phase, Phase::Resting | Phase::Gone)
    }

    /// An entry may lag a second behind the one of the other direction.
    pub fn surely_in_time(&self, now: u64) -> bool {
        now - self.last + u64::from(SECOND) <= self.lifetime()
    }

    /// Whether it is surely open, or about to be.
    pub fn surely_lasts(&self, now: u64) -> bool {
        self.sure && self.lasts() && self.surely_in_time(now)
    }

    /// Whether a packet of one of its ends must go on to the other.
    pub fn surely_carries(&self, seen: &Seen, now: u64) -> bool {
        let carries = self.lasts() || (self.over() && !seen.opens());
        self.sure && carries && self.surely_in_time(now)
    }

    /// Whether a connection of another host surely may not have its NAT port. A host may have its own back once a
    /// connection was closed, and anybody that of an old handshake.
    pub fn surely_holds_against(&self, host: &Ip, now: u64) -> bool {
        let holds = match self.phase {
            Phase::TimeWait | Phase::Closed | Phase::Resting => self.client.ip != *host,
            Phase::Gone => false,
            Phase::Asked | Phase::Answered => now - self.began <= u64::from(SECOND * 3 / 10),
            Phase::Open | Phase::ClientClosed | Phase::ReplicaClosed => true,
            Phase::ClientReset | Phase::ReplicaReset => true,
        };
        holds && self.sure && self.surely_in_time(now)
    }

    /// The phase after a packet that went on. `accepts` is the replica's SYN and ACK.
    pub fn after(&self, flags: u8, from_client: bool) -> Phase {
        let has = |flag| flags & flag != 0;
        if self.is_handshake() {
            let answered = self.phase == Phase::Answered || self.side.is_none();
            return match from_client {
                _ if has(flag::RST) => Phase::Gone,
                true if answered && has(flag::ACK) && !has(flag::SYN) => {
                    if has(flag::FIN) {
                        Phase::ClientClosed
                    } else {
                        Phase::Open
                    }
                }
                false if has(flag::SYN) && has(flag::ACK) => Phase::Answered,
                true | false => self.phase,
            };
        }
        let reset = if from_client { Phase::ClientReset } else { Phase::ReplicaReset };
        let ended = matches!(self.phase, Phase::TimeWait | Phase::Closed | Phase::Resting | Phase::Gone);
        if has(flag::RST) {
            return if ended { self.phase } else { reset };
        }
        // The end that sent the reset, if it was the end, goes on talking.
        let phase = if self.phase == reset { Phase::Open } else { self.phase };
        match (phase, from_client) {
            _ if !has(flag::FIN) => phase,
            (Phase::Open, true) => Phase::ClientClosed,
            (Phase::Open, false) => Phase::ReplicaClosed,
            (Phase::ClientClosed, false) => Phase::Closed,
            (Phase::ReplicaClosed, true) => Phase::TimeWait,
            _ => phase,
        }
    }
}
