//! Maglev tables (Eisenbud et al., NSDI 2016, section 3.4): each replica has its own permutation of the slots and the
//! replicas take turns to claim the next free one of theirs. Shares are even, and when a replica leaves, few slots
//! of the others move.
//!
//! Weights: in each round a replica earns its weight and claims a slot for each full `max(weight)` it has earned, so
//! that its turns, and with them its slots, are in proportion to its weight.

use crate::{
    abi::{MAGLEV_SLOTS, MaglevTable, ReplicaId},
    hash,
};

/// One that wants slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What stands in the slots. Not 0.
    pub id: ReplicaId,
    /// What its permutation is made from: a hash of its address and port, so that every host builds the same table.
    pub identity: u64,
    /// Its share, relative to the others'. 0 gets no slot.
    pub weight: u16,
}

/// A permutation of the slots: `offset + n * skip (mod slots)`; as the number of slots is prime, any skip but 0 does.
struct Permutation {
    next: usize,
    skip: usize,
}

impl Permutation {
    fn new(identity: u64) -> Self {
        let offset = hash::mix(identity, 0) % MAGLEV_SLOTS as u64;
        let skip = hash::mix(identity, 1) % (MAGLEV_SLOTS as u64 - 1) + 1;
        Self { next: offset as usize, skip: skip as usize }
    }

    fn claim(&mut self, table: &mut MaglevTable, id: ReplicaId) {
        loop {
            let slot = self.next;
            self.next = (self.next + self.skip) % MAGLEV_SLOTS;
            if table[slot] == 0 {
                table[slot] = id;
                return;
            }
        }
    }
}

/// Builds the table. The order of the candidates does not matter; without any (of a weight over 0) all slots are 0.
/// Costs some milliseconds.
pub fn build(candidates: &[Candidate]) -> Box<MaglevTable> {
    let mut table: Box<MaglevTable> = vec![0; size_of::<MaglevTable>() / size_of::<ReplicaId>()]
        .try_into()
        .expect("the length is the array's");
    let mut turns: Vec<_> = candidates.iter().filter(|candidate| candidate.weight > 0).copied().collect();
    turns.sort_by_key(|candidate| (candidate.identity, candidate.id));
    let Some(full) = turns.iter().map(|candidate| u32::from(candidate.weight)).max() else { return table };
    let mut turns: Vec<_> =
        turns.into_iter().map(|candidate| (candidate, Permutation::new(candidate.identity), 0u32)).collect();
    let mut free = MAGLEV_SLOTS;
    loop {
        for (candidate, permutation, earned) in &mut turns {
            *earned += u32::from(candidate.weight);
            if *earned < full {
                continue;
            }
            *earned -= full;
            permutation.claim(&mut table, candidate.id);
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
}

#[cfg(test)]
mod tests;
