//! The corpus, and a few fresh sequences: what `cargo test` plays. `cargo xtask fuzz` plays many.

use dtr_lb_common::verdict::Verdict;
use dtr_lb_fuzz::{corpus, reached::Reached, run::play, search::Search};

fn replay(name: &str) -> Reached {
    let inputs = corpus::load(&corpus::directory(name)).unwrap();
    assert!(!inputs.is_empty(), "{name} has none");
    let mut reached = Reached::default();
    for (path, input) in inputs {
        if let Err(finding) = play(&input, &mut reached, None) {
            panic!("{}: {finding}", path.display());
        }
    }
    reached
}

#[test]
fn findings_of_the_past_stay_away() {
    replay("regressions");
}

#[test]
fn seeds_reach_every_verdict() {
    // No frame leads to the first: headers that were read can be rewritten. No world has limits. Three tags are one frame in thousands.
    let without = [
        Verdict::DroppedRewrite,
        Verdict::AnsweredSourceLimit,
        Verdict::AnsweredReplicasFull,
        Verdict::PassedVlan,
    ];
    let unreached = replay("seeds").unreached();
    assert!(unreached.iter().all(|verdict| without.contains(verdict)), "not reached: {unreached:?}");
}

#[test]
fn fresh_sequences_find_nothing() {
    let mut search = Search::new(2, Vec::new());
    for _ in 0..2000 {
        if let Err((input, finding)) = search.step() {
            let path = corpus::keep(&std::env::temp_dir(), &input).unwrap();
            panic!("{finding}; the input stands in {}", path.display());
        }
    }
}

#[test]
fn equal_seeds_make_equal_searches() {
    let verdicts = || {
        let mut search = Search::new(7, Vec::new());
        for _ in 0..300 {
            search.step().unwrap();
        }
        (search.reached.verdicts, search.reached.combinations(), search.kept)
    };
    assert_eq!(verdicts(), verdicts());
}

#[test]
fn an_input_may_have_any_length() {
    let input: Vec<u8> = (0..1000_u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    for length in 0..input.len() {
        play(&input[..length], &mut Reached::default(), None).unwrap();
    }
}
