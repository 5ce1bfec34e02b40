//! Makes a finding small: fewer events, and zeros where bytes do not matter.

use crate::{
    input::{EVENT, WORLD},
    reached::Reached,
    run::{Finding, play},
};

/// The smallest input found that is still a finding, which need not be the same one.
pub fn minimise(input: &[u8], finding: Finding) -> (Vec<u8>, Finding) {
    let mut best = (input.to_vec(), finding);
    loop {
        let before = best.0.clone();
        cut_events(&mut best);
        clear_bytes(&mut best);
        if best.0 == before {
            return best;
        }
    }
}

fn try_input(best: &mut (Vec<u8>, Finding), input: Vec<u8>) -> bool {
    match play(&input, &mut Reached::default(), None) {
        Ok(()) => false,
        Err(finding) => {
            *best = (input, finding);
            true
        }
    }
}

fn cut_events(best: &mut (Vec<u8>, Finding)) {
    let end = WORLD + EVENT * (best.1.event + 1);
    let cut = best.0[..best.0.len().min(end)].to_vec();
    try_input(best, cut);
    let mut size = best.0.len().saturating_sub(WORLD) / EVENT;
    while size > 0 {
        let mut at = 0;
        loop {
            let (start, end) = (WORLD + EVENT * at, WORLD + EVENT * (at + size));
            if end > best.0.len() {
                break;
            }
            let without = [&best.0[..start], &best.0[end..]].concat();
            if !try_input(best, without) {
                at += size;
            }
        }
        size /= 2;
    }
}

fn clear_bytes(best: &mut (Vec<u8>, Finding)) {
    for at in 0..best.0.len() {
        if best.0.get(at).is_some_and(|byte| *byte != 0) {
            let mut without = best.0.clone();
            without[at] = 0;
            try_input(best, without);
        }
    }
}
