//! Entering a connection.

use super::{
    Buckets, CANDIDATES, Clock, Flow, HANDSHAKES_A_BUCKET, Line, Memory, Place, State, WAYS, change,
    entry::{self, Control, word},
    room::{self, Rank},
};

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
    /// And its replica's entry goes on holding the port.
    AndHold,
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
        return replace_same(memory, seen.same, flow, holder, replace);
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
    take_and_write(memory, place, control, neighbour, flow)
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
}

#[inline(always)]
fn survey<M: Memory>(memory: &M, buckets: Buckets, flow: &Flow) -> Survey {
    let mut same = Place::NONE;
    // Four numbers of 8 bits, and how many are locked.
    let mut counts = 0;
    each_candidate!(number => {
        let place = buckets.candidate(number);
        let (stands, has_key) = stands_at(memory, place, flow);
        let (locked, here) = (stands & LOCKED, stands & !LOCKED);
        // Each time: before Linux 6.3 the verifier holds all numbers of a program that has functions against each other.
        counts = memory.opaque(counts + locked + if number < WAYS { here } else { here << 16 });
        same = Place(memory.opaque(u64::from(if has_key { place.0 } else { same.0 })) as u32);
    });
    let byte = |at: u32| (counts >> at) as u32 & 0xff;
    Survey { same, locked: counts >> 32 != 0, occupied: [byte(0), byte(16)], handshakes: [byte(8), byte(24)] }
}

/// One entry that is locked, in the counts of a survey.
const LOCKED: u64 = 1 << 32;

/// What an entry adds to the counts of its bucket, and whether it has the key.
#[inline(always)]
fn stands_at<M: Memory>(memory: &M, place: Place, flow: &Flow) -> (u64, bool) {
    let Some(line) = memory.line(place) else { return (0, false) };
    let control = Control(line.load(word::CONTROL));
    // The own first half is locked, too.
    let locked = if control.locked() && place != flow.partner { LOCKED } else { 0 };
    if control.state() == State::FREE {
        return (locked, false);
    }
    let handshake = if control.state().handshake() { 0x101 } else { 1 };
    let has_key = control.state() != State::CONTINUED && entry::has_key(memory, place, control, &flow.key);
    (locked + handshake, has_key)
}

/// The entry to take: the one that makes room most willingly. A free one of the first bucket, unless that has two or more entries
/// and the second has fewer: what that costs a look-up, and how seldom both are full then, is in docs/benchmarks.md. A bucket
/// that has its share of handshakes takes another one in the place of one.
#[inline(always)]
fn choose<M: Memory>(memory: &M, buckets: Buckets, flow: &Flow, clock: &Clock<'_>, seen: Survey) -> Place {
    let Survey { occupied: [first, second], handshakes, .. } = seen;
    let second_is_emptier = first > 1 && first > second;
    let handshake = flow.state().handshake();
    let full_of_handshakes = |number: usize| handshake && handshakes[number] >= HANDSHAKES_A_BUCKET;
    // What a free entry of each bucket ranks.
    let free = memory.opaque(
        rank_of_free(full_of_handshakes(0), second_is_emptier) << 8
            | rank_of_free(full_of_handshakes(1), !second_is_emptier),
    );
    let (free_first, free_second) = (free >> 8 & 0xff, free & 0xff);
    let wide = flow.wide();
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
    let second = room::rank(other, control, clock);
    if second > rank { second } else { rank }
}

#[inline(always)]
fn replace_same<M: Memory>(
    memory: &M,
    place: Place,
    flow: &mut Flow,
    holder: &mut Flow,
    replace: impl FnOnce(&Flow) -> Replace,
) -> Insertion {
    if !super::read(memory, place, holder) {
        return Insertion::Exists;
    }
    // One of the other width stands for the same ends only if the replica's family changed: it is ended like any other.
    let hold = match replace(holder) {
        Replace::No => return Insertion::Exists,
        Replace::Yes => false,
        Replace::AndHold => true,
    };
    let Some(taken) = change::take(memory, place, holder.control, hold) else { return Insertion::Busy };
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
) -> Insertion {
    let Some(mut taken) = take(memory, place, control) else { return Insertion::Busy };
    if flow.wide() && !taken.wide() {
        let other = Place(place.0 + 1);
        let Some(second_taken) = take_neighbour(memory, other, neighbour) else {
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
/// free: it may have been the other half of what was taken.
#[inline(always)]
fn take_neighbour<M: Memory>(memory: &M, place: Place, seen: Control) -> Option<Control> {
    let control = Control(memory.line(place)?.load(word::CONTROL));
    if control != seen && !control.is_free() {
        return None;
    }
    take(memory, place, control)
}

#[inline(always)]
fn take<M: Memory>(memory: &M, place: Place, control: Control) -> Option<Control> {
    if control.is_free() {
        let line = memory.line(place)?;
        return line.exchange(word::CONTROL, control.0, control.taken().0).then(|| control.taken());
    }
    change::take(memory, place, control, false)
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
