//! The next hops to clients, once each: an entry of the flow table has an index in the place of 16 bytes.
//!
//! A hop is written once and read by many. Two CPUs may enter the same one at the same time: then it is there twice, which
//! harms nobody. The agent frees what no connection has named for a while; whoever assigns a hop stamps it first and looks
//! afterwards whether it is still there, and who frees it takes it first and looks at the stamp afterwards.

use super::{Control, Line};
use crate::{
    abi::{Hop, Ticks},
    hash,
};

/// Hops at most.
pub const NEXT_HOPS: usize = 65_536;
/// Bytes of an entry.
pub const NEXT_HOP_BYTES: usize = 32;
/// Places that a hop may be in.
const PROBES: u32 = 8;

/// Words of a hop.
pub const HOP_WORDS: usize = size_of::<Hop>() / 4;
const _: () =
    assert!(4 * (word::HOP + HOP_WORDS) == NEXT_HOP_BYTES && word::VLANS == word::HOP + HOP_WORDS - 1);

/// Numbers of an entry's words.
pub mod word {
    /// 0 is free; a [`super::Control`] whose state is not looked at.
    pub const CONTROL: usize = 0;
    pub const LAST_ASSIGNED: usize = 1;
    /// Interface, the Ethernet addresses as they stand in a frame that leaves, and its VLANs.
    pub const HOP: usize = 3;
    pub const VLANS: usize = HOP + 4;
}

/// In the control word: it may be used.
const READY: u32 = 2;
const LOCKED: u32 = 1;
const _: () = assert!(Control(LOCKED).locked());

/// The memory of the table.
pub trait NextHops {
    type Line: Line;
    fn next_hop(&self, index: u16) -> Option<Self::Line>;
}

/// The words of a hop.
#[inline(always)]
pub fn words(hop: &Hop) -> [u32; HOP_WORDS] {
    bytemuck::must_cast(*hop)
}

/// The hop at an index, if there is one.
#[inline(always)]
pub fn get<M: NextHops>(memory: &M, index: u16) -> Option<Hop> {
    let line = memory.next_hop(index)?;
    if line.load(word::CONTROL) & READY == 0 {
        return None;
    }
    Some(bytemuck::must_cast([
        line.load(word::HOP),
        line.load(word::HOP + 1),
        line.load(word::HOP + 2),
        line.load(word::HOP + 3),
        line.load(word::VLANS),
    ]))
}

/// The index of a hop, which is entered if it is new. Nothing if there is no room for it.
#[inline(always)]
pub fn assign<M: NextHops>(memory: &M, hop: &Hop, now: Ticks) -> Option<u16> {
    let wanted = words(hop);
    let [interface, a, b, c, vlans] = wanted;
    let link = hash::mix(u64::from(interface) << 32 | u64::from(vlans), u64::from(a));
    let start = hash::mix(link, u64::from(b) << 32 | u64::from(c)) as u32;
    let mut attempt = 0;
    while attempt < PROBES {
        let index = start.wrapping_add(attempt) as u16;
        attempt += 1;
        let line = memory.next_hop(index)?;
        let control = line.load(word::CONTROL);
        if control & LOCKED != 0 {
            continue;
        }
        if control & READY == 0 {
            if line.exchange(word::CONTROL, control, LOCKED) {
                line.store(word::LAST_ASSIGNED, now);
                line.store(word::HOP, interface);
                line.store(word::HOP + 1, a);
                line.store(word::HOP + 2, b);
                line.store(word::HOP + 3, c);
                line.store(word::VLANS, vlans);
                line.store(word::CONTROL, READY);
                return Some(index);
            }
            continue;
        }
        let same = line.load(word::HOP) == interface
            && line.load(word::HOP + 1) == a
            && line.load(word::HOP + 2) == b
            && line.load(word::HOP + 3) == c
            && line.load(word::VLANS) == vlans;
        if same && stamp(line, now) {
            return Some(index);
        }
    }
    None
}

/// Assigns a hop once more, by its index: for a connection that takes the place of the one that names it. Nothing if it is
/// there no more.
#[inline(always)]
pub fn again<M: NextHops>(memory: &M, index: u16, now: Ticks) -> Option<u16> {
    stamp(memory.next_hop(index)?, now).then_some(index)
}

/// Stamps a hop. Says whether it is still there.
#[inline(always)]
fn stamp(line: impl Line, now: Ticks) -> bool {
    let before = line.load(word::LAST_ASSIGNED);
    // The exchange is there as a barrier: the stamp is seen before the look at the control word.
    (before == now || line.exchange(word::LAST_ASSIGNED, before, now)) && line.load(word::CONTROL) == READY
}

/// Frees the hop at an index, unless it was assigned after `since`. Says whether it is free now.
#[inline(always)]
pub fn free<M: NextHops>(memory: &M, index: u16, since: Ticks) -> bool {
    let Some(line) = memory.next_hop(index) else { return false };
    let is_fresh = || line.load(word::LAST_ASSIGNED).wrapping_sub(since) as i32 >= 0;
    // Before it is taken, too: meanwhile a packet of a connection that has just been opened would find none.
    if is_fresh() || !line.exchange(word::CONTROL, READY, LOCKED) {
        return false;
    }
    let fresh = is_fresh();
    line.store(word::CONTROL, if fresh { READY } else { 0 });
    !fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Vlans;
    use crate::model::SharedNextHops;

    #[test]
    fn a_hop_that_is_assigned_again_is_not_freed() {
        let hops = &SharedNextHops::new();
        let hop = Hop { interface: 3, destination: [1; 3], source: [2; 3], vlans: Vlans::NONE };
        let index = assign(&hops, &hop, 100).expect("there is room");
        assert_eq!(again(&hops, index, 200), Some(index));
        assert!(!free(&hops, index, 150), "it was assigned after that");
        assert!(free(&hops, index, 201));
        assert_eq!((again(&hops, index, 300), get(&hops, index)), (None, None));
    }
}
