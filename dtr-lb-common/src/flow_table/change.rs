//! Changes of a connection that stands in the table.

use super::{Control, Direction, Flow, Line, Memory, Place, State, entry::word};
use crate::abi::End;

/// How often a change is tried where another CPU changes the same word.
const ATTEMPTS: u32 = 4;

/// Changes the control word of the connection whose client's entry is at `place`, in this `version`. `next` gets the word as it is
/// and says what it becomes. Returns what it was and became; nothing if the connection is gone, or others were faster each time.
#[inline(always)]
pub fn transition<M: Memory>(
    memory: &M,
    place: Place,
    version: u32,
    next: impl Fn(Control) -> Control,
) -> Option<(Control, Control)> {
    let line = memory.line(place)?;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let control = Control(line.load(word::CONTROL));
        if control.locked() || control.version() != version {
            return None;
        }
        let wanted = next(control);
        if wanted == control || line.exchange(word::CONTROL, control.0, wanted.0) {
            return Some((control, wanted));
        }
    }
    None
}

/// Makes the replica's entry say what the client's says: state, and FINs that wait. Of two that do so at once the
/// later one sees to it that the newest stands there.
#[inline(always)]
pub fn copy_state<M: Memory>(memory: &M, client: Place, client_version: u32, replica: &Flow) {
    let (Some(from), Some(to)) = (memory.line(client), memory.line(replica.place)) else { return };
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let wanted = Control(from.load(word::CONTROL));
        let control = Control(to.load(word::CONTROL));
        let gone = wanted.locked() || wanted.version() != client_version;
        if gone || control.locked() || control.version() != replica.control.version() {
            return;
        }
        let becomes = control.with_progress_of(wanted);
        let copied = becomes == control || to.exchange(word::CONTROL, control.0, becomes.0);
        if copied && from.load(word::CONTROL) == wanted.0 {
            return;
        }
    }
}

/// Frees an entry that its caller has locked.
#[inline(always)]
pub(super) fn release<M: Memory>(memory: &M, place: Place, taken: Control) {
    if taken.wide()
        && let Some(pair) = memory.pair(place)
    {
        let second = Control(pair.load(word::WIDE_CONTROL));
        pair.store(word::WIDE_CONTROL, second.freed().0);
    }
    if let Some(line) = memory.line(place) {
        line.store(word::CONTROL, taken.freed().0);
    }
}

/// Locks the entry with this control word, after ending the connection that it belongs to: if it is the replica's, the
/// client's entry goes first. The replica's goes after the client's, or stays to hold its port, where `hold` says so. How the
/// connection ends is told where it was not told before.
#[inline(always)]
pub(super) fn take<M: Memory>(
    memory: &M,
    place: Place,
    control: Control,
    hold: bool,
    end: End,
) -> Option<Control> {
    let line = memory.line(place)?;
    let partner = Place(line.load(word::PARTNER));
    let paired = partner != Place::NONE && control.direction() != Direction::Direct;
    if paired
        && control.direction() == Direction::ToClient
        && !end_client(memory, partner, place, control, end)
    {
        return None;
    }
    if !line.exchange(word::CONTROL, control.0, control.taken().0) {
        return None;
    }
    if control.direction() != Direction::ToClient {
        tell(memory, place, control, end);
    }
    if paired && control.direction() == Direction::ToReplica {
        leave_replica(memory, partner, place, hold);
    }
    Some(control.taken())
}

/// Ends the client's entry at `place`, if it is the other one of the replica's at `replica`, of which `seen` is known. Says whether
/// it is gone.
#[inline(always)]
fn end_client<M: Memory>(memory: &M, place: Place, replica: Place, seen: Control, end: End) -> bool {
    let Some(line) = memory.line(place) else { return true };
    let control = Control(line.load(word::CONTROL));
    if control.locked() {
        return false;
    }
    let pair = control.direction() == Direction::ToReplica
        && control.state() != State::FREE
        && line.load(word::PARTNER) == replica.0;
    // Who was held up since he saw the replica's entry may find another connection in both places. What is read of the client's
    // entry before this look is of the connection that was seen.
    let stands = memory.line(replica).is_some_and(|line| line.load(word::CONTROL) == seen.0);
    if !stands {
        return false;
    }
    if !pair {
        return true;
    }
    // It may have been promoted since.
    if control.state() != seen.state() || !line.exchange(word::CONTROL, control.0, control.taken().0) {
        return false;
    }
    tell(memory, place, control, end);
    release(memory, place, control.taken());
    true
}

/// Tells how the connection ended whose client's entry its caller has locked, as it was seen; unless that was told.
#[inline(always)]
fn tell<M: Memory>(memory: &M, place: Place, control: Control, end: End) {
    if !control.told() {
        let _ = memory.over(place, control, end);
    }
}

/// Tells how the connection ended whose client's entry at `place` was marked as told by its caller, and is not locked: `end` is
/// [`End::CAME`] or [`End::STANDS`]. If there is no room for that, the mark is taken back: the agent's sweep comes by.
#[inline(always)]
pub fn tell_ended<M: Memory>(memory: &M, place: Place, control: Control, end: End) {
    if !memory.over(place, control, end) {
        let _ = transition(memory, place, control.version(), |control| control.with_told(false));
    }
}

/// Tells how a connection ended of whose end nobody could be told when it came, if it is as its client's entry was read.
#[inline(always)]
pub fn tell_again<M: Memory>(memory: &M, flow: &Flow) -> bool {
    let seen = flow.control;
    if !seen.state().ended() || seen.told() || seen.direction() == Direction::ToClient {
        return false;
    }
    let Some(line) = memory.line(flow.place) else { return false };
    let marked = line.exchange(word::CONTROL, seen.0, seen.with_told(true).0);
    if marked {
        tell_ended(memory, flow.place, seen, End::STANDS);
    }
    marked
}

/// Frees the replica's entry of a connection whose client's, at `client`, is gone; or lets it hold the port.
#[inline(always)]
fn leave_replica<M: Memory>(memory: &M, place: Place, client: Place, hold: bool) {
    let Some(line) = memory.line(place) else { return };
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let control = Control(line.load(word::CONTROL));
        let pair = !control.locked()
            && control.state() != State::FREE
            && control.direction() == Direction::ToClient
            && line.load(word::PARTNER) == client.0;
        if !pair {
            return;
        }
        if !line.exchange(word::CONTROL, control.0, control.taken().0) {
            continue;
        }
        if hold {
            line.store(word::PARTNER, Place::NONE.0);
            let held = control.taken().become_(Control::new(
                State::TIME_WAIT_HELD,
                Direction::ToClient,
                control.wide(),
            ));
            line.store(word::CONTROL, held.unlocked().0);
        } else {
            release(memory, place, control.taken());
        }
        return;
    }
}

/// Ends the connection that an entry was read of, if it is still that one and in that state. Says whether it was.
#[inline(always)]
pub fn end<M: Memory>(memory: &M, flow: &Flow, end: End) -> bool {
    match take(memory, flow.place, flow.control, false, end) {
        Some(taken) => {
            release(memory, flow.place, taken);
            true
        }
        None => false,
    }
}
