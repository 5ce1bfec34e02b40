//! The flow table: buckets of four entries in an array, one cache line an IPv4 entry, written by several CPUs at once.
//!
//! A key has two candidate buckets ([`Buckets`]). An entry has 64 bytes ([`entry`]); one with an IPv6 address in it takes two
//! neighbouring entries. Userspace maps the same array into memory and reads it.
//!
//! # The protocol
//!
//! A NAT connection has two entries: the *client's* (packets to the replica) and the *replica's* (packets to the client), whose
//! key holds the NAT port. Each knows the other by its place. A connection of a direct mode has the client's only.
//!
//! Each entry has a **control word**: whether it is locked, state, direction, and a version. It changes by
//! compare-and-exchange only, and a new version begins each time that the entry is given away or taken. Invariants:
//!
//! 1. Who has set `LOCKED` owns the entry and is the only one who writes its key, its rewriting and its control word.
//! 2. A reader looks at the control word before and after: the same version, not locked, means that all in between is of one
//!    connection. Its state may have changed: that is no reason to take it for gone.
//! 3. The client's control word *is* the connection: it is changed first, and an end begins there. So a connection is
//!    promoted or evicted, never both, and states do not overtake each other. The replica's copy follows.
//! 4. A NAT port is taken for as long as the replica's entry stands. It is entered before the client's and freed after it, so
//!    that no packet leaves by a port that is free.
//! 5. Both entries are locked until both are whole.
//! 6. Insertions of one key exclude each other by a lock that the key's hash chooses, so that no key is there twice. Nobody
//!    holds two such locks.
//! 7. An established NAT connection makes room for nothing, unless it has outlived the idle time-out ([`room`]).
//!
//! Nobody waits for an entry. A locked one counts as taken, and who cannot get on says `Busy`: the packet is dropped, and TCP
//! sends it again. Fields that are not part of a connection's identity (`last_seen`, `acknowledged`) are single words, written
//! without the lock by who forwards a packet: a store that comes late costs the next connection nothing that it decides by. What a
//! handshake compares stands in a word of its own (`EXPECTED`), which, as `FIN`, is written by exchange only; and a wide entry has
//! nothing where a narrow one in the place of its second half has the others.

use crate::abi::{End, Settings, Ticks};

pub mod account;
pub mod change;
pub mod control;
pub mod entry;
pub mod find;
pub mod insert;
pub mod next_hops;
pub mod room;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "user", test))]
pub mod told;

pub use change::{copy_state, end, tell_again, tell_ended, transition};
pub use control::{Control, Direction, State};
pub use entry::{Flow, Place};
pub use find::{find, partner, read, stands};
pub use insert::{Insertion, insert, publish};

/// Entries in a bucket.
pub const WAYS: u32 = 4;
/// Bytes of an entry: a cache line.
pub const ENTRY_BYTES: usize = 64;
/// 32-bit words of an entry.
pub const ENTRY_WORDS: usize = ENTRY_BYTES / 4;
/// Bytes of a bucket.
pub const BUCKET_BYTES: usize = WAYS as usize * ENTRY_BYTES;
/// Handshakes in a bucket at most: a flood of SYNs leaves the other entries to connections.
pub const HANDSHAKES_A_BUCKET: u32 = 2;
/// Locks for insertions.
pub const LOCKS: usize = 65_536;

/// An entry's words, shared with other CPUs. Stores are seen in their order.
pub trait Line: Copy {
    fn load(self, word: usize) -> u32;
    fn store(self, word: usize, value: u32);
    /// Compare-and-exchange, a full barrier. Says whether the word was `old`, and is `new` now.
    #[must_use]
    fn exchange(self, word: usize, old: u32, new: u32) -> bool;
    /// Adds to an even word and to the one behind it, where neither overflows. In the kernel no other addition is lost.
    #[inline(always)]
    fn add(self, word: usize, first: u32, second: u32) {
        self.store(word, self.load(word).wrapping_add(first));
        self.store(word + 1, self.load(word + 1).wrapping_add(second));
    }
}

/// The memory that the table stands in.
pub trait Memory {
    type Line: Line;
    type Bucket: Copy;
    /// Nothing if the table has no such bucket.
    fn bucket(&self, number: u32) -> Option<Self::Bucket>;
    /// The entry of a bucket in this way, of [`WAYS`].
    fn way(&self, bucket: Self::Bucket, way: u32) -> Self::Line;
    /// The aligned pair of entries that this way is in, as one of twice the words.
    fn pair_of(&self, bucket: Self::Bucket, way: u32) -> Self::Line;
    /// Takes the lock of a hash. Says whether that was possible in time.
    #[must_use]
    fn lock(&self, hash: u32) -> bool;
    fn unlock(&self, hash: u32);

    /// Asks for all entries of a key's buckets, and for its lock, at once: what is about to look at them one after the other,
    /// each as the one before says, would wait for the memory as many times.
    #[inline(always)]
    fn fetch(&self, _: Buckets) {}

    /// The same number, of which the verifier knows nothing any more: else it follows each way that leads to one by itself.
    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        number
    }

    /// A connection is over, or its handshake is: who has locked its client's entry, or has given it the state of an end, says so, once.
    /// Its words stand there still. Says whether that is done, or to be said again.
    #[inline(always)]
    fn over(&self, _: Place, _: Control, _: End) -> bool {
        true
    }

    /// The entry at a place. Nothing if the table has no such place.
    #[inline(always)]
    fn line(&self, place: Place) -> Option<Self::Line> {
        let bucket = self.bucket(place.bucket())?;
        Some(self.way(bucket, place.way()))
    }

    /// The pair of entries that a place is in.
    #[inline(always)]
    fn pair(&self, place: Place) -> Option<Self::Line> {
        let bucket = self.bucket(place.bucket())?;
        Some(self.pair_of(bucket, place.way()))
    }
}

/// The buckets of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    pub hash: u32,
    pub first: u32,
    pub second: u32,
}

impl Buckets {
    /// The way of a bucket that is looked at first.
    #[inline(always)]
    pub const fn preferred(&self) -> u32 {
        self.hash & (WAYS - 1)
    }

    /// The place that is looked at as the one of this number, of [`CANDIDATES`].
    #[inline(always)]
    pub const fn candidate(&self, number: u32) -> Place {
        let bucket = if number < WAYS { self.first } else { self.second };
        Place(bucket * WAYS + ((number & (WAYS - 1)) ^ self.preferred()))
    }
}

/// Places in which a key may stand.
pub const CANDIDATES: u32 = 2 * WAYS;

/// Where a hash may stand in a table of so many buckets.
#[inline(always)]
pub const fn buckets(hash: u32, count: u32) -> Buckets {
    let first = crate::hash::scale(hash, count);
    // Odd, so that keys that meet in the first bucket, whose hashes differ in the low bits, part in the second.
    let second = crate::hash::scale(hash.wrapping_mul(0x9e37_79b1), count);
    Buckets { hash, first, second }
}

/// What decides about ages: settings, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    pub settings: &'a Settings,
    pub now: Ticks,
}
