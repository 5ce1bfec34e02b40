//! The Ethernet addresses of this host: frames to others are not for it, whatever brought them here.

use bytemuck::{Pod, Zeroable};

use crate::wire::Mac;

/// Slots of a set, and how many of them an address may stand in.
const SLOTS: usize = 1024;
const WAYS: usize = 4;
/// Sets in the map: the one in force, and the one that the agent writes.
pub const OWN_MAC_SETS: usize = 2;

/// A set of addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct OwnMacs {
    /// What places are made of.
    pub salt: u64,
    /// Addresses as numbers: their words, the first one lowest, and a bit above; 0 where there is none.
    pub slots: [u64; SLOTS],
}

/// An address as a number that is not 0.
#[inline(always)]
const fn number(mac: &Mac) -> u64 {
    mac[0] as u64 | (mac[1] as u64) << 16 | (mac[2] as u64) << 32 | 1 << 48
}

impl OwnMacs {
    /// The first of the slots that an address may stand in.
    #[inline(always)]
    const fn first(salt: u64, number: u64) -> usize {
        (number.wrapping_mul(salt | 1) >> 56) as usize * WAYS
    }

    /// Whether an address is in the set of this salt, whose slots `slot` reads.
    #[inline(always)]
    pub fn holds(salt: u64, mac: &Mac, slot: impl Fn(usize) -> u64) -> bool {
        let number = number(mac);
        let first = Self::first(salt, number);
        let mut way = 0;
        let mut found = false;
        while way < WAYS {
            found |= slot(first + way) == number;
            way += 1;
        }
        found
    }

    /// The slots that there are.
    pub const SLOTS: usize = SLOTS;
}

#[cfg(any(feature = "user", test))]
impl OwnMacs {
    /// A set of these addresses. Nothing if they are too many: hundreds.
    pub fn of(macs: &std::collections::BTreeSet<Mac>) -> Option<Box<Self>> {
        const SALTS: u64 = 64;
        (0..SALTS).find_map(|try_| {
            // Odd multiples of the golden ratio, which spread neighbours.
            let salt = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(2 * try_ + 1);
            let mut set = Box::new(Self { salt, slots: [0; SLOTS] });
            macs.iter().all(|mac| set.insert(number(mac))).then_some(set)
        })
    }

    fn insert(&mut self, number: u64) -> bool {
        let first = Self::first(self.salt, number);
        let free = self.slots[first..first + WAYS].iter_mut().find(|slot| **slot == 0);
        free.map(|slot| *slot = number).is_some()
    }

    /// Whether an address is in the set.
    pub fn has(&self, mac: &Mac) -> bool {
        Self::holds(self.salt, mac, |at| self.slots[at])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_was_put_in_and_nothing_else(
            macs in proptest::collection::btree_set(any::<Mac>(), 0..200usize),
            others in proptest::collection::vec(any::<Mac>(), 0..200usize),
        ) {
            let set = OwnMacs::of(&macs).unwrap();
            prop_assert!(macs.iter().all(|mac| set.has(mac)));
            prop_assert!(others.iter().all(|mac| set.has(mac) == macs.contains(mac)));
        }
    }

    #[test]
    fn neighbours_fit_by_the_hundred_and_thousands_do_not() {
        let macs = |count: u16| (0..count).map(|n| [2, 0, n.to_be()]).collect::<BTreeSet<Mac>>();
        assert!(OwnMacs::of(&macs(300)).is_some());
        assert!(OwnMacs::of(&macs(5000)).is_none());
        assert!(!OwnMacs::of(&BTreeSet::new()).unwrap().has(&[0; 3]));
    }
}
