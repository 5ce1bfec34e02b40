//! A TCP connection through the balancer: what its ends have said, and what the datapath must make of it.

use dtr_lb_common::abi::{Place, State};

use super::accounts::Account;
use crate::{
    ends::Tcp,
    net::{End, Ip, Way},
    reader::Seen,
    world::{CLOSED, HALF_CLOSED, HALF_OPEN, IDLE, PORT_REST, SECOND, TIME_WAIT},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client = 0,
    Replica = 1,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Replica,
            Self::Replica => Self::Client,
        }
    }
}

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
    Held,
    /// Nothing of it is left.
    Gone,
}

impl Phase {
    /// How the flow table calls it.
    pub fn state(self) -> State {
        match self {
            Self::Asked => State::SYN_SENT,
            Self::Answered => State::SYN_RECEIVED,
            Self::Open => State::ESTABLISHED,
            Self::ClientClosed => State::CLIENT_CLOSED,
            Self::ReplicaClosed => State::REPLICA_CLOSED,
            Self::TimeWait => State::TIME_WAIT,
            Self::Closed => State::CLOSED,
            Self::ClientReset => State::CLIENT_RESET,
            Self::ReplicaReset => State::REPLICA_RESET,
            Self::Held => State::TIME_WAIT_HELD,
            Self::Gone => State::FREE,
        }
    }

    pub fn handshake(self) -> bool {
        matches!(self, Self::Asked | Self::Answered)
    }

    /// Data may be sent.
    pub fn live(self) -> bool {
        matches!(self, Self::Open | Self::ClientClosed | Self::ReplicaClosed)
    }
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
    /// Its checksums were right, as far as that is looked at.
    pub whole: bool,
    /// No host has a reason to be silent about it: it has hops left, and nothing that could be a signature.
    pub answerable: bool,
}

impl Syn {
    /// The client's clock, where Linux and the BSDs put it.
    fn clock(&self) -> Option<u32> {
        let at = [6, 10].into_iter().find(|at| self.options.get(*at..at + 2) == Some(&[8, 10]))?;
        let clock =
            self.options.get(at + 2..at + 6).filter(|_| self.options.len() >= at + 10 && !self.data)?;
        Some(u32::from_be_bytes(clock.try_into().ok()?)).filter(|clock| *clock != 0)
    }

    pub fn of(frame: &[u8], seen: &Seen) -> Self {
        let tcp = &frame[seen.transport..];
        let options = tcp.get(20..seen.tcp_header).unwrap_or_default().to_vec();
        let answerable = seen.ttl >= 32 && !options.iter().any(|byte| matches!(byte, 19 | 29));
        Self {
            sequence: [tcp[4], tcp[5], tcp[6], tcp[7]],
            flags: tcp[13],
            window: [tcp[14], tcp[15]],
            options,
            ttl: seen.ttl,
            tos: seen.tos,
            fragment: if seen.v4 { [frame[20], frame[21]] } else { [0x40, 0] },
            data: seen.ip_length != seen.network() + seen.tcp_header,
            answerable,
            whole: seen.checksum_right(frame) == Some(true) && seen.header_right(frame),
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
    /// When each side was heard last.
    pub last: [u64; 2],
    /// What each side has acknowledged last; in a handshake, what it has to.
    pub acknowledged: [u32; 2],
    /// What the client's clock said last while the connection was closed.
    pub clock: Option<u32>,
    /// The number behind what its SYN carries.
    pub syn_end: u32,
    /// The number behind a FIN that the other side has not acknowledged.
    pub fins: [Option<u32>; 2],
    /// The way to the client.
    pub way: Way,
    /// Source of the outer packets, in mode IPIP.
    pub outer: Option<Ip>,
    /// Replicas that were asked before.
    pub tried: Vec<u16>,
    pub syn: Syn,
    /// Where that is kept.
    pub kept: u32,
    /// Where its entries stand: that of the client's packets, and of the replica's.
    pub places: [Place; 2],
    /// What its ends know.
    pub ends: [Tcp; 2],
    /// Its entries take two places each.
    pub wide: bool,
    /// Its entries stand where others with their keys did.
    pub in_place: [bool; 2],
    /// What it has carried, and what was measured.
    pub account: Account,
    /// What a stranger said was believed once.
    pub fooled: bool,
}

impl Connection {
    pub fn direct(&self) -> bool {
        self.side.is_none()
    }

    /// Its client has none with the same ends that is newer.
    pub fn lasts(&self) -> bool {
        self.phase.handshake() || (self.phase.live() && !self.over())
    }

    /// Over for its client, who may open another.
    pub fn over(&self) -> bool {
        match self.phase {
            Phase::TimeWait | Phase::Closed | Phase::ClientReset | Phase::ReplicaReset => true,
            // Of a replica that answers directly, nobody sees it close.
            Phase::ClientClosed => self.direct(),
            Phase::Asked | Phase::Answered | Phase::Open | Phase::ReplicaClosed => false,
            Phase::Held | Phase::Gone => false,
        }
    }

    /// FINs that wait, as bits.
    pub fn waiting_fins(&self) -> u8 {
        u8::from(self.fins[0].is_some()) | u8::from(self.fins[1].is_some()) << 1
    }

    /// Whether a client's SYN is that of this handshake once more.
    pub fn repeats_syn(&self, opens: bool, sequence: u32) -> bool {
        let side = if self.direct() { Side::Client } else { Side::Replica };
        self.phase.handshake() && opens && sequence.wrapping_add(1) == self.acknowledged[side as usize]
    }

    fn lifetime(&self) -> u64 {
        let seconds = match self.phase {
            Phase::Asked | Phase::Answered => HALF_OPEN,
            Phase::Open => IDLE,
            Phase::ClientClosed | Phase::ReplicaClosed => HALF_CLOSED,
            Phase::TimeWait | Phase::Held => TIME_WAIT,
            Phase::Closed | Phase::ClientReset | Phase::ReplicaReset | Phase::Gone => CLOSED,
        };
        u64::from(seconds * SECOND)
    }

    /// Whether a side has been silent for longer than the phase lasts.
    pub(super) fn expired(&self, side: Side, now: u64) -> bool {
        now - self.last[side as usize] > self.lifetime()
    }

    /// Whether all of it has.
    pub fn outlived(&self, now: u64) -> bool {
        let client = self.phase == Phase::Held || self.expired(Side::Client, now);
        client && (self.direct() || self.expired(Side::Replica, now))
    }

    /// Whether it may make room for another one.
    pub fn makes_room(&self, now: u64) -> bool {
        !self.phase.live() || self.direct() || self.outlived(now)
    }

    /// Whether it must give up its NAT port to a connection of this client.
    ///
    /// To its own client's next one; for an old handshake and a host whose connection has ended to anybody, where ports are
    /// short; and where no socket is left at the replica, after a while. To anybody whose SYN a replica in TIME_WAIT takes for a new
    /// one.
    pub fn gives_up_port(&self, begun: &Self, now: u64) -> bool {
        let (client, vip) = (begun.client, begun.vip);
        let own = (self.client, self.vip) == (client, vip);
        let silent = now - self.last[Side::Replica as usize];
        let old = self.expired(Side::Replica, now);
        match self.phase {
            Phase::Gone => true,
            Phase::Asked | Phase::Answered => own || old || now - self.began > u64::from(SECOND * 3 / 10),
            Phase::TimeWait if self.is_older_than(&begun.syn) => true,
            Phase::TimeWait | Phase::Held => own || old || self.client.ip == client.ip,
            Phase::Closed | Phase::ClientReset | Phase::ReplicaReset => {
                own || old || self.client.ip == client.ip || silent > u64::from(PORT_REST * SECOND)
            }
            Phase::Open | Phase::ClientClosed | Phase::ReplicaClosed => false,
        }
    }

    /// Whether a replica in TIME_WAIT takes a SYN for a new connection (RFC 6191): by clocks, or without one by its number.
    fn is_older_than(&self, syn: &Syn) -> bool {
        let ahead = |new: u32, old: u32| new.wrapping_sub(old) as i32;
        match (syn.clock(), self.clock) {
            (Some(now), Some(last)) => ahead(now, last) > 0,
            (Some(_), None) => false,
            // Where none can be among the options.
            (None, _) => {
                let beyond =
                    ahead(u32::from_be_bytes(syn.sequence), self.acknowledged[Side::Replica as usize]);
                syn.options.len() <= 12 && !syn.data && beyond > 1
            }
        }
    }
}
