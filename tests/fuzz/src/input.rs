//! The form of an input: a record that says the world, then one for each event, all of fixed length, so that events can be
//! taken out, moved and doubled by whoever changes inputs or makes them small. Missing bytes read as 0.

use arbitrary::Unstructured;

/// Bytes that say the world.
pub const WORLD: usize = 56;
/// Bytes that say an event.
pub const EVENT: usize = 16;
/// Events at most.
pub const MAX_EVENTS: usize = 40;
/// Bytes of an input at most; more are not looked at.
pub const MAX: usize = WORLD + EVENT * MAX_EVENTS;

/// The record of the world, and those of the events.
pub fn records(input: &[u8]) -> (Unstructured<'_>, impl Iterator<Item = Unstructured<'_>>) {
    let (world, events) = input.split_at(input.len().min(WORLD));
    (Unstructured::new(world), events.chunks(EVENT).take(MAX_EVENTS).map(Unstructured::new))
}

/// Reads small things from a record. What is missing is 0.
pub trait Read {
    fn byte(&mut self) -> u8;
    fn short(&mut self) -> u16;

    /// A number below `count`.
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// True for one byte in `n`, and not for 0.
    fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }
}

impl Read for Unstructured<'_> {
    fn byte(&mut self) -> u8 {
        self.arbitrary().unwrap_or_default()
    }

    fn short(&mut self) -> u16 {
        self.arbitrary().unwrap_or_default()
    }
}
