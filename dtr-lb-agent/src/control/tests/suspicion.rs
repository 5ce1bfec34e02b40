//! Probes that nobody answers, and what they say of this host.

use super::*;
use crate::probe::Phase;

/// A service whose probes are as by default: every 2 s, 3 that fail, and a time-out of 2 s.
struct World {
    control: Control,
    said: [u64; 3],
    late: Duration,
    changes: Vec<Change>,
}

impl World {
    fn new(overrides: &[&str]) -> Self {
        Self { control: all_up(overrides), said: [0; 3], late: Duration::ZERO, changes: Vec::new() }
    }

    fn probe(&mut self, seconds: f64, replica: usize, error: Option<Failure>) {
        let took = Duration::from_secs(if error.is_some() { 2 } else { 0 });
        let outcome = Outcome { status: None, took, error };
        let id = key(&self.control, 0, replica);
        let report = Report { id, outcome, agent: None, in_a_row: 1, opposite: false, late: self.late };
        self.changes.extend(self.control.report(report, self.said[replica], at(seconds)));
    }

    fn silent(&mut self, seconds: f64, replica: usize) {
        let silent = Failure::Timeout { after: Duration::from_secs(2), phase: Phase::Connecting };
        self.probe(seconds, replica, Some(silent));
    }

    fn state(&self, replica: usize) -> &'static str {
        states(&self.control)[replica]
    }

    fn reset(&self, replica: usize) -> bool {
        desired(&self.control, at(0.0)).replicas[replica].reset
    }

    /// What was told of this host's doubts since the last call: begun or ended.
    fn told(&mut self) -> Vec<bool> {
        let told = |change| match change {
            Change::Suspicion { reason, .. } => Some(reason.is_some()),
            _ => None,
        };
        std::mem::take(&mut self.changes).into_iter().filter_map(told).collect()
    }
}

#[test]
fn one_that_answers_clients_is_not_dead() {
    let mut world = World::new(&[]);
    for (seconds, says) in [(2.0, 0), (4.0, 0), (6.0, 1)] {
        world.said[0] += says;
        world.silent(seconds, 0);
    }
    assert_eq!((world.state(0), world.reset(0)), ("down", false), "a packet with data came");
    world.silent(8.0, 0);
    world.silent(10.0, 0);
    assert!(!world.reset(0), "two probes without");
    world.silent(12.0, 0);
    assert!(world.reset(0), "it has said nothing for as long as it takes");
    world.said[0] += 1;
    world.silent(14.0, 0);
    assert!(!world.reset(0), "it says something again");
}

#[test]
fn one_bad_probe_is_no_death() {
    let mut world = World::new(&["service=[{ name = \"http\", port = 80, probe = { fall = 1 } }]"]);
    world.silent(2.0, 0);
    assert_eq!((world.state(0), world.reset(0)), ("down", false), "nothing was heard since");
    world.silent(4.0, 0);
    assert!(world.reset(0));
}

#[test]
fn most_that_fall_silent_together_keep_their_share() {
    for all_down in ["fail-open", "refuse"] {
        let mut world = World::new(&[&format!("datapath.all_down={all_down}")]);
        for round in 1..=3 {
            for replica in 0..2 {
                world.silent(2.0 * f64::from(round) + 0.5 * replica as f64, replica);
            }
            world.probe(2.0 * f64::from(round) + 1.0, 2, None);
        }
        assert_eq!(states(&world.control), ["up"; 3]);
        assert_eq!(shares(&world.control), [100, 50, 100]);
        assert_eq!((world.reset(0), world.reset(1)), (false, false));
        assert_eq!(world.told(), [true]);
        let suspicion = world.control.suspicion(0).expect("it is on").clone();
        assert_eq!(suspicion.reason, "2 of 3 replicas fell silent within 3s of each other");

        // One of them is there again: the other one is alone, and judged anew.
        world.probe(8.0, 0, None);
        assert_eq!((states(&world.control), world.told()), (vec!["up"; 3], vec![false]));
        assert_eq!(world.control.suspicion(0), None);
        world.silent(8.5, 1);
        world.silent(10.5, 1);
        assert_eq!((world.state(1), world.reset(1)), ("up", false));
        world.silent(12.5, 1);
        assert_eq!((world.state(1), world.reset(1)), ("down", true));
    }
}

#[test]
fn it_does_not_go_on_for_ever() {
    let mut world = World::new(&[]);
    let mut down_at = None;
    for round in 1..=15 {
        (0..3).for_each(|replica| world.silent(2.0 * f64::from(round), replica));
        if down_at.is_none() && states(&world.control) == ["down"; 3] {
            down_at = Some(round);
        }
    }
    assert_eq!(down_at, Some(12), "three more rounds of three");
    assert_eq!(world.told(), [true, false]);
    assert!(!world.reset(0), "all are down, and fail-open hopes");
}

#[test]
fn those_that_refuse_or_answer_badly_are_believed() {
    let status = || Failure::Status { got: 503, expected: "200-399".into() };
    let failures: [fn() -> Failure; 2] = [|| Failure::Refused, status];
    for failure in failures {
        let mut world = World::new(&[]);
        for round in 1..=3 {
            (0..2).for_each(|replica| world.probe(2.0 * f64::from(round), replica, Some(failure())));
        }
        assert_eq!(states(&world.control), ["down", "down", "up"]);
        assert_eq!(world.told(), [false; 0]);
    }
}

#[test]
fn those_that_fall_silent_one_after_the_other_are_believed() {
    let mut world = World::new(&[]);
    for round in 1..=6 {
        world.silent(2.0 * f64::from(round), 0);
        if round > 3 {
            world.silent(2.0 * f64::from(round) + 0.5, 1);
        }
    }
    assert_eq!(states(&world.control), ["down", "down", "up"]);
    assert_eq!(world.told(), [false; 0]);
}

#[test]
fn who_was_down_before_is_not_brought_back() {
    let mut world = World::new(&[]);
    (1..=3).for_each(|round| world.probe(2.0 * f64::from(round), 0, Some(Failure::Refused)));
    for round in 4..=6 {
        (0..2).for_each(|replica| world.silent(2.0 * f64::from(round), replica));
    }
    assert_eq!(states(&world.control), ["down", "up", "up"]);
    assert_eq!(world.told(), [true], "the second one is held");
}

#[test]
fn a_host_without_time_says_nothing_of_replicas() {
    let mut world = World::new(&[]);
    world.late = Duration::from_millis(350);
    (1..=20).for_each(|round| world.silent(2.0 * f64::from(round), 0));
    assert_eq!((world.state(0), world.reset(0)), ("up", false));
    let reason = world.control.suspicion(0).expect("it is on").reason.clone();
    assert_eq!(reason, "timers of probes run 350 ms late: this host is overloaded");
    // With time for three probes it is down, and dead.
    world.late = Duration::from_millis(3);
    world.silent(42.0, 0);
    world.silent(44.0, 0);
    assert_eq!(world.state(0), "up");
    world.silent(46.0, 0);
    assert_eq!((world.state(0), world.reset(0)), ("down", true));
    assert_eq!(world.told(), [true, false]);
}
