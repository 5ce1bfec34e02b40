//! What the ends of a connection know: a TCP as small as the datapath's rules need one. It counts what it sends and what it
//! has got, and says what is right to be sent next; a knob of the event says how wrong it is instead.

use crate::reader::flag;

/// The largest window that there is, and how far behind a number may be, by the datapath's documents.
const WINDOW: u32 = 1 << 30;
const BEHIND: u32 = 1 << 16;
/// Steps away from what is right that are just inside and just outside.
const EDGES: [u32; 8] = [
    1,
    WINDOW - 1,
    WINDOW,
    WINDOW + 1,
    0_u32.wrapping_sub(BEHIND - 1),
    0_u32.wrapping_sub(BEHIND),
    0_u32.wrapping_sub(BEHIND + 1),
    1 << 31,
];
/// From this knob on the numbers are other ones than those that come next.
const WRONG: u8 = 200;

/// One end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Number of its SYN, once that was sent.
    pub first: Option<u32>,
    /// Number of what it sends next.
    pub next: u32,
    /// Number of what it waits for: what it acknowledges.
    pub got: u32,
}

/// The numbers of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub sequence: u32,
    pub acknowledgment: u32,
}

impl Tcp {
    /// One whose SYN of so many bytes was sent.
    pub fn opened(sequence: u32, payload: u32) -> Self {
        Self { first: Some(sequence), next: sequence.wrapping_add(payload).wrapping_add(1), got: 0 }
    }

    /// The numbers that it sends, by the knob. `random` is any number.
    pub fn numbers(&self, flags: u8, knob: u8, random: u32) -> Numbers {
        let Self { first, next, got } = *self;
        // A SYN comes again as it was.
        let next = if flags & flag::SYN != 0 { first.unwrap_or(random) } else { next };
        let edge = EDGES[usize::from(knob % 8)];
        let (sequence, acknowledgment) = match knob {
            0..WRONG => (next, got),
            // Again, and late.
            WRONG..212 => (next.wrapping_sub(u32::from(knob - WRONG) + 1), got),
            212..220 => (next, got.wrapping_sub(u32::from(knob) - 211)),
            220..224 => (next.wrapping_add(1), got.wrapping_add(1)),
            224..232 => (next.wrapping_add(edge), got),
            232..240 => (next, got.wrapping_add(edge)),
            240..246 => (random, got),
            246..252 => (next, random),
            252.. => (random, random.rotate_left(11)),
        };
        Numbers { sequence, acknowledgment }
    }

    /// A knob of somebody who knows little: once in ten the numbers are right.
    pub fn stranger(knob: u8) -> u8 {
        if knob.is_multiple_of(10) { 0 } else { WRONG + knob % (u8::MAX - WRONG + 1) }
    }

    /// It has sent this.
    pub fn sent(&mut self, numbers: Numbers, flags: u8, payload: u32) {
        let end = end(numbers, flags, payload);
        if flags & flag::SYN != 0 {
            // A new number for the same SYN: a replica that answers by SYN cookies.
            self.first = Some(numbers.sequence);
            self.next = end;
        } else if flags & flag::RST == 0 && numbers.sequence == self.next {
            self.next = end;
        }
    }

    /// It has got this.
    pub fn receives(&mut self, numbers: Numbers, flags: u8, payload: u32) {
        let end = end(numbers, flags, payload);
        let ahead = end.wrapping_sub(self.got) as i32;
        if flags & flag::SYN != 0 || (flags & flag::RST == 0 && ahead > 0 && ahead < 1 << 17) {
            self.got = end;
        }
    }
}

/// The number behind a segment.
fn end(numbers: Numbers, flags: u8, payload: u32) -> u32 {
    let controls = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
    numbers.sequence.wrapping_add(payload).wrapping_add(controls)
}
