//! Who makes room for a new entry.
//!
//! In this order: a free entry, a connection that has outlived its state, one that has ended (the oldest), a handshake (the
//! oldest), and a connection whose replica answers the client directly: nothing proves that its client exists, and without its
//! entry it is steered as before, as long as the service's table is the same. An established NAT connection never does.

use super::{Clock, Control, Direction, Line, Memory, Place, State, entry::word};
use crate::abi::Ticks;

/// How willingly an entry makes room: lower goes first. 0 is free.
pub type Rank = u64;

pub const FREE: Rank = 0;
/// Does not.
pub const NEVER: Rank = Rank::MAX;

/// In the upper half of a rank; in the lower one, who was seen last makes room last. Those of free entries are below.
const EXPIRED: Rank = 1;
const ENDED: Rank = 2;
const HANDSHAKE: Rank = 3;
const DIRECT: Rank = 4;
const LIVE: Rank = 5;

/// The rank of the entry at a place, by itself: see [`makes_room`].
#[inline(always)]
pub fn rank<L: Line>(line: L, control: Control, clock: &Clock<'_>) -> Rank {
    if control.is_free() {
        return FREE;
    }
    if control.locked() || control.state() == State::CONTINUED {
        return NEVER;
    }
    let state = control.state();
    let last_seen = line.load(word::LAST_SEEN);
    if clock.settings.expired(state, last_seen, clock.now) {
        // A live one may have been heard the other way: it must not stand before others that make room.
        let live = state.live() && control.direction() != Direction::Direct;
        return (if live { LIVE } else { EXPIRED }) << Ticks::BITS;
    }
    let class = if state.ended() {
        ENDED
    } else if state.handshake() {
        HANDSHAKE
    } else if control.direction() == Direction::Direct {
        DIRECT
    } else {
        return NEVER;
    };
    class << Ticks::BITS | Rank::from(youth(last_seen, clock.now))
}

/// The last look at who was chosen: a live connection is as old as the direction that spoke last.
#[inline(always)]
pub fn makes_room<M: Memory>(memory: &M, line: M::Line, control: Control, clock: &Clock<'_>) -> bool {
    let state = control.state();
    if !state.live() || control.direction() == Direction::Direct {
        return true;
    }
    let partner = Place(line.load(word::PARTNER));
    if partner == Place::NONE {
        return true;
    }
    let Some(other) = memory.line(partner) else { return true };
    clock.settings.expired(state, line.load(word::LAST_SEEN), clock.now)
        && clock.settings.expired(state, other.load(word::LAST_SEEN), clock.now)
}

/// More for what was seen later. Another CPU may have seen a packet a tick after this one read the clock.
#[inline(always)]
const fn youth(last_seen: Ticks, now: Ticks) -> Ticks {
    let age = now.wrapping_sub(last_seen) as i32;
    Ticks::MAX - if age < 0 { 0 } else { age as Ticks }
}
