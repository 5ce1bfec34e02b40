//! An entry: its words, and what they say as a value. Its control word is in [`super::control`].
//!
//! ```text
//! word  0      replica (16 bits), next hop of the client (16 bits, index)
//!       1      control: locked, state, direction, wide, unacknowledged FINs, version
//!       2      what this direction acknowledged last
//!       3      when a packet was last seen
//!       4      place of the other entry
//!       5      sequence number behind this direction's FIN; in the client's entry of a handshake: where its SYN is kept, and
//!              in the replica's: the last number that it may acknowledge, behind what the SYN carries
//!       6      when the connection was opened; in the replica's entry, after the handshake, see [`super::account`]
//!       7      what this direction has to acknowledge in the handshake: a word of its own, as the fast path may store what it
//!              acknowledges into an entry that is another connection's by now; in the replica's entry of a connection whose
//!              client has closed, the timestamp of its FIN; in the client's, after the handshake, see [`super::account`]
//!       8      packets of this direction
//!       9      bytes of this direction
//!      10..13  key: source, destination, ports
//!      13..16  what the packet leaves with: source, destination, ports
//! ```
//!
//! A wide entry, with an IPv6 address on either side, has source (10..14), ports (14) and new ports (15) there, and in
//! its second half destination (20..24), new source (24..28) and new destination (28..32); word 17 is the control word of that
//! half, which says that it goes on from the one before. Nothing stands in words 16, 18 and 19: who forwards a packet stores words 2
//! and 3 without the lock, and may do so when what was an entry by itself has become a second half. Words 8 and 9 are stored so, too,
//! and there is no room for their counterparts to be empty: what was an entry by itself becomes a second half only when nothing was seen
//! of it for an eighth of a second ([`super::room::unrested`]), and no packet is under way for that long.

use super::{Control, Direction, ENTRY_WORDS, Line, Memory, State, WAYS};
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
    /// The same word, after the handshake.
    pub const TIMESTAMP: usize = EXPECTED;
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
    /// In the replica's entry of a connection whose client has closed: the timestamp of its FIN (RFC 7323, host order); 0 if none
    /// was found there. Means nothing before.
    pub timestamp: u32,
    /// When the connection was opened, or asked its replica; in the replica's entry, in the handshake only.
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
    flow.timestamp = line.load(word::TIMESTAMP);
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
