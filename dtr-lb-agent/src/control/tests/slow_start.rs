//! Slow start.

use super::*;

/// The second replica, which has a weight of 50, comes back at second 10 and takes 20 s to be up to it.
fn back() -> Control {
    let mut control = all_up(&["replica.1.slow_start=20s"]);
    probes_at(&mut control, at(1.0), 1, Some(Failure::Refused), ENOUGH);
    probes_at(&mut control, at(10.0), 1, None, ENOUGH);
    control
}

#[test]
fn the_share_of_one_that_comes_back_rises() {
    let mut control = back();
    let cases = [(10.0, 1), (10.9, 1), (11.0, 2), (20.0, 25), (29.9, 47), (30.0, 50), (99.0, 50)];
    for (seconds, share) in cases {
        assert_eq!(shares_at(&control, at(seconds)), [100, share, 100], "at {seconds} s");
    }
    let mut now = at(10.0);
    let mut rewrites = 0;
    while let Some(due) = control.next_due(now.clock) {
        let passed = (due - at(10.0).clock).as_secs_f64();
        now = at(10.0 + passed);
        assert_eq!(control.tick(now), [], "nobody wants to read of it");
        rewrites += 1;
        assert!(rewrites <= 21, "each wake-up gets on");
    }
    assert_eq!(shares_at(&control, now), [100, 50, 100]);
    assert_eq!(states(&control), ["up"; 3]);
}

#[test]
fn not_at_the_start_of_the_agent() {
    let control = all_up(&["replica.1.slow_start=20s"]);
    assert_eq!(shares(&control), [100, 50, 100]);
    assert_eq!(control.next_due(at(0.0).clock), None);
}

#[test]
fn going_down_ends_it() {
    let mut control = back();
    probes_at(&mut control, at(15.0), 1, Some(Failure::Refused), ENOUGH);
    assert_eq!(shares_at(&control, at(15.0)), [100, 0, 100]);
    assert_eq!(control.next_due(at(15.0).clock), None);
    probes_at(&mut control, at(20.0), 1, None, ENOUGH);
    assert_eq!(shares_at(&control, at(20.0)), [100, 1, 100], "from the bottom again");
}

#[test]
fn fail_open_and_being_alone_know_no_slow_start() {
    let mut control = back();
    for replica in [0, 2] {
        probes_at(&mut control, at(11.0), replica, Some(Failure::Refused), ENOUGH);
    }
    assert_eq!(shares_at(&control, at(11.0)), [0, 2, 0], "2 of 2 is all");
    probes_at(&mut control, at(12.0), 1, Some(Failure::Refused), ENOUGH);
    assert_eq!(shares_at(&control, at(12.0)), [100, 50, 100]);
}

#[test]
fn after_a_passive_check_it_is_slow_but_not_where_the_replica_is_needed() {
    let mut control = all_up(&["replica.1.slow_start=20s"]);
    let refused = |control: &mut Control, seconds, replica, refused| {
        let place = ReplicaPlace { service: 0, replica };
        control.passive(
            &[Reading { place, new_flows: 0, refused, unanswered: 0, witnesses: Vec::new() }],
            at(seconds),
        );
    };
    for replica in 0..3 {
        refused(&mut control, 0.0, replica, 0);
    }
    refused(&mut control, 1.0, 1, 2);
    control.tick(at(31.0));
    assert_eq!(shares_at(&control, at(31.0)), [100, 1, 100]);
    control.tick(at(60.0));
    refused(&mut control, 61.0, 1, 4);
    assert_eq!(shares_at(&control, at(61.0)), [100, 0, 100]);
    let reading = |replica| Reading {
        place: ReplicaPlace { service: 0, replica },
        new_flows: 0,
        refused: 2,
        unanswered: 0,
        witnesses: Vec::new(),
    };
    control.passive(&[reading(0), reading(2)], at(63.0));
    assert_eq!(shares_at(&control, at(63.0)), [100, 50, 100], "all are needed at once");
}
