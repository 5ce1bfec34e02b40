//! Makes inputs: at random, and by changing those that reached something that none before did.

use crate::{
    input::{EVENT, MAX_EVENTS, WORLD},
    random::Random,
    reached::Reached,
    run::{Finding, play},
};

/// Inputs that are kept to be changed, at most.
const KEPT: usize = 4096;

/// A search, from a seed. Equal seeds and equal kept inputs make equal searches.
#[derive(Debug)]
pub struct Search {
    random: Random,
    pub kept: Vec<Vec<u8>>,
    pub reached: Reached,
    pub sequences: u64,
    input: Vec<u8>,
}

impl Search {
    /// `seeds` are played first.
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        Self {
            random: Random::new(seed),
            kept: seeds,
            reached: Reached::default(),
            sequences: 0,
            input: Vec::new(),
        }
    }

    /// Plays one more sequence.
    pub fn step(&mut self) -> Result<(), (Vec<u8>, Finding)> {
        self.next_input();
        self.sequences += 1;
        if let Err(finding) = play(&self.input, &mut self.reached, None) {
            return Err((self.input.clone(), finding));
        }
        if self.reached.news() {
            if self.kept.len() < KEPT {
                self.kept.push(self.input.clone());
            } else {
                let at = self.random.below(KEPT);
                self.kept[at].clone_from(&self.input);
            }
        }
        Ok(())
    }

    fn next_input(&mut self) {
        if self.kept.is_empty() || self.random.below(2) == 0 {
            let events = 1 + self.random.below(self.random.clone().below(MAX_EVENTS) + 1);
            self.input.resize(WORLD + EVENT * events, 0);
            self.random.fill(&mut self.input);
            return;
        }
        let at = self.random.below(self.kept.len());
        self.input.clone_from(&self.kept[at]);
        for _ in 0..=self.random.below(4) {
            self.change();
        }
    }

    /// Changes the input in one place.
    fn change(&mut self) {
        let Self { random, input, kept, .. } = self;
        let events = input.len().saturating_sub(WORLD) / EVENT;
        let place = |random: &mut Random, count: usize| WORLD + EVENT * random.below(count.max(1));
        match random.below(8) {
            0 if events > 1 => {
                let at = place(random, events);
                input.drain(at..at + EVENT);
            }
            1 | 2 if events > 0 && events < MAX_EVENTS => {
                // An event at random, or one of another input.
                let mut event = [0; EVENT];
                random.fill(&mut event);
                let other = &kept[random.below(kept.len())];
                let from = place(random, other.len().saturating_sub(WORLD) / EVENT);
                if let Some(known) = other.get(from..from + EVENT).filter(|_| random.below(2) == 0) {
                    event.copy_from_slice(known);
                }
                let at = place(random, events + 1);
                input.splice(at..at, event);
            }
            3 if events > 0 && events < MAX_EVENTS => {
                let (from, to) = (place(random, events), place(random, events + 1));
                let event: [u8; EVENT] = input[from..from + EVENT].try_into().unwrap_or([0; EVENT]);
                input.splice(to..to, event);
            }
            4 if !input.is_empty() => {
                let at = random.below(input.len().min(WORLD));
                input[at] = random.number() as u8;
            }
            5 if events > 0 => {
                let other = &kept[random.below(kept.len())];
                let from = place(random, other.len().saturating_sub(WORLD) / EVENT);
                if other.len() > from {
                    let at = place(random, events);
                    input.truncate(at);
                    input.extend(&other[from..]);
                    input.truncate(WORLD + EVENT * MAX_EVENTS);
                }
            }
            _ if !input.is_empty() => {
                let at = random.below(input.len());
                input[at] = random.number() as u8;
            }
            _ => {}
        }
    }
}
