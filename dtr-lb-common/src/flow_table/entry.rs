//! An entry: its words, its control word, and what it says as a value.
//!
//! ```text
//! word  0      replica (16 bits), next hop of the client (16 bits, index)
//!       1      control: locked, state, direction, wide, unacknowledged FINs, version
//!       2      what this direction acknowledged last
//!       3      when a packet was last seen
//!       4      place of the other entry
//!       5      sequence number behind this direction's FIN; in the client's entry of a handshake: where its SYN is kept, and
//!              in the replica's: the last number that it may acknowledge, behind what the SYN carries
//!       6      when the connection was opened
//!       7      what this direction has to acknowledge in the handshake: a word of its own, as the fast path may store what it
//!              acknowledges into an entry that is another connection's by now
//!       8      packets of this direction  (kept for the flow log)
//!       9      bytes of this direction    (kept for the flow log)
//!      10..13  key: source, destination, ports
//!      13..16  what the packet leaves with: source, destination, ports
//! ```
//!
//! A wide entry, with an IPv6 address on either side, has source (10..14), ports (14) and new ports (15) there, and in
//! its second half destination (20..24), new source (24..28) and new destination (28..32); word 17 is the control word of that
//! half, which says that it goes on from the one before. Nothing stands in words 16, 18 and 19: who forwards a packet stores words 2
//! and 3 without the lock, and may do so when what was an entry by itself has become a second half.

use core::fmt;

use super::{ENTRY_WORDS, Line, Memory, WAYS};
use crate::{
    abi::{ReplicaId, Ticks, Tuple},
    address::{Address, Be16, Family},
};

/// Numbers of an entry's words.
pub mod word {
    pub const REPLICA_HOP: usize = 0;
    pub const CONTROL: usize = 1;
    pub const ACKNOWLEDGED: usize = 2;
    pub const LAST_SEEN: usize = 3;
    pub const PARTNER: usize = 4;
    pub const FIN: usize = 5;
    pub const OPENED: usize = 6;
    pub const EXPECTED: usize = 7;
    pub const PACKETS: usize = 8;
    pub const BYTES: usize = 9;
    pub const KEY: usize = 10;
    pub const TO: usize = 13;
    pub const WIDE_SOURCE: usize = 10;
    pub const WIDE_PORTS: usize = 14;
    pub const WIDE_TO_PORTS: usize = 15;
    /// The control word of a wide entry's second half.
    pub const WIDE_CONTROL: usize = 17;
    pub const WIDE_DESTINATION: usize = 20;
    pub const WIDE_TO_SOURCE: usize = 24;
    pub const WIDE_TO_DESTINATION: usize = 28;
}

/// Words that are stored without the lock are not among those of a second half.
const _: () = assert!(ENTRY_WORDS + word::ACKNOWLEDGED < word::WIDE_DESTINATION);
const _: () = assert!(ENTRY_WORDS + word::LAST_SEEN < word::WIDE_DESTINATION);

/// Where an entry stands: bucket and way.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Place(pub u32);

impl Place {
    /// No place.
    pub const NONE: Self = Self(u32::MAX);

    #[inline(always)]
    pub const fn bucket(self) -> u32 {
        self.0 / WAYS
    }

    #[inline(always)]
    pub const fn way(self) -> u32 {
        self.0 % WAYS
    }
}

/// Which way the packets of an entry go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    ToReplica = 0,
    ToClient = 1,
    /// Towards the replica, which answers the client directly: there is no entry for the other direction.
    Direct = 2,
}

impl Direction {
    /// Whether its packets are the client's.
    #[inline(always)]
    pub const fn from_client(self) -> bool {
        !matches!(self, Self::ToClient)
    }
}

/// Where a connection is in its life.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct State(pub u8);

impl State {
    /// Nothing stands there.
    pub const FREE: Self = Self(0);
    /// The client's SYN was sent to the replica.
    pub const SYN_SENT: Self = Self(1);
    /// The replica's SYN-ACK was sent to the client.
    pub const SYN_RECEIVED: Self = Self(2);
    pub const ESTABLISHED: Self = Self(3);
    /// The client has closed its direction, and the replica has acknowledged that.
    pub const CLIENT_CLOSED: Self = Self(4);
    /// The replica has closed its direction, and the client has acknowledged that.
    pub const REPLICA_CLOSED: Self = Self(5);
    /// Both have closed, the replica first: its socket is in TIME_WAIT.
    pub const TIME_WAIT: Self = Self(6);
    /// Both have closed, the client first: no socket is left at the replica.
    pub const CLOSED: Self = Self(7);
    /// Its client has opened another connection with the same tuple. The replica's entry keeps the NAT port from others while
    /// the replica's socket is in TIME_WAIT.
    pub const TIME_WAIT_HELD: Self = Self(8);
    /// A reset with the right number came from the client, and nothing of the client's after it.
    pub const CLIENT_RESET: Self = Self(9);
    /// A reset with the right number came from the replica, and nothing of the replica's after it.
    pub const REPLICA_RESET: Self = Self(10);
    /// The second half of a wide entry.
    pub const CONTINUED: Self = Self(15);

    /// All that a connection can be in.
    pub const ALL: [Self; 10] = [
        Self::SYN_SENT,
        Self::SYN_RECEIVED,
        Self::ESTABLISHED,
        Self::CLIENT_CLOSED,
        Self::REPLICA_CLOSED,
        Self::TIME_WAIT,
        Self::CLOSED,
        Self::TIME_WAIT_HELD,
        Self::CLIENT_RESET,
        Self::REPLICA_RESET,
    ];

    /// Nothing is to be sent any more: both directions were closed in order, or one was reset.
    #[inline(always)]
    pub const fn ended(self) -> bool {
        self.0 >= Self::TIME_WAIT.0 && self.0 <= Self::REPLICA_RESET.0
    }

    #[inline(always)]
    pub const fn handshake(self) -> bool {
        self.0 == Self::SYN_SENT.0 || self.0 == Self::SYN_RECEIVED.0
    }

    /// Data may be sent.
    #[inline(always)]
    pub const fn live(self) -> bool {
        self.0 >= Self::ESTABLISHED.0 && self.0 <= Self::REPLICA_CLOSED.0
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::FREE => "free",
            Self::SYN_SENT => "syn_sent",
            Self::SYN_RECEIVED => "syn_received",
            Self::ESTABLISHED => "established",
            Self::CLIENT_CLOSED => "client_closed",
            Self::REPLICA_CLOSED => "replica_closed",
            Self::TIME_WAIT => "time_wait",
            Self::CLOSED => "closed",
            Self::TIME_WAIT_HELD => "time_wait_held",
            Self::CLIENT_RESET => "client_reset",
            Self::REPLICA_RESET => "replica_reset",
            Self(_) => "unknown",
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The control word. 0 is a free entry that was never used.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Control(pub u32);

impl Control {
    const LOCKED: u32 = 1;
    const STATE_SHIFT: u32 = 1;
    const STATE: u32 = 0xf << Self::STATE_SHIFT;
    const DIRECTION_SHIFT: u32 = 5;
    const DIRECTION: u32 = 3 << Self::DIRECTION_SHIFT;
    const WIDE: u32 = 1 << 7;
    /// A FIN of the client that the replica has not acknowledged yet, and of the replica.
    const CLIENT_FIN: u32 = 1 << 8;
    const REPLICA_FIN: u32 = 1 << 9;
    const VERSION_SHIFT: u32 = 10;
    /// What a packet of the fast path looks at.
    pub const STEADY_MASK: u32 =
        Self::LOCKED | Self::STATE | Self::WIDE | Self::CLIENT_FIN | Self::REPLICA_FIN;
    /// What it finds there if nothing about the connection changes: an entry of IPv4 alone, and a wide one.
    pub const STEADY: u32 = (State::ESTABLISHED.0 as u32) << Self::STATE_SHIFT;
    pub const STEADY_WIDE: u32 = Self::STEADY | Self::WIDE;

    #[inline(always)]
    pub const fn new(state: State, direction: Direction, wide: bool) -> Self {
        let wide = if wide { Self::WIDE } else { 0 };
        Self((state.0 as u32) << Self::STATE_SHIFT | (direction as u32) << Self::DIRECTION_SHIFT | wide)
    }

    #[inline(always)]
    pub const fn locked(self) -> bool {
        self.0 & Self::LOCKED != 0
    }

    #[inline(always)]
    pub const fn state(self) -> State {
        State(((self.0 & Self::STATE) >> Self::STATE_SHIFT) as u8)
    }

    #[inline(always)]
    pub const fn direction(self) -> Direction {
        match (self.0 & Self::DIRECTION) >> Self::DIRECTION_SHIFT {
            0 => Direction::ToReplica,
            1 => Direction::ToClient,
            _ => Direction::Direct,
        }
    }

    #[inline(always)]
    pub const fn wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }

    #[inline(always)]
    pub const fn version(self) -> u32 {
        self.0 >> Self::VERSION_SHIFT
    }

    /// Whether another look at the word, later, finds the same connection, and that nobody has rewritten the entry between
    /// both: its state may be another one.
    #[inline(always)]
    pub const fn stays(self, later: Self) -> bool {
        (self.0 ^ later.0) & (u32::MAX << Self::VERSION_SHIFT | Self::LOCKED) == 0
    }

    /// Whether nothing stands there, and nobody is about to change that.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 & (Self::LOCKED | Self::STATE) == 0
    }

    /// Whether a FIN of this side waits for its acknowledgment.
    #[inline(always)]
    pub const fn fin(self, from_client: bool) -> bool {
        self.0 & Self::fin_bit(from_client) != 0
    }

    /// Whether a packet of the connection that is neither SYN nor FIN nor RST changes nothing about it.
    #[inline(always)]
    pub const fn steady(self) -> bool {
        self.0 & Self::STEADY_MASK & !Self::WIDE == Self::STEADY
    }

    #[inline(always)]
    const fn fin_bit(from_client: bool) -> u32 {
        if from_client { Self::CLIENT_FIN } else { Self::REPLICA_FIN }
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_state(self, state: State) -> Self {
        Self(self.0 & !Self::STATE | (state.0 as u32) << Self::STATE_SHIFT)
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_fin(self, from_client: bool, waits: bool) -> Self {
        let bit = Self::fin_bit(from_client);
        Self(if waits { self.0 | bit } else { self.0 & !bit })
    }

    /// Taken by who will write the entry.
    #[must_use]
    #[inline(always)]
    pub const fn taken(self) -> Self {
        Self(self.0.wrapping_add(1 << Self::VERSION_SHIFT) | Self::LOCKED)
    }

    /// Free, as a new version.
    #[must_use]
    #[inline(always)]
    pub const fn freed(self) -> Self {
        let version = self.version().wrapping_add(1);
        Self(version << Self::VERSION_SHIFT)
    }

    /// What is new, in the version of this word, with its lock.
    #[must_use]
    #[inline(always)]
    pub const fn become_(self, new: Self) -> Self {
        let keep = !(Self::STATE | Self::DIRECTION | Self::WIDE | Self::CLIENT_FIN | Self::REPLICA_FIN);
        Self(self.0 & keep | new.0 & !keep)
    }

    #[must_use]
    #[inline(always)]
    pub const fn unlocked(self) -> Self {
        Self(self.0 & !Self::LOCKED)
    }

    /// The state of another word, and the FINs that wait there.
    #[must_use]
    #[inline(always)]
    pub const fn with_progress_of(self, other: Self) -> Self {
        let progress = Self::STATE | Self::CLIENT_FIN | Self::REPLICA_FIN;
        Self(self.0 & !progress | other.0 & progress)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lock = if self.locked() { ", locked" } else { "" };
        let fins = match (self.fin(true), self.fin(false)) {
            (false, false) => "",
            (true, false) => ", client's FIN",
            (false, true) => ", replica's FIN",
            (true, true) => ", both FINs",
        };
        write!(f, "{:?} {:?}{lock}{fins}, version {}", self.state(), self.direction(), self.version())
    }
}

/// One direction of a connection, as its entry says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Flow {
    /// The tuple that its packets come with.
    pub key: Tuple,
    /// The tuple that they leave with. Reversed it is the key of the other direction. It may be of the other family.
    pub to: Tuple,
    pub place: Place,
    pub control: Control,
    pub partner: Place,
    pub replica: ReplicaId,
    /// Index of the next hop to the client: where its packets come from.
    pub hop: u16,
    pub last_seen: Ticks,
    /// What this direction acknowledged last; in a handshake what it has to acknowledge.
    pub acknowledged: u32,
    /// The number behind this direction's FIN; in the client's entry of a handshake where its SYN is kept, and in the replica's
    /// the number behind what the SYN carries.
    pub fin: u32,
    pub opened: Ticks,
}

impl Flow {
    #[inline(always)]
    pub const fn state(&self) -> State {
        self.control.state()
    }

    #[inline(always)]
    pub const fn direction(&self) -> Direction {
        self.control.direction()
    }

    /// Whether it takes two neighbouring entries.
    #[inline(always)]
    pub const fn wide(&self) -> bool {
        !(matches!(self.key.destination.family(), Family::V4)
            && matches!(self.to.destination.family(), Family::V4))
    }
}

/// Both ports as one word.
#[inline(always)]
pub fn ports(tuple: &Tuple) -> u32 {
    bytemuck::must_cast([tuple.source_port, tuple.destination_port])
}

#[inline(always)]
fn v4(word: u32) -> Address {
    Address::v4(bytemuck::must_cast(word))
}

#[inline(always)]
fn load_address<L: Line>(line: L, at: usize) -> Address {
    Address::v6(bytemuck::must_cast([line.load(at), line.load(at + 1), line.load(at + 2), line.load(at + 3)]))
}

#[inline(always)]
fn store_address<L: Line>(line: L, at: usize, address: &Address) {
    let [a, b, c, d] = address.wide();
    line.store(at, a);
    line.store(at + 1, b);
    line.store(at + 2, c);
    line.store(at + 3, d);
}

#[inline(always)]
fn set_ports(tuple: &mut Tuple, word: u32) {
    let [source, destination]: [Be16; 2] = bytemuck::must_cast(word);
    tuple.source_port = source;
    tuple.destination_port = destination;
}

/// Reads all words of the entry with this control word. They may be of several connections: see [`super::read`].
#[inline(always)]
pub(super) fn load<M: Memory>(memory: &M, place: Place, control: Control, flow: &mut Flow) -> Option<()> {
    let line = memory.line(place)?;
    let replica_hop = line.load(word::REPLICA_HOP);
    flow.place = place;
    flow.control = control;
    flow.replica = replica_hop as u16;
    flow.hop = (replica_hop >> 16) as u16;
    flow.partner = Place(line.load(word::PARTNER));
    flow.last_seen = line.load(word::LAST_SEEN);
    let acknowledged = if control.state().handshake() { word::EXPECTED } else { word::ACKNOWLEDGED };
    flow.acknowledged = line.load(acknowledged);
    flow.fin = line.load(word::FIN);
    flow.opened = line.load(word::OPENED);
    if control.wide() {
        let pair = memory.pair(place)?;
        flow.key.source = load_address(pair, word::WIDE_SOURCE);
        flow.key.destination = load_address(pair, word::WIDE_DESTINATION);
        flow.to.source = load_address(pair, word::WIDE_TO_SOURCE);
        flow.to.destination = load_address(pair, word::WIDE_TO_DESTINATION);
        set_ports(&mut flow.key, pair.load(word::WIDE_PORTS));
        set_ports(&mut flow.to, pair.load(word::WIDE_TO_PORTS));
    } else {
        flow.key.source = v4(line.load(word::KEY));
        flow.key.destination = v4(line.load(word::KEY + 1));
        flow.to.source = v4(line.load(word::TO));
        flow.to.destination = v4(line.load(word::TO + 1));
        set_ports(&mut flow.key, line.load(word::KEY + 2));
        set_ports(&mut flow.to, line.load(word::TO + 2));
    }
    Some(())
}

/// Writes all words but the control word, of an entry that is locked.
#[inline(always)]
pub(super) fn store<M: Memory>(memory: &M, place: Place, flow: &Flow) -> Option<()> {
    let line = memory.line(place)?;
    line.store(word::REPLICA_HOP, u32::from(flow.replica) | u32::from(flow.hop) << 16);
    line.store(word::PARTNER, flow.partner.0);
    line.store(word::LAST_SEEN, flow.last_seen);
    line.store(word::ACKNOWLEDGED, flow.acknowledged);
    line.store(word::EXPECTED, flow.acknowledged);
    line.store(word::FIN, flow.fin);
    line.store(word::OPENED, flow.opened);
    line.store(word::PACKETS, 0);
    line.store(word::BYTES, 0);
    if flow.wide() {
        let pair = memory.pair(place)?;
        store_address(pair, word::WIDE_SOURCE, &flow.key.source);
        store_address(pair, word::WIDE_DESTINATION, &flow.key.destination);
        store_address(pair, word::WIDE_TO_SOURCE, &flow.to.source);
        store_address(pair, word::WIDE_TO_DESTINATION, &flow.to.destination);
        pair.store(word::WIDE_PORTS, ports(&flow.key));
        pair.store(word::WIDE_TO_PORTS, ports(&flow.to));
    } else {
        line.store(word::KEY, flow.key.source.wide()[3]);
        line.store(word::KEY + 1, flow.key.destination.wide()[3]);
        line.store(word::KEY + 2, ports(&flow.key));
        line.store(word::TO, flow.to.source.wide()[3]);
        line.store(word::TO + 1, flow.to.destination.wide()[3]);
        line.store(word::TO + 2, ports(&flow.to));
    }
    Some(())
}

/// Whether the entry has this key. It may change meanwhile.
#[inline(always)]
pub(super) fn has_key<M: Memory>(memory: &M, place: Place, control: Control, key: &Tuple) -> bool {
    let Some(line) = memory.line(place) else { return false };
    if !control.wide() {
        return key.destination.family() == Family::V4
            && line.load(word::KEY + 2) == ports(key)
            && line.load(word::KEY) == key.source.wide()[3]
            && line.load(word::KEY + 1) == key.destination.wide()[3];
    }
    let Some(pair) = memory.pair(place) else { return false };
    pair.load(word::WIDE_PORTS) == ports(key)
        && load_address(pair, word::WIDE_SOURCE) == key.source
        && load_address(pair, word::WIDE_DESTINATION) == key.destination
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_word_keeps_its_parts_apart() {
        for state in State::ALL {
            for direction in [Direction::ToReplica, Direction::ToClient, Direction::Direct] {
                for wide in [false, true] {
                    let control = Control(77 << Control::VERSION_SHIFT).taken();
                    let control = control.become_(Control::new(state, direction, wide));
                    assert!(control.locked() && control.version() == 78);
                    let control = control.unlocked().with_fin(true, true);
                    assert_eq!(
                        (control.state(), control.direction(), control.wide()),
                        (state, direction, wide)
                    );
                    assert!(control.fin(true) && !control.fin(false) && !control.is_free());
                    let next = control.with_state(State::CLOSED).with_fin(true, false);
                    assert_eq!((next.state(), next.version()), (State::CLOSED, 78));
                    assert!(control.freed().is_free() && control.freed().version() == 79);
                    let steady = next.with_state(State::ESTABLISHED).0 & Control::STEADY_MASK;
                    assert_eq!(steady, if wide { Control::STEADY_WIDE } else { Control::STEADY });
                }
            }
        }
    }

    #[test]
    fn a_version_that_wraps_leaves_the_rest_alone() {
        let last = Control(u32::MAX).unlocked();
        assert_eq!(last.taken().version(), 0);
        assert_eq!(last.taken().state(), last.state());
    }
}
