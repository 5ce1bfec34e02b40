//! One change of a replica's state is one line, with all of its facts.

use super::*;
use crate::config::Admin;

/// The changes of replicas, and the names of all others.
fn lines(changes: Vec<Change>) -> (Vec<ReplicaChange>, Vec<&'static str>) {
    let (mut replicas, mut others) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Replica(change) => replicas.push(change),
            other => others.push(other.event()),
        }
    }
    (replicas, others)
}

/// What the replicas of the first service have refused.
fn refused(control: &mut Control, seconds: f64, refused: u64) -> Vec<Change> {
    let place = ReplicaPlace { service: 0, replica: 0 };
    let reading = Reading { place, new_flows: 0, refused, unanswered: 0, witnesses: Vec::new() };
    control.passive(&[reading], at(seconds))
}

#[test]
fn a_failure_that_the_passive_check_sees_first_and_probes_confirm() {
    let mut control = all_up(&[]);
    refused(&mut control, 0.0, 0);
    let mut changes = refused(&mut control, 65.0, 2);
    for probe in 0..4 {
        let now = at(65.5 + 0.5 * f64::from(probe));
        changes.extend(probed_at(&mut control, now, 0, Some(Failure::Refused)));
    }
    let (replicas, others) = lines(changes);
    let expected = ReplicaChange {
        service: "http".into(),
        replica: "10.0.0.11".into(),
        address: address(11),
        port: 80,
        from: ReplicaState::Up,
        to: ReplicaState::Down,
        cause: Cause::PassiveCheck,
        reason: "passive check: 2 connections refused within 30s".into(),
        after: Duration::from_secs(65),
        replicas_left: 2,
        reset: false,
        evidence: Some(FailedConnections { refused: 2, unanswered: 0, clients: 0, networks: 0 }),
    };
    assert_eq!(replicas, [expected]);
    assert_eq!(others, ["replica_down_confirmed", "replica_resets_begin"], "no change of state");
}

#[test]
fn a_failure_that_probes_see() {
    let mut control = all_up(&[]);
    let mut changes = Vec::new();
    for probe in 0..4 {
        changes.extend(probed_at(&mut control, at(f64::from(probe)), 0, Some(Failure::Refused)));
    }
    let (replicas, others) = lines(changes);
    let [change] = &replicas[..] else { panic!("{replicas:?}") };
    assert_eq!((change.from, change.to, change.reset), (ReplicaState::Up, ReplicaState::Down, true));
    assert_eq!((change.cause, change.replicas_left), (Cause::Probe, 2));
    assert_eq!(others, [""; 0], "that its connections are reset is in its line");
}

#[test]
fn an_order_for_a_replica_of_two_services() {
    for (admin, state, reset) in
        [(Admin::Drain, ReplicaState::Draining, false), (Admin::Maint, ReplicaState::Maint, true)]
    {
        let mut control = all_up(&[]);
        for replica in 0..3 {
            let outcome = Outcome { status: Some(200), took: Duration::ZERO, error: None };
            let id = key(&control, 1, replica);
            let report =
                Report { id, outcome, agent: None, in_a_row: 1, opposite: false, late: Duration::ZERO };
            control.report(report, 0, at(0.0));
        }
        let mut config = Config::clone(control.config());
        for service in &mut config.services {
            service.replicas[0].admin = admin;
        }
        let (replicas, others) = lines(control.reconfigure(Arc::new(config), at(9.0)));
        let facts: Vec<_> = replicas.iter().map(|change| (change.service.as_str(), change.to)).collect();
        assert_eq!(facts, [("http", state), ("https", state)], "one for each service");
        assert!(replicas.iter().all(|change| (change.cause, change.reset) == (Cause::Operator, reset)));
        assert!(replicas.iter().all(|change| change.replicas_left == 2));
        assert_eq!(others, [""; 0]);
    }
}

#[test]
fn a_clock_that_was_set_back_is_no_age() {
    let mut control = Control::new(Arc::clone(control(&[]).config()), at(100.0).time);
    let (replicas, _) = lines(probed_at(&mut control, at(5.0), 0, None));
    assert_eq!(replicas[0].after, Duration::ZERO);
}
