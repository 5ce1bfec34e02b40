//! Who makes room for a new entry.
//!
//! In this order: a free entry, a connection that has outlived its state, one that has ended (the oldest), a handshake (the
//! oldest), and a connection whose replica answers the client directly: nothing proves that its client exists, and without its
//! entry it is steered as before, as long as the service's table is the same. An established NAT connection never does.

use super::{Clock, Control, Direction, Line, Memory, Place, State, entry::word};
use crate::abi::{End, Ticks};

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

/// How a connection ends that was in this state: as who ends it says, unless that is for the state to say.
#[inline(always)]
pub const fn end(control: Control, end: End) -> End {
    let state = control.state();
    let direct = matches!(control.direction(), Direction::Direct);
    if state.ended() {
        return match state {
            State::CLIENT_RESET => End::CLIENT_RESET,
            State::REPLICA_RESET => End::REPLICA_RESET,
            _ => End::CLOSED,
        };
    }
    match end {
        // What follows the client's FIN is not seen.
        End::OUTLIVED | End::DISPLACED | End::AGAIN if direct && state.0 == State::CLIENT_CLOSED.0 => {
            End::CLOSED
        }
        End::DISPLACED => {
            if state.handshake() {
                End::CROWDED
            } else {
                End::EVICTED
            }
        }
        End::OUTLIVED if state.0 == State::SYN_RECEIVED.0 || state.handshake() && direct => End::ABANDONED,
        End::OUTLIVED => {
            if state.handshake() {
                End::UNANSWERED
            } else {
                End::IDLE
            }
        }
        _ => end,
    }
}

/// Whether an entry has rested for long enough to become the second half of a wide one: who forwards a packet stores words into what he
/// takes for an entry by itself. 0 if it has, else [`NEVER`]: a mask, as each branch would be followed for each candidate. An entry that was
/// never used has rested, and so has a second half, in whose word nothing is stored.
#[inline(always)]
pub fn unrested<L: Line>(line: L, clock: &Clock<'_>) -> Rank {
    let last_seen = line.load(word::LAST_SEEN);
    let age = clock.now.wrapping_sub(last_seen) as i32;
    let recent = (i64::from(age) - i64::from(clock.settings.second / 8)) >> 63;
    let used = -i64::from(last_seen) >> 63;
    (recent & used) as Rank
}

/// More for what was seen later. Another CPU may have seen a packet a tick after this one read the clock.
#[inline(always)]
const fn youth(last_seen: Ticks, now: Ticks) -> Ticks {
    let age = now.wrapping_sub(last_seen) as i32;
    Ticks::MAX - if age < 0 { 0 } else { age as Ticks }
}
