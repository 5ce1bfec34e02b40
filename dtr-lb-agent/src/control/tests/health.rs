//! Rise and fall: tables of what an operator expects, then every short history against a model.

use proptest::prelude::*;

use super::*;

use ReplicaHealth::{Down, Starting, Up};

/// `+` is a good probe, `-` a bad one; the states after each of them.
const HISTORIES: &[(&str, u32, u32, &str, &str)] = &[
    ("the first success brings it up, whatever rise is", 5, 3, "+", "U"),
    ("one failure after the start is no verdict", 2, 3, "--", "SS"),
    ("fall failures after the start are one", 2, 3, "---", "SSD"),
    ("a success after failures at the start", 2, 3, "--+", "SSU"),
    ("up stays up for fewer than fall failures", 2, 3, "+--", "UUU"),
    ("up goes down at fall failures", 2, 3, "+---", "UUUD"),
    ("a success forgives the failures before it", 2, 3, "+--+--", "UUUUUU"),
    ("down comes up after rise successes", 2, 3, "---++", "SSDDU"),
    ("a failure forfeits the successes before it", 2, 3, "---+-+", "SSDDDD"),
    ("failures at the start do not count against up", 2, 3, "--+--", "SSUUU"),
    ("rise and fall of one flip at each outcome", 1, 1, "-+-+", "DUDU"),
    ("zero is taken as one", 0, 0, "-+-+", "DUDU"),
];

#[test]
fn histories() {
    for &(what, rise, fall, outcomes, expected) in HISTORIES {
        let mut health = RiseFall::new(rise, fall);
        let states: String = outcomes
            .chars()
            .map(|outcome| {
                health.observe(outcome == '+', 1, false);
                letter(health.health())
            })
            .collect();
        assert_eq!(states, expected, "{what}: rise {rise}, fall {fall}, {outcomes}");
    }
}

#[test]
fn it_goes_down_by_fall_and_comes_up_by_rise() {
    let mut health = RiseFall::new(2, 2);
    let found: Vec<_> = [true, false, false, false, true, true, true]
        .map(|ok| {
            health.observe(ok, 1, false);
            health.health()
        })
        .into();
    assert_eq!(found, [Up, Up, Down, Down, Down, Up, Up]);
}

#[test]
fn doubt_lasts_while_the_last_outcome_speaks_against_the_state() {
    let mut health = RiseFall::new(2, 2);
    assert!(in_doubt(&health), "nothing known yet");
    for (ok, expected) in [(true, false), (false, true), (true, false), (false, true), (false, false)] {
        health.observe(ok, 1, false);
        assert_eq!(in_doubt(&health), expected, "after {ok}, {:?}", health.health());
    }
    assert_eq!(health.health(), Down);
    for (ok, expected) in [(true, true), (false, false), (true, true), (true, false)] {
        health.observe(ok, 1, false);
        assert_eq!(in_doubt(&health), expected, "after {ok}, {:?}", health.health());
    }
    assert_eq!(health.health(), Up);
}

#[test]
fn every_history_of_up_to_nine_outcomes() {
    for rise in 1..=3 {
        for fall in 1..=3 {
            for length in 0..=9 {
                for bits in 0..1_u32 << length {
                    let history: Vec<bool> = (0..length).map(|at| bits >> at & 1 == 1).collect();
                    check_against_model(rise, fall, &history);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn long_histories(
        rise in 1_u32..6,
        fall in 1_u32..6,
        history in prop::collection::vec(prop::bool::weighted(0.6), 0..200),
    ) {
        check_against_model(rise, fall, &history);
    }
}

fn check_against_model(rise: u32, fall: u32, history: &[bool]) {
    let mut health = RiseFall::new(rise, fall);
    for end in 1..=history.len() {
        let seen = &history[..end];
        health.observe(seen[end - 1], 1, false);
        let expected = model(rise, fall, seen);
        assert_eq!(health.health(), expected, "rise {rise}, fall {fall}, {seen:?}");
        assert_eq!(
            several_at_once(rise, fall, seen).health(),
            expected,
            "rise {rise}, fall {fall}, {seen:?}"
        );
        let disagrees = seen[end - 1] != (expected == Up);
        let certainty = match expected {
            Starting => Certainty::InDoubt,
            Up | Down if disagrees => Certainty::InDoubt,
            Up => Certainty::Up,
            Down => Certainty::Down,
        };
        assert_eq!(health.certainty(), certainty, "{seen:?}");
    }
}

/// The same, where each report is about all probes in a row that found the same.
fn several_at_once(rise: u32, fall: u32, history: &[bool]) -> RiseFall {
    let mut health = RiseFall::new(rise, fall);
    for run in history.chunk_by(|before, after| before == after) {
        health.observe(run[0], run.len() as u32, false);
    }
    health
}

/// The rules read backwards, without a counter: the verdict is the latest point in the history where a run was
/// long enough to give one, and a run of outcomes is as long whatever the state was when it began.
pub(super) fn model(rise: u32, fall: u32, history: &[bool]) -> ReplicaHealth {
    let run_ending_at =
        |end: usize| history[..=end].iter().rev().take_while(|&&ok| ok == history[end]).count();
    let first_success = history.iter().position(|&ok| ok);
    let first_fall = (0..history.len()).find(|&end| !history[end] && run_ending_at(end) >= fall as usize);
    for end in (0..history.len()).rev() {
        let run = run_ending_at(end);
        if !history[end] && run >= fall as usize {
            return Down;
        }
        let from_the_start = first_success == Some(end) && first_fall.is_none_or(|fallen| fallen > end);
        if history[end] && (run >= rise as usize || from_the_start) {
            return Up;
        }
    }
    Starting
}

fn in_doubt(health: &RiseFall) -> bool {
    health.certainty() == Certainty::InDoubt
}

fn letter(health: ReplicaHealth) -> char {
    match health {
        Starting => 'S',
        Up => 'U',
        Down => 'D',
    }
}
