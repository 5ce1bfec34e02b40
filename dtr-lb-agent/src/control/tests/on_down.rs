//! Whose flows are reset.

use super::*;
use crate::probe::Phase;

fn timeout(phase: Phase) -> Failure {
    Failure::Timeout { after: Duration::from_secs(2), phase }
}

fn status() -> Failure {
    Failure::Status { got: 503, expected: "200-399".into() }
}

/// Which of the first service's replicas have their flows reset.
fn resets(control: &Control) -> Vec<bool> {
    desired(control, at(0.0)).replicas.iter().map(|replica| replica.reset).collect()
}

/// Whether it says that connections are reset from now on.
fn tells_of_resets(change: &Change) -> bool {
    match change {
        Change::Replica(change) => change.reset,
        Change::Resets { reset, .. } => *reset,
        _ => false,
    }
}

/// Probes of the first replica that fail until it is down, and further ones.
fn fails(control: &mut Control, failures: &[Failure]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (count, failure) in failures.iter().enumerate() {
        changes.extend(probed_at(control, at(2.0 * count as f64), 0, Some(failure.clone())));
    }
    changes
}

#[test]
fn the_flows_of_the_dead_are_reset_and_those_of_the_unhealthy_are_left() {
    let unreachable = || Failure::Unreachable { reason: "No route to host".into() };
    let local = || Failure::Local { reason: "Too many open files".into() };
    let not_http = || Failure::NotHttp { reason: "invalid HTTP version".into() };
    let cases: [(&str, &str, Vec<Failure>, bool); 12] = [
        ("refuses", "auto", vec![Failure::Refused; 3], true),
        ("is unreachable", "auto", vec![unreachable(); 3], true),
        ("is silent", "auto", vec![timeout(Phase::Connecting); 3], true),
        ("hangs", "auto", vec![timeout(Phase::Waiting); 3], true),
        ("is slow", "auto", vec![timeout(Phase::Reading); 3], false),
        ("calls itself unhealthy", "auto", vec![status(); 3], false),
        ("speaks something else", "auto", vec![not_http(); 3], false),
        ("closes at once", "auto", vec![Failure::Closed; 3], false),
        (
            "refuses, but was heard of lately",
            "auto",
            vec![status(), Failure::Refused, Failure::Refused],
            false,
        ),
        (
            "refuses, and is not heard of any more",
            "auto",
            vec![status(), Failure::Refused, Failure::Refused, local(), Failure::Refused],
            true,
        ),
        ("calls itself unhealthy", "reset", vec![status(); 3], true),
        ("refuses", "leave", vec![Failure::Refused; 3], false),
    ];
    for (name, on_down, failures, reset) in cases {
        let mut control = all_up(&[&format!("datapath.on_down={on_down}")]);
        let changes = fails(&mut control, &failures);
        assert_eq!(resets(&control), [reset, false, false], "it {name}, {on_down}");
        let told = changes.iter().filter(|change| tells_of_resets(change)).count();
        assert_eq!(told, usize::from(reset), "it {name}, {on_down}: {changes:?}");
        assert_eq!(states(&control)[0], "down");
    }
}

#[test]
fn two_failures_are_no_death() {
    let mut control = all_up(&[]);
    fails(&mut control, &[Failure::Refused, Failure::Refused]);
    assert_eq!(resets(&control), [false; 3]);
}

#[test]
fn a_sign_of_life_ends_it() {
    let mut control = all_up(&[]);
    fails(&mut control, &[Failure::Refused, Failure::Refused, Failure::Refused]);
    let changes = probed_at(&mut control, at(1.0), 0, Some(status()));
    assert!(matches!(&changes[..], [Change::Resets { reset: false, .. }]), "{changes:?}");
    assert_eq!(resets(&control), [false; 3]);
}

#[test]
fn where_new_connections_go_to_those_that_are_down_nothing_is_reset() {
    let down = |control: &mut Control, replica| {
        for _ in 0..3 {
            probed_at(control, at(0.0), replica, Some(Failure::Refused));
        }
    };
    for (all_down, at_the_end) in [("fail-open", false), ("refuse", true)] {
        let mut control = all_up(&[&format!("datapath.all_down={all_down}")]);
        down(&mut control, 0);
        down(&mut control, 1);
        assert_eq!(resets(&control), [true, true, false]);
        down(&mut control, 2);
        assert_eq!(resets(&control), [at_the_end; 3], "{all_down}");
        let changes = probes_at(&mut control, at(0.0), 2, None, ENOUGH);
        assert_eq!(resets(&control), [true, true, false], "one is back: {changes:?}");
    }
}

#[test]
fn a_dead_replica_that_drains_is_dead() {
    let mut control = all_up(&["replica.0.weight=0"]);
    fails(&mut control, &[Failure::Refused, Failure::Refused, Failure::Refused]);
    assert_eq!(resets(&control), [true, false, false]);
}
