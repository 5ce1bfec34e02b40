//! What is known of connections and NAT ports, as single words: who reads one has it whole.
//!
//! Nothing here is written by compare-and-exchange. Each word has one processor that writes it, and the order of two events
//! on both is told by counters: each processor has one, which goes up with each change of a mapping that it has seen, and it
//! reads the other's before each of its packets.

/// Processors at work.
pub const PROCESSORS: usize = 2;
/// Bits of a counter of changes, and its limit.
const STAMP_BITS: u32 = 28;
pub const LAST_STAMP: u64 = (1 << STAMP_BITS) - 1;

/// Where a client's connection is, as its owner has it.
pub mod phase {
    /// Nothing is under way; what was there may be left.
    pub const NONE: u64 = 0;
    /// A SYN, or a refusal that becomes one, is being sent: what is known of the mapping may be old.
    pub const OPENING: u64 = 1;
    pub const SYN_SENT: u64 = 2;
    pub const SYN_RECEIVED: u64 = 3;
    /// The ACK that ends the handshake was sent. It may have come too late.
    pub const PROVED: u64 = 4;
    /// It was seen to be established, so that each of its packets must be sent on, and right.
    pub const LIVE: u64 = 5;
    /// Nobody sends: the harness makes it look idle for too long.
    pub const ASLEEP: u64 = 6;
    /// The steps of both ways to close in order.
    pub const CLIENT_FIRST: u64 = 7;
    pub const REPLICA_FIRST: u64 = 10;
    /// A SYN has met what is left of the connection before: it is reset, by the numbers of a packet before that. It does not count as
    /// established: it may have been silent for too long, and be about to make room.
    pub const STANDS: u64 = 13;
    pub const RESETS: u64 = 14;
}

/// What is known of a client's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record(pub u64);

impl Record {
    const PHASE: u32 = STAMP_BITS;
    const REPLICA: u32 = Self::PHASE + 4;
    const PORT: u32 = Self::REPLICA + 3;
    const LIFE: u32 = Self::PORT + 5;
    const LIFE_BITS: u32 = 64 - Self::LIFE;

    #[inline(always)]
    const fn part(self, at: u32, bits: u32) -> u64 {
        self.0 >> at & ((1 << bits) - 1)
    }

    #[inline(always)]
    const fn with(self, at: u32, bits: u32, value: u64) -> Self {
        let mask = ((1 << bits) - 1) << at;
        Self(self.0 & !mask | value << at & mask)
    }

    /// The owner's counter when the mapping became what it is.
    #[inline(always)]
    pub const fn stamp(self) -> u64 {
        self.part(0, STAMP_BITS)
    }

    /// Of [`phase`].
    #[inline(always)]
    pub const fn phase(self) -> u64 {
        self.part(Self::PHASE, 4)
    }

    #[inline(always)]
    pub const fn live(self) -> bool {
        self.phase() == phase::LIVE
    }

    /// How often it was opened. Each life has numbers of its own.
    #[inline(always)]
    pub const fn life(self) -> u64 {
        self.part(Self::LIFE, Self::LIFE_BITS)
    }

    /// The replica and the port that its last SYN left with.
    #[inline(always)]
    pub const fn mapping(self) -> Mapping {
        Mapping(self.part(Self::REPLICA, 3 + 5))
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_phase(self, phase: u64) -> Self {
        self.with(Self::PHASE, 4, phase)
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_stamp(self, stamp: u64) -> Self {
        self.with(0, STAMP_BITS, stamp)
    }

    #[must_use]
    #[inline(always)]
    pub const fn with_mapping(self, mapping: Mapping) -> Self {
        self.with(Self::REPLICA, 3 + 5, mapping.0)
    }

    /// The next life.
    #[must_use]
    #[inline(always)]
    pub const fn reborn(self) -> Self {
        self.with(Self::LIFE, Self::LIFE_BITS, self.life() + 1)
    }
}

/// A replica, and a NAT port towards it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping(pub u64);

impl Mapping {
    /// None is known.
    pub const NONE: Self = Self(0);

    /// The port counts from the first of the NAT range.
    #[inline(always)]
    pub const fn new(replica: u64, port: u64) -> Self {
        Self((replica + 1) & 7 | (port & 31) << 3)
    }

    /// Its number; beyond the last if there is none.
    #[inline(always)]
    pub const fn replica(self) -> u64 {
        (self.0 & 7).wrapping_sub(1)
    }

    #[inline(always)]
    pub const fn port(self) -> u64 {
        self.0 >> 3
    }

    /// Where its claims stand.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
}

/// Values of [`Mapping::index`].
pub const MAPPINGS: usize = 1 << 8;

/// A processor has seen that a client's SYN left by a port: the last one that it saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim(pub u64);

impl Claim {
    /// `stamp` is the own counter afterwards, `other` the other processor's before.
    #[inline(always)]
    pub const fn new(peer: u64, stamp: u64, other: u64) -> Self {
        Self(stamp & LAST_STAMP | (other & LAST_STAMP) << STAMP_BITS | (peer + 1) << (2 * STAMP_BITS))
    }

    #[inline(always)]
    pub const fn stamp(self) -> u64 {
        self.0 & LAST_STAMP
    }

    #[inline(always)]
    pub const fn other(self) -> u64 {
        self.0 >> STAMP_BITS & LAST_STAMP
    }

    /// One more than the number of the client; 0 if there was none.
    #[inline(always)]
    pub const fn holder(self) -> u64 {
        self.0 >> (2 * STAMP_BITS)
    }
}

/// It cannot be told who holds a port: both processors gave it away at the same time.
pub const UNCLEAR: u64 = 0xff;

/// Who has a port by the last claims of both processors: one more than its number, 0 for nobody, or [`UNCLEAR`].
#[inline(always)]
pub const fn holder(claims: [Claim; PROCESSORS]) -> u64 {
    let [one, two] = claims;
    if two.holder() == 0 || one.holder() == two.holder() {
        return one.holder();
    }
    if one.holder() == 0 {
        return two.holder();
    }
    // The later one began when the other one was over.
    if one.other() >= two.stamp() {
        one.holder()
    } else if two.other() >= one.stamp() {
        two.holder()
    } else {
        UNCLEAR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_parts_apart() {
        let mapping = Mapping::new(3, 31);
        let record = Record(u64::MAX).with_mapping(mapping).with_phase(phase::LIVE).with_stamp(77);
        assert_eq!((record.stamp(), record.phase(), record.mapping()), (77, phase::LIVE, mapping));
        assert_eq!((mapping.replica(), mapping.port()), (3, 31));
        let reborn = record.reborn().reborn();
        assert_eq!((reborn.life(), reborn.stamp(), reborn.mapping()), (1, 77, mapping), "it has wrapped");
        assert!(record.live() && !record.with_phase(phase::OPENING).live());
        assert!(Record(0).mapping() == Mapping::NONE && Mapping::NONE.replica() > 7);
        assert!((mapping.index() as usize) < MAPPINGS);
    }

    #[test]
    fn the_later_claim_has_the_port() {
        let none = Claim(0);
        assert_eq!(holder([none, none]), 0);
        let first = Claim::new(4, 10, 7);
        assert_eq!((first.holder(), first.stamp(), first.other()), (5, 10, 7));
        assert_eq!((holder([first, none]), holder([none, first])), (5, 5));
        let after = Claim::new(6, 8, 10);
        assert_eq!((holder([first, after]), holder([after, first])), (7, 7));
        let meanwhile = Claim::new(6, 8, 9);
        assert_eq!((holder([first, meanwhile]), holder([meanwhile, first])), (UNCLEAR, UNCLEAR));
    }
}
