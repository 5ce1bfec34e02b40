//! Entering a connection.

use super::{
    Buckets, CANDIDATES, Clock, Control, Flow, HANDSHAKES_A_BUCKET, Line, Memory, Place, State, WAYS, change,
    entry::{self, word},
    room::{self, Rank},
};
use crate::abi::End;

/// How an insertion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Insertion {
    /// The entry stands in the table, locked.
    Done,
    /// The key is another connection's, which does not make room.
    Exists,
    /// All entries that it may take are live connections'.
    Full,
    /// The entry that had the key is gone, and its place does not fit: it is to be entered once more.
    Cleared,
    /// Another CPU was at the same entries. Nothing has changed.
    Busy,
}

/// What may happen to an entry that has the key already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    No,
    Yes,
    /// It is the same client's, which asks anew.
    Own,
    /// The same, and its replica's entry goes on holding the port.
    OwnAndHold,
}

/// Enters `flow`, as its key and its control word say. Where it is done, the entry is locked and `flow` has its place and
/// control word: [`publish`] lets others see it. `holder` gets the entry that has the key already, about which `replace`
/// decides.
#[inline(always)]
pub fn insert<M: Memory>(
    memory: &M,
    buckets: Buckets,
    flow: &mut Flow,
    holder: &mut Flow,
    clock: &Clock<'_>,
    replace: impl FnOnce(&Flow) -> Replace,
) -> Insertion {
    if !memory.lock(buckets.hash) {
        return Insertion::Busy;
    }
    let insertion = insert_alone(memory, buckets, flow, holder, clock, replace);
    memory.unlock(buckets.hash);
    insertion
}

/// With the lock of the key held.
#[inline(always)]
fn insert_alone<M: Memory>(
    memory: &M,
    buckets: Buckets,
    flow: &mut Flow,
    holder: &mut Flow,
    clock: &Clock<'_>,
    replace: impl FnOnce(&Flow) -> Replace,
) -> Insertion {
    let seen = survey(memory, buckets, flow);
    if seen.same != Place::NONE {
        return replace_same(memory, seen.same, flow, holder, clock, replace);
    }
    let place = choose(memory, buckets, flow, clock, seen);
    if place == Place::NONE {
        // Who has locked one may leave it in a moment: a client whose SYN is dropped sends it again, and one that is refused gives up.
        return if seen.locked { Insertion::Busy } else { Insertion::Full };
    }
    let Some(line) = memory.line(place) else { return Insertion::Full };
    let control = Control(line.load(word::CONTROL));
    // What was free may have been taken since, and what had ended may be a new connection.
    if room::rank(line, control, clock) == room::NEVER {
        return Insertion::Busy;
    }
    if !room::makes_room(memory, line, control, clock) {
        return Insertion::Full;
    }
    let mut neighbour = Control(0);
    if flow.wide() && !stands_for_both(control) {
        let Some(line) = memory.line(Place(place.0 + 1)) else { return Insertion::Full };
        neighbour = Control(line.load(word::CONTROL));
        if room::rank(line, neighbour, clock) == room::NEVER {
            return Insertion::Busy;
        }
        if !room::makes_room(memory, line, neighbour, clock) {
            return Insertion::Full;
        }
    }
    take_and_write(memory, place, control, neighbour, flow, clock)
}

/// Whether what stands there is wide: then it is both of two entries whose places a wide one is to take.
#[inline(always)]
const fn stands_for_both(control: Control) -> bool {
    control.wide() && !control.is_free()
}

/// The same for each number of a candidate, one after the other and without a loop: before Linux 6.5 the verifier refuses one whose
/// last instruction runs into its first, and where a compiler puts them cannot be told.
macro_rules! each_candidate {
    ($number:ident => $body:block) => {
        each_candidate!(@each $number, $body, 0 1 2 3 4 5 6 7)
    };
    (@each $number:ident, $body:block, $($value:literal)*) => {
        $({
            let $number: u32 = $value;
            $body
        })*
    };
}
const _: () = assert!(CANDIDATES == 8);

/// What stands in both buckets of a key.
#[derive(Clone, Copy)]
struct Survey {
    /// The entry that has the key; `NONE` if none has.
    same: Place,
    /// Another processor is at one of them.
    locked: bool,
    /// Entries that are not free, and handshakes among them: of the first bucket, and of the second.
    occupied: [u32; 2],
    handshakes: [u32; 2],
    /// The first free entry of each; `NONE` if none is.
    free: [Place; 2],
}

#[inline(always)]
fn survey<M: Memory>(memory: &M, buckets: Buckets, flow: &Flow) -> Survey {
    // All that is found, in one number.
    let mut found = 0;
    each_candidate!(number => {
        let bucket = number / WAYS;
        let here = stands_at(memory, buckets.candidate(number), flow);
        let counts = here & COUNTS;
        let counts = if bucket == 0 { counts } else { counts << SECOND };
        let free = if bucket == 0 { FIRST_FREE } else { SECOND_FREE };
        let mark = |at: u32, is: bool| if is { u64::from(number + 1) << at } else { 0 };
        let first = |at: u32, is: u64| mark(at, here & is != 0 && found >> at & NUMBER == 0);
        // Each time: before Linux 6.3 the verifier holds all numbers of a program that has functions against each other.
        found = memory.opaque(
            found + (here & LOCKED) + counts + first(free, IS_FREE) + first(SAME, HAS_KEY),
        );
    });
    let byte = |at: u32| (found >> at) as u32 & 0xff;
    let place = |at: u32| match (found >> at & NUMBER) as u32 {
        0 => Place::NONE,
        number => buckets.candidate(number - 1),
    };
    Survey {
        same: place(SAME),
        locked: found >> LOCKED_AT & NUMBER != 0,
        occupied: [byte(0), byte(SECOND)],
        handshakes: [byte(8), byte(SECOND + 8)],
        free: [place(FIRST_FREE), place(SECOND_FREE)],
    }
}

/// Of a survey's number: two counts of 8 bits, those of the second bucket, how many entries are locked, and numbers of candidates
/// from 1 on.
const COUNTS: u64 = 0xffff;
const SECOND: u32 = 16;
const LOCKED_AT: u32 = 32;
const LOCKED: u64 = 1 << LOCKED_AT;
const FIRST_FREE: u32 = 36;
const SECOND_FREE: u32 = 40;
const SAME: u32 = 44;
const NUMBER: u64 = 0xf;
/// Of what stands at one place, beside its counts.
const IS_FREE: u64 = 1 << 48;
const HAS_KEY: u64 = 1 << 49;

/// What an entry adds to the counts of its bucket; whether it is locked, is free, has the key.
#[inline(always)]
fn stands_at<M: Memory>(memory: &M, place: Place, flow: &Flow) -> u64 {
    let Some(line) = memory.line(place) else { return 0 };
    let control = Control(line.load(word::CONTROL));
    // The own first half is locked, too.
    let locked = if control.locked() && place != flow.partner { LOCKED } else { 0 };
    if control.state() == State::FREE {
        return if control.is_free() { IS_FREE } else { locked };
    }
    let counts = if control.state().handshake() { 0x101 } else { 1 };
    let has_key = control.state() != State::CONTINUED && entry::has_key(memory, place, control, &flow.key);
    locked + counts + if has_key { HAS_KEY } else { 0 }
}

/// The entry to take: the one that makes room most willingly. A free one of the first bucket, unless that has two or more entries
/// and the second has fewer: what that costs a look-up, and how seldom both are full then, is in docs/benchmarks.md. A bucket
/// that has its share of handshakes takes another one in the place of one.
#[inline(always)]
fn choose<M: Memory>(memory: &M, buckets: Buckets, flow: &Flow, clock: &Clock<'_>, seen: Survey) -> Place {
    let Survey { occupied: [first, second], handshakes, free, .. } = seen;
    let second_is_emptier = first > 1 && first > second;
    let handshake = flow.state().handshake();
    let full_of_handshakes = |number: usize| handshake && handshakes[number] >= HANDSHAKES_A_BUCKET;
    let wide = flow.wide();
    // Most of the time, without a second look at all of them.
    if !wide {
        let free = |number: usize| if full_of_handshakes(number) { Place::NONE } else { free[number] };
        let (this, other) = if second_is_emptier { (free(1), free(0)) } else { (free(0), free(1)) };
        let place = if this != Place::NONE { this } else { other };
        if place != Place::NONE {
            return place;
        }
    }
    // What a free entry of each bucket ranks.
    let free = memory.opaque(
        rank_of_free(full_of_handshakes(0), second_is_emptier) << 8
            | rank_of_free(full_of_handshakes(1), !second_is_emptier),
    );
    let (free_first, free_second) = (free >> 8 & 0xff, free & 0xff);
    let (mut best, mut best_place) = (room::NEVER, Place::NONE);
    each_candidate!(number => {
        let place = buckets.candidate(number);
        let (free, only_handshakes) = if number < WAYS {
            (free_first, full_of_handshakes(0))
        } else {
            (free_second, full_of_handshakes(1))
        };
        let rank = memory.opaque(rank_at(memory, place, wide, only_handshakes, clock));
        let rank = if rank == room::FREE { free } else { rank };
        let better = rank < best;
        best = memory.opaque(if better { rank } else { best });
        best_place = Place(memory.opaque(u64::from(if better { place.0 } else { best_place.0 })) as u32);
    });
    let _ = best;
    best_place
}

/// Ranks below all that is not free; or above, where no free one may be taken.
const PREFERRED: Rank = 0;
const OTHER: Rank = 1;
const NONE_FREE: Rank = 0xff;

#[inline(always)]
const fn rank_of_free(none: bool, other: bool) -> Rank {
    if none {
        NONE_FREE
    } else if other {
        OTHER
    } else {
        PREFERRED
    }
}

/// How willingly the entry at a place makes room; for a wide one, the pair that begins there: who is less willing decides.
/// Where a bucket has its share of handshakes, only they do.
#[inline(always)]
fn rank_at<M: Memory>(
    memory: &M,
    place: Place,
    wide: bool,
    only_handshakes: bool,
    clock: &Clock<'_>,
) -> Rank {
    let Some(line) = memory.line(place) else { return room::NEVER };
    let control = Control(line.load(word::CONTROL));
    let rank = room::rank(line, control, clock);
    let unfit = only_handshakes && !control.state().handshake();
    if !wide {
        return if unfit { room::NEVER } else { rank };
    }
    if place.0 & 1 != 0 {
        return room::NEVER;
    }
    // A wide entry stands for both.
    if !control.is_free() && control.wide() {
        return if unfit { room::NEVER } else { rank };
    }
    let Some(other) = memory.line(Place(place.0 + 1)) else { return room::NEVER };
    let control = Control(other.load(word::CONTROL));
    if unfit && !control.state().handshake() {
        return room::NEVER;
    }
    let second = room::rank(other, control, clock) | room::unrested(other, clock);
    if second > rank { second } else { rank }
}

#[inline(always)]
fn replace_same<M: Memory>(
    memory: &M,
    place: Place,
    flow: &mut Flow,
    holder: &mut Flow,
    clock: &Clock<'_>,
    replace: impl FnOnce(&Flow) -> Replace,
) -> Insertion {
    if !super::read(memory, place, holder) {
        return Insertion::Exists;
    }
    // One of the other width stands for the same ends only if the replica's family changed: it is ended like any other.
    let (own, hold) = match replace(holder) {
        Replace::No => return Insertion::Exists,
        Replace::Yes => (false, false),
        Replace::Own => (true, false),
        Replace::OwnAndHold => (true, true),
    };
    // A handshake in the way of another one has the port that this one wants; the client's own is tried again.
    let expired = clock.settings.expired(holder.state(), holder.last_seen, clock.now);
    let end = if own { End::AGAIN } else { by_state(memory, expired) };
    let Some(taken) = change::take(memory, place, holder.control, hold, end) else { return Insertion::Busy };
    if holder.control.wide() == flow.wide() {
        return write(memory, place, taken, flow);
    }
    change::release(memory, place, taken);
    Insertion::Cleared
}

/// Takes the entry with this control word, for a wide one its neighbour as well, and writes. They are taken as they were looked at.
#[inline(always)]
fn take_and_write<M: Memory>(
    memory: &M,
    place: Place,
    control: Control,
    neighbour: Control,
    flow: &mut Flow,
    clock: &Clock<'_>,
) -> Insertion {
    let Some(mut taken) = take(memory, place, control, clock) else { return Insertion::Busy };
    if flow.wide() && !taken.wide() {
        let other = Place(place.0 + 1);
        let Some(second_taken) = take_neighbour(memory, other, neighbour, clock) else {
            change::release(memory, place, taken);
            return Insertion::Busy;
        };
        if let Some(line) = memory.line(other) {
            line.store(word::CONTROL, continued(second_taken).0);
        }
    } else if !flow.wide() && taken.wide() {
        // What is left of it is free.
        if let Some(pair) = memory.pair(place) {
            let second = Control(pair.load(word::WIDE_CONTROL));
            pair.store(word::WIDE_CONTROL, second.freed().0);
        }
    }
    taken = taken.become_(Control::new(State::FREE, flow.direction(), flow.wide()));
    write(memory, place, taken, flow)
}

/// Takes the neighbour of an entry that was taken, if it is as it was looked at: a handshake may be a connection by now. Or if it is
/// free: it may have been the other half of what was taken. Not one that has come and gone meanwhile: it has not rested.
#[inline(always)]
fn take_neighbour<M: Memory>(memory: &M, place: Place, seen: Control, clock: &Clock<'_>) -> Option<Control> {
    let line = memory.line(place)?;
    let control = Control(line.load(word::CONTROL));
    if control != seen && !control.is_free() {
        return None;
    }
    let taken = take(memory, place, control, clock)?;
    if room::unrested(line, clock) != 0 {
        change::release(memory, place, taken);
        return None;
    }
    Some(taken)
}

/// How a connection ends that is in the way. As one number: the verifier would follow each by itself.
#[inline(always)]
fn by_state<M: Memory>(memory: &M, expired: bool) -> End {
    let end = if expired { End::OUTLIVED } else { End::DISPLACED };
    End(memory.opaque(end.0.into()) as u32)
}

/// Takes an entry that makes room.
#[inline(always)]
fn take<M: Memory>(memory: &M, place: Place, control: Control, clock: &Clock<'_>) -> Option<Control> {
    let line = memory.line(place)?;
    if control.is_free() {
        return line.exchange(word::CONTROL, control.0, control.taken().0).then(|| control.taken());
    }
    let expired = clock.settings.expired(control.state(), line.load(word::LAST_SEEN), clock.now);
    change::take(memory, place, control, false, by_state(memory, expired))
}

#[inline(always)]
const fn continued(taken: Control) -> Control {
    taken.become_(Control::new(State::CONTINUED, super::Direction::ToReplica, false)).unlocked()
}

/// Writes the entry at a place that is locked, and leaves it locked.
#[inline(always)]
fn write<M: Memory>(memory: &M, place: Place, taken: Control, flow: &mut Flow) -> Insertion {
    flow.place = place;
    flow.control = taken.become_(Control::new(flow.state(), flow.direction(), flow.wide()));
    if let Some(line) = memory.line(place) {
        line.store(word::CONTROL, flow.control.0);
    }
    if entry::store(memory, place, flow).is_none() {
        return Insertion::Full;
    }
    Insertion::Done
}

/// Lets others see an entry that was inserted; with the place of its other direction, if that is known by now.
#[inline(always)]
pub fn publish<M: Memory>(memory: &M, flow: &mut Flow) {
    if let Some(line) = memory.line(flow.place) {
        line.store(word::PARTNER, flow.partner.0);
        flow.control = flow.control.unlocked();
        line.store(word::CONTROL, flow.control.0);
    }
}

/// Takes back an insertion that was not published.
#[inline(always)]
pub fn withdraw<M: Memory>(memory: &M, flow: &Flow) {
    change::release(memory, flow.place, flow.control);
}
