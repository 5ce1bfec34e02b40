//! Looking entries up.

use super::{
    Buckets, CANDIDATES, Control, Flow, Line, Memory, Place, State,
    entry::{self, word},
};
use crate::abi::Tuple;

/// Reads the entry at a place, if one stands there and nobody rewrites it meanwhile. Its state may change meanwhile: who took that
/// for another entry would take a connection for gone whose other end speaks at the same time.
#[inline(always)]
pub fn read<M: Memory>(memory: &M, place: Place, flow: &mut Flow) -> bool {
    let Some(line) = memory.line(place) else { return false };
    let control = Control(line.load(word::CONTROL));
    if control.locked() || control.state() == State::FREE || control.state() == State::CONTINUED {
        return false;
    }
    entry::load(memory, place, control, flow).is_some() && control.stays(Control(line.load(word::CONTROL)))
}

/// Reads the entry that has this key. Says whether there is one.
#[inline(always)]
pub fn find<M: Memory>(memory: &M, key: &Tuple, buckets: Buckets, flow: &mut Flow) -> bool {
    let mut number = 0;
    while number < CANDIDATES {
        let place = buckets.candidate(number);
        number += 1;
        let Some(line) = memory.line(place) else { return false };
        let control = Control(line.load(word::CONTROL));
        if control.locked() || control.state() == State::FREE || control.state() == State::CONTINUED {
            continue;
        }
        if entry::has_key(memory, place, control, key) && read(memory, place, flow) && flow.key == *key {
            return true;
        }
    }
    false
}

/// Whether the entry that was read still is that connection's.
#[inline(always)]
pub fn stands<M: Memory>(memory: &M, flow: &Flow) -> bool {
    let Some(line) = memory.line(flow.place) else { return false };
    let control = Control(line.load(word::CONTROL));
    !control.locked() && control.version() == flow.control.version()
}

/// Reads the other direction's entry. Says whether it is there: both name each other.
#[inline(always)]
pub fn partner<M: Memory>(memory: &M, flow: &Flow, other: &mut Flow) -> bool {
    flow.partner != Place::NONE
        && read(memory, flow.partner, other)
        && other.partner == flow.place
        && other.key == flow.to.reversed()
}
