//! The corpus, and some fresh inputs: what `cargo test` plays. `cargo xtask fuzz-input` plays many.

use dtr_lb_fuzz_input::{Target, corpus, play, search::Search};

fn search(target: Target, seed: u64, inputs: u64) -> Search {
    let seeds = corpus::load(target).expect("the corpus").into_iter().map(|(_, input)| input).collect();
    let mut search = Search::new(target, seed, seeds);
    while search.played < inputs {
        if let Err((input, finding)) = search.step() {
            panic!("{finding}:\n{}", String::from_utf8_lossy(&input));
        }
    }
    search
}

#[test]
fn findings_of_the_past_stay_away() {
    for target in Target::ALL {
        let inputs = corpus::load(target).expect("the corpus");
        assert!(!inputs.is_empty(), "{target:?} has none");
        for (path, input) in inputs {
            if let Err(finding) = play(target, &input) {
                panic!("{}: {finding}", path.display());
            }
        }
    }
}

#[test]
fn fresh_configs_find_nothing_and_some_are_valid() {
    let reached = search(Target::Config, 3, 3000).reached;
    let valid: u64 =
        reached.iter().filter(|(outcome, _)| outcome.starts_with("valid")).map(|(_, count)| count).sum();
    assert!(valid > 30 && reached.len() > 100, "{} outcomes, {valid} of the inputs valid", reached.len());
}

#[test]
fn fresh_requests_find_nothing_and_reach_the_routes() {
    let reached = search(Target::Api, 3, 1500).reached;
    for outcome in
        ["GET /v1/status: 503 Status", "POST /v1/detach: 503 Detach", "POST /v1/replica: 503 Replica"]
    {
        let is_reached = reached.keys().any(|reached| reached.starts_with(outcome));
        assert!(is_reached, "{outcome:?} is not among {:#?}", reached.keys());
    }
}

#[test]
fn fresh_configurations_of_others_find_nothing_and_reach_each_format() {
    let reached = search(Target::Import, 3, 3000).reached;
    assert!(reached.len() > 150, "{} outcomes", reached.len());
    for word in ["backup", "weight", "deny", "mode", "affinity", "port"] {
        assert!(reached.keys().any(|reached| reached.contains(word)), "no config has {word}");
    }
}

#[test]
fn an_input_may_be_any_bytes() {
    let bytes: Vec<u8> = (0..600_u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    for length in 0..bytes.len() {
        for target in Target::ALL {
            play(target, &bytes[..length]).expect("no finding");
        }
    }
}
