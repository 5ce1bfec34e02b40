//! Plays fresh inputs, keeps those that reach something new for the run, and makes findings small.

use std::collections::BTreeMap;

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{Reached, Target, mutate::mutate, play};

/// What is kept at most: more would only slow the search down.
const MOST_KEPT: usize = 4096;

/// A search. Equal seeds and inputs make equal searches.
#[derive(Debug)]
pub struct Search {
    target: Target,
    random: StdRng,
    kept: Vec<Vec<u8>>,
    /// How often each outcome was reached.
    pub reached: BTreeMap<Reached, u64>,
    /// Inputs played.
    pub played: u64,
}

impl Search {
    /// Begins with these inputs, which are not played.
    pub fn new(target: Target, seed: u64, kept: Vec<Vec<u8>>) -> Self {
        let kept = if kept.is_empty() { vec![Vec::new()] } else { kept };
        Self { target, random: StdRng::seed_from_u64(seed), kept, reached: BTreeMap::new(), played: 0 }
    }

    /// Plays one more.
    ///
    /// # Errors
    /// An input that is a finding, and what it is.
    pub fn step(&mut self) -> Result<(), (Vec<u8>, String)> {
        let input = mutate(self.target, &self.kept, &mut self.random);
        self.played += 1;
        let reached = play(self.target, &input).map_err(|finding| (input.clone(), finding))?;
        let count = self.reached.entry(reached).or_default();
        *count += 1;
        if *count == 1 && self.kept.len() < MOST_KEPT {
            self.kept.push(input);
        }
        Ok(())
    }
}

/// The smallest input found that is still a finding.
pub fn minimise(target: Target, input: &[u8], finding: String) -> (Vec<u8>, String) {
    let mut best = (input.to_vec(), finding);
    let mut size = best.0.len();
    while size > 0 {
        let mut at = 0;
        while at + size <= best.0.len() {
            let without = [&best.0[..at], &best.0[at + size..]].concat();
            match play(target, &without) {
                Ok(_) => at += size,
                Err(finding) => best = (without, finding),
            }
        }
        size /= 2;
    }
    best
}
