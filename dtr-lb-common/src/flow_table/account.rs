//! What an entry knows of its connection as a whole: packets and bytes of its direction, and what was measured in the handshake.
//!
//! Words 8 and 9 count, without the lock. Under XDP a direction's packets come by one processor at a time, that of its receive queue, and
//! are added up by plain stores; where that is not so they are added as one number of 64 bits. What they cannot hold is carried into a word that means something else in the handshake, and is free after it: 7 of the client's entry, 6 of the replica's.
//!
//! ```text
//! bits  0..3   replicas that were asked (client's entry)
//!       3..18  a time of the handshake: until the replica answered (client's entry), until the client did (replica's)
//!      18..20  packets, in units of 2^32
//!      20..32  bytes, in units of 2^32: up to 16 TiB
//! ```

use super::{Control, Direction, Line, Memory, Place, entry::word};
use crate::abi::Traffic;

const TIME_SHIFT: u32 = 3;
const PACKETS_SHIFT: u32 = 18;
const BYTES_SHIFT: u32 = 20;
const ATTEMPTS: u32 = (1 << TIME_SHIFT) - 1;
const TIME: u32 = (1 << (PACKETS_SHIFT - TIME_SHIFT)) - 1;
/// What measuring writes; the rest is carried.
const MEASURED: u32 = (1 << PACKETS_SHIFT) - 1;

/// Where a direction's entry carries to, after the handshake.
#[inline(always)]
const fn carry(direction: Direction) -> usize {
    match direction {
        Direction::ToClient => word::OPENED,
        Direction::ToReplica | Direction::Direct => word::EXPECTED,
    }
}

/// Whether words 8 and 9 can count a packet of so many bytes, and nothing is to be carried.
#[inline(always)]
pub fn has_room<L: Line>(line: L, bytes: u32) -> bool {
    let (packets, bytes) =
        (u64::from(line.load(word::PACKETS)) + 1, u64::from(line.load(word::BYTES)) + u64::from(bytes));
    // One look for both.
    (packets | bytes) >> u32::BITS == 0
}

/// Counts a packet there. `alone`: only one processor does at a time, which costs less.
#[inline(always)]
pub fn add<L: Line>(line: L, bytes: u32, alone: bool) {
    if alone {
        line.store(word::PACKETS, line.load(word::PACKETS).wrapping_add(1));
        line.store(word::BYTES, line.load(word::BYTES).wrapping_add(bytes));
    } else {
        line.add(word::PACKETS, 1, bytes);
    }
}

/// Counts a packet of a connection whose entry was seen with this control word, if it still is that one's. Says whether it was.
#[inline(always)]
pub fn count<M: Memory>(memory: &M, place: Place, seen: Control, bytes: u32) -> bool {
    let Some(line) = memory.line(place) else { return false };
    let control = Control(line.load(word::CONTROL));
    if !seen.unlocked().stays(control) {
        return false;
    }
    let packets_wrap = line.load(word::PACKETS) == u32::MAX;
    let bytes_wrap = line.load(word::BYTES).checked_add(bytes).is_none();
    add(line, bytes, packets_wrap || bytes_wrap);
    if (packets_wrap || bytes_wrap) && !control.state().handshake() {
        let at = carry(control.direction());
        let before = line.load(at);
        let packets = u32::from(packets_wrap) << PACKETS_SHIFT;
        let bytes = u32::from(bytes_wrap) << BYTES_SHIFT;
        // Full is full: 16 TiB by one connection.
        let after = before.checked_add(packets + bytes).unwrap_or(before);
        let _ = line.exchange(at, before, after);
    }
    true
}

/// Begins anew: the connection's end was told, and was none.
#[inline(always)]
pub fn clear<L: Line>(line: L, direction: Direction) {
    line.store(word::PACKETS, 0);
    line.store(word::BYTES, 0);
    let at = carry(direction);
    let before = line.load(at);
    let _ = line.exchange(at, before, before & MEASURED);
}

/// Packets and bytes of an entry's direction.
#[inline(always)]
pub fn traffic<L: Line>(line: L, control: Control) -> Traffic {
    let carried = if control.state().handshake() { 0 } else { line.load(carry(control.direction())) };
    Traffic {
        packets: u64::from(carried >> PACKETS_SHIFT & 3) << 32 | u64::from(line.load(word::PACKETS)),
        bytes: u64::from(carried >> BYTES_SHIFT) << 32 | u64::from(line.load(word::BYTES)),
    }
}

/// What was measured in a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Microseconds; nothing where it was not measured.
    pub micros: Option<u32>,
    /// Replicas that were asked; 0 where that is not known.
    pub attempts: u32,
}

/// Writes down what was measured in the handshake that is over now, in the entry of a direction; 0 µs are nothing.
#[inline(always)]
pub fn measure<L: Line>(line: L, direction: Direction, micros: u32, attempts: u32) {
    let at = carry(direction);
    let before = line.load(at);
    let time = if micros == 0 { 0 } else { squeeze(micros) };
    let measured = time << TIME_SHIFT | attempts & ATTEMPTS;
    // Who comes first has written it; nothing is carried yet.
    let _ = line.exchange(at, before, measured);
}

/// Writes down that nothing was measured.
#[inline(always)]
pub fn unmeasured<L: Line>(line: L, direction: Direction) {
    let at = carry(direction);
    let before = line.load(at);
    let _ = line.exchange(at, before, 0);
}

/// What was written down there; of a connection whose handshake is over.
pub fn measured<L: Line>(line: L, control: Control) -> Measured {
    let written = line.load(carry(control.direction())) & MEASURED;
    let time = written >> TIME_SHIFT & TIME;
    Measured { micros: (time != 0).then(|| widen(time)), attempts: written & ATTEMPTS }
}

/// Bits of a time that stay, of those from the highest one that is set.
const MANTISSA: u32 = 10;

/// Microseconds in 15 bits, within two thousandths; 0 is not measured.
#[inline(always)]
const fn squeeze(micros: u32) -> u32 {
    let exponent = (u32::BITS - MANTISSA).saturating_sub(micros.leading_zeros());
    exponent << MANTISSA | micros >> exponent
}

const fn widen(number: u32) -> u32 {
    (number & ((1 << MANTISSA) - 1)) << (number >> MANTISSA)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        flow_table::{State, WAYS},
        model::SharedTable,
    };

    proptest! {
        #[test]
        fn a_time_in_15_bits_is_true(micros in any::<u32>()) {
            let number = squeeze(micros);
            prop_assert!(number <= TIME);
            let off = u64::from(micros).abs_diff(widen(number).into());
            prop_assert!(off * 500 <= u64::from(micros), "{micros} became {}", widen(number));
        }
    }

    #[test]
    fn what_32_bits_cannot_hold_is_carried_and_what_was_measured_stays() {
        let table = SharedTable::new(1);
        for (way, direction) in [(0, Direction::ToReplica), (1, Direction::ToClient), (2, Direction::Direct)]
        {
            let memory = &table;
            let (place, control) = (Place(way), Control::new(State::ESTABLISHED, direction, false));
            assert!(way < WAYS);
            let line = memory.line(place).unwrap();
            line.store(word::CONTROL, control.0);
            measure(line, direction, 1_234, 2);
            let gib = 1 << 30;
            for _ in 0..13 {
                assert_eq!(has_room(line, gib), line.load(word::BYTES) < 3 << 30, "else for the stages");
                assert!(count(&memory, place, control, gib));
            }
            line.store(word::PACKETS, u32::MAX);
            assert!(!has_room(line, 0) && count(&memory, place, control, 0));
            assert_eq!(traffic(line, control), Traffic { packets: 1 << 32, bytes: 13 << 30 });
            let known = measured(line, control);
            assert_eq!((known.micros, known.attempts), (Some(1_234), 2));
            // Another connection's by now.
            assert!(!count(&memory, place, control.taken().unlocked(), 1));
        }
    }
}
