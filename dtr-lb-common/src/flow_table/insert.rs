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

/// The best entries of a bucket to take.
#[derive(Clone, Copy)]
struct Offer {
    /// A free one; `NONE` if there is none.
    free: Place,
    /// The one that makes room most willingly, and how willingly.
    place: Place,
    rank: Rank,
    occupied: u32,
    handshakes: u32,
}

impl Offer {
    const NONE: Self =
        Self { free: Place::NONE, place: Place::NONE, rank: room::NEVER, occupied: 0, handshakes: 0 };
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
    let wide = flow.wide();
    let (mut first, mut second) = (Offer::NONE, Offer::NONE);
    let mut same = Place::NONE;
    let mut number = 0;
    while number < CANDIDATES {
        let place = buckets.candidate(number);
        let offer = if number < WAYS { &mut first } else { &mut second };
        number += 1;
        let Some(line) = memory.line(place) else { return Insertion::Full };
        let control = Control(line.load(word::CONTROL));
        if control.state() != State::FREE {
            offer.occupied += 1;
            offer.handshakes += u32::from(control.state().handshake());
            if control.state() != State::CONTINUED && entry::has_key(memory, place, control, &flow.key) {
                same = place;
            }
        }
        consider(memory, place, control, wide, clock, offer);
    }
    if same != Place::NONE {
        return replace_same(memory, same, flow, holder, replace);
    }
    let handshake = flow.state().handshake();
    let place = choose(&mut first, &mut second, handshake);
    if place == Place::NONE {
        return Insertion::Full;
    }
    let Some(line) = memory.line(place) else { return Insertion::Full };
    let control = Control(line.load(word::CONTROL));
    // What was free may have been taken since, and what had ended may be a new connection.
    let rank = room::rank(memory, place, control, clock);
    if rank == room::NEVER {
        return Insertion::Busy;
    }
    take_and_write(memory, place, control, flow)
}

/// Notes what an entry offers. Of a pair of neighbours, for a wide entry, the one that is less willing decides.
#[inline(always)]
fn consider<M: Memory>(
    memory: &M,
    place: Place,
    control: Control,
    wide: bool,
    clock: &Clock<'_>,
    offer: &mut Offer,
) {
    let mut rank = room::rank(memory, place, control, clock);
    if wide {
        if place.0 & 1 != 0 {
            return;
        }
        // A wide entry stands for both.
        if control.is_free() || !control.wide() {
            let other = Place(place.0 + 1);
            let Some(line) = memory.line(other) else { return };
            let second = room::rank(memory, other, Control(line.load(word::CONTROL)), clock);
            if second > rank {
                rank = second;
            }
        }
    }
    if rank == room::FREE {
        if offer.free == Place::NONE {
            offer.free = place;
        }
    } else if rank < offer.rank {
        offer.rank = rank;
        offer.place = place;
    }
}

/// The first bucket, unless it is nearly full and the second is not: with half of all entries taken one look in ten goes
/// to the second bucket, and one insertion in 2,500 finds no free entry (see docs/benchmarks.md).
#[inline(always)]
fn choose(first: &mut Offer, second: &mut Offer, handshake: bool) -> Place {
    // A bucket that has its share of handshakes takes another one in the place of one.
    if handshake && first.handshakes >= HANDSHAKES_A_BUCKET {
        first.free = Place::NONE;
    }
    if handshake && second.handshakes >= HANDSHAKES_A_BUCKET {
        second.free = Place::NONE;
    }
    let prefer_first = first.occupied <= 2 || first.occupied <= second.occupied;
    if first.free != Place::NONE && (prefer_first || second.free == Place::NONE) {
        first.free
    } else if second.free != Place::NONE {
        second.free
    } else if first.rank <= second.rank {
        first.place
    } else {
        second.place
    }
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
    Insertion::Busy
}

#[inline(always)]
fn take_and_write<M: Memory>(memory: &M, place: Place, control: Control, flow: &mut Flow) -> Insertion {
    let Some(mut taken) = take(memory, place, control) else { return Insertion::Busy };
    if flow.wide() && !taken.wide() {
        // The neighbour, too.
        let other = Place(place.0 + 1);
        let second = match memory.line(other) {
            Some(line) => Control(line.load(word::CONTROL)),
            None => Control(0),
        };
        let second_taken = if second.locked() || second.wide() { None } else { take(memory, other, second) };
        let Some(second_taken) = second_taken else {
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
