//! What sequences have reached: by it the search knows which inputs to keep.

use dtr_lb_common::verdict::{VERDICTS, Verdict};

/// What sequences have reached.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Frames by verdict.
    pub verdicts: [u64; VERDICTS],
    pub frames: u64,
    /// Frames that the fast path has sent on.
    pub fast: u64,
    /// Combinations of verdict, kind of event, phase of the connection and families, by a hash.
    seen: Vec<u64>,
    /// New ones since [`Self::news`] was asked last.
    fresh: u32,
}

/// Combinations that are told apart.
const COMBINATIONS: usize = 1 << 16;

impl Default for Reached {
    fn default() -> Self {
        Self { verdicts: [0; VERDICTS], frames: 0, fast: 0, seen: vec![0; COMBINATIONS / 64], fresh: 0 }
    }
}

impl Reached {
    /// Notes a combination.
    pub fn note(&mut self, combination: u64) {
        let at = (combination.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % COMBINATIONS;
        let (word, bit) = (&mut self.seen[at / 64], 1 << (at % 64));
        if *word & bit == 0 {
            *word |= bit;
            self.fresh += 1;
        }
    }

    /// Whether anything new was reached since the last call.
    pub fn news(&mut self) -> bool {
        std::mem::take(&mut self.fresh) > 0
    }

    /// Combinations that were reached.
    pub fn combinations(&self) -> u32 {
        self.seen.iter().map(|word| word.count_ones()).sum()
    }

    /// How many of these `other` has not reached.
    pub fn beyond(&self, other: &Self) -> u32 {
        self.seen.iter().zip(&other.seen).map(|(mine, theirs)| (mine & !theirs).count_ones()).sum()
    }

    /// Adds what `other` has reached.
    pub fn join(&mut self, other: &Self) {
        self.seen.iter_mut().zip(&other.seen).for_each(|(mine, theirs)| *mine |= theirs);
        self.verdicts.iter_mut().zip(&other.verdicts).for_each(|(mine, theirs)| *mine += theirs);
        self.frames += other.frames;
        self.fast += other.fast;
    }

    /// Verdicts that were not.
    pub fn unreached(&self) -> Vec<Verdict> {
        Verdict::ALL.iter().copied().filter(|verdict| self.verdicts[*verdict as usize] == 0).collect()
    }
}
