//! The passive check.

use super::*;

/// What the replicas of the first service have refused.
fn refused(control: &mut Control, now: Moment, counted: [u64; 3]) -> Vec<Change> {
    let reading = |(replica, refused)| Reading {
        place: ReplicaPlace { service: 0, replica },
        new_flows: 0,
        refused,
        unanswered: 0,
        witnesses: Vec::new(),
    };
    let readings: Vec<_> = counted.into_iter().enumerate().map(reading).collect();
    control.passive(&readings, now)
}

/// A control that has read the counters once, and has all replicas up.
fn reading(overrides: &[&str]) -> Control {
    let mut control = all_up(overrides);
    assert_eq!(refused(&mut control, at(0.0), [0; 3]), []);
    control
}

fn good_probe(control: &mut Control, now: Moment, replica: usize) -> Vec<Change> {
    probed_at(control, now, replica, None)
}

#[test]
fn too_many_failures_take_a_replica_out_for_a_while() {
    let mut control = reading(&[]);
    assert_eq!(refused(&mut control, at(1.0), [1, 0, 0]), [], "one is none");
    assert_eq!(shares_at(&control, at(1.0)), [100, 50, 100]);
    let changes = refused(&mut control, at(2.0), [2, 0, 0]);
    let why = "passive check: 2 connections refused within 30s";
    assert_eq!(transitions(&changes), [("10.0.0.11", "down", why)]);
    assert_eq!(shares_at(&control, at(2.0)), [0, 50, 100]);
    let condition = control.conditions(0).next().expect("there are three").clone();
    assert_eq!((condition.state, condition.reason.as_deref()), (ReplicaState::Down, Some(why)));
    assert_eq!(condition.since, at(2.0).time);
    assert!(!desired(&control, at(2.0)).replicas[0].reset, "its flows are left alone");

    assert_eq!(control.next_due(at(2.0).clock), Some(at(32.0).clock));
    assert_eq!(control.tick(at(31.9)), []);
    let changes = control.tick(at(32.0));
    assert_eq!(transitions(&changes), [("10.0.0.11", "up", "tried again after fail_timeout")]);
    assert_eq!(shares_at(&control, at(32.0)), [100, 50, 100]);
    assert_eq!(control.next_due(at(32.0).clock), None);
    assert_eq!(refused(&mut control, at(33.0), [3, 0, 0]), [], "it begins anew");
    assert_eq!(transitions(&refused(&mut control, at(34.0), [4, 0, 0])).len(), 1);
}

#[test]
fn what_counts_and_what_does_not() {
    // Overrides, then at which second the first replica has refused how many, and whether it is up at the end.
    type Steps = &'static [(f64, u64)];
    let cases: [(&str, &[&str], Steps, bool); 7] = [
        ("two within 30 s", &[], &[(1.0, 1), (30.9, 2)], false),
        ("two in 30 s", &[], &[(1.0, 1), (31.0, 2)], true),
        ("many at once", &[], &[(1.0, 9)], false),
        ("off", &["service.0.max_fails=0"], &[(1.0, 1000)], true),
        ("counters go backwards", &[], &[(1.0, 1), (2.0, 0)], true),
        ("and count on", &[], &[(1.0, 1), (2.0, 0), (3.0, 1)], false),
        (
            "the config decides",
            &["service.0.max_fails=3", "service.0.fail_timeout=1s"],
            &[(1.0, 2), (2.0, 4)],
            true,
        ),
    ];
    for (name, overrides, steps, up) in cases {
        let service = "service=[{ name = \"http\", port = 80 }]";
        let overrides = [&[service], overrides].concat();
        let mut control = reading(&overrides);
        for (seconds, counted) in steps {
            refused(&mut control, at(*seconds), [*counted, 0, 0]);
        }
        assert_eq!(states(&control)[0] == "up", up, "{name}");
    }
}

/// Two clients who are not near each other.
fn two_clients(at: u32) -> Vec<Witness> {
    [1, 2].map(|network| Witness { source: Ipv4Addr::new(10, 9, network, 1).into(), at }).to_vec()
}

#[test]
fn unanswered_counts_like_refused_if_several_clients_say_so() {
    let mut control = reading(&[]);
    let place = ReplicaPlace { service: 0, replica: 1 };
    let own = |unanswered, witnesses| Reading { place, new_flows: 0, refused: 1, unanswered, witnesses };
    let one = two_clients(1)[..1].to_vec();
    assert_eq!(control.passive(&[own(1000, one.clone())], at(1.0)), [], "one client alone");
    let changes = control.passive(&[own(1001, two_clients(1))], at(1.5));
    let why = "passive check: 1 connection refused and 1001 unanswered within 30s (no answer to 10.9.1.1, 10.9.2.1, of 2 \
               networks)";
    assert_eq!(transitions(&changes), [("10.0.0.12", "down", why)]);
    assert_eq!(control.unanswered(place), Some(1001));
}

#[test]
fn what_was_counted_before_the_agent_began_does_not_count() {
    let mut control = all_up(&[]);
    assert_eq!(refused(&mut control, at(0.0), [1000; 3]), []);
    assert_eq!(refused(&mut control, at(1.0), [1000; 3]), []);
}

#[test]
fn services_are_judged_apart() {
    let mut control = reading(&[]);
    refused(&mut control, at(1.0), [5, 0, 0]);
    let of_https = control.desired(at(1.0).clock).services[&service_key(address(10), 443)].clone();
    assert_eq!(of_https.replicas[0].weight, 100, "nothing is known of it there");
    assert_eq!(shares_at(&control, at(1.0))[0], 0);
}

#[test]
fn good_probes_end_it_early_unless_it_goes_on_failing() {
    let mut control = reading(&[]);
    refused(&mut control, at(1.0), [2, 0, 0]);
    assert_eq!(good_probe(&mut control, at(2.0), 0), [], "rise is 2");
    assert_eq!(refused(&mut control, at(2.5), [3, 0, 0]), [], "one that was under way");
    assert_eq!(good_probe(&mut control, at(3.0), 0), []);
    let local = Some(Failure::Local { reason: "Too many open files".into() });
    probed_at(&mut control, at(3.2), 0, local);
    assert_eq!(states(&control)[0], "down", "what this host could not ask says nothing");
    let changes = good_probe(&mut control, at(3.5), 0);
    let [.., ("10.0.0.11", "up", why)] = transitions(&changes)[..] else { panic!("{changes:?}") };
    assert!(why.starts_with("it answers, 2 times since"), "{why}");

    refused(&mut control, at(4.0), [5, 0, 0]);
    good_probe(&mut control, at(5.0), 0);
    probed_at(&mut control, at(6.0), 0, Some(Failure::Refused));
    good_probe(&mut control, at(7.0), 0);
    assert_eq!(states(&control)[0], "down", "they are to be in a row");
}

#[test]
fn probes_take_over_from_it() {
    let mut control = reading(&[]);
    refused(&mut control, at(1.0), [2, 0, 0]);
    let changes = probes_at(&mut control, at(3.0), 0, Some(Failure::Refused), ENOUGH);
    assert!(
        matches!(&changes[..], [Change::Confirmed { reason, .. }] if reason == "connection refused"),
        "the reason is another, and the state is not: {changes:?}"
    );
    let condition = control.conditions(0).next().expect("there are three").clone();
    assert_eq!(condition.since, at(1.0).time, "it was down all the time");
    assert_eq!(condition.reason.as_deref(), Some("connection refused"));
    assert_eq!(control.next_due(at(3.0).clock), None);
    assert_eq!(control.tick(at(31.0)), [], "time does not bring it back");
    let changes = probes_at(&mut control, at(40.0), 0, None, ENOUGH);
    assert_eq!(transitions(&changes), [("10.0.0.11", "up", "it answers")]);
}

/// The replicas that failed and were not taken out.
fn spared(changes: &[Change]) -> Vec<&str> {
    let mut spared = Vec::new();
    for change in changes {
        if let Change::PassiveSpared { replica, .. } = change {
            spared.push(replica.as_str());
        }
    }
    spared
}

#[test]
fn it_takes_half_of_them_at_most() {
    let mut control = reading(&[]);
    let changes = refused(&mut control, at(1.0), [2, 2, 0]);
    assert_eq!(transitions(&changes).len(), 1, "{changes:?}");
    assert_eq!(spared(&changes), ["10.0.0.12"]);
    assert_eq!(shares_at(&control, at(1.0)), [0, 50, 100]);
    assert_eq!(spared(&refused(&mut control, at(2.0), [2, 3, 0])), [""; 0], "it begins anew");
    assert_eq!(spared(&refused(&mut control, at(3.0), [2, 4, 0])), [""; 0], "told once in that time");
    // When the first is back it is the other's turn.
    control.tick(at(31.0));
    assert_eq!(shares_at(&control, at(31.0)), [100, 50, 100]);
    refused(&mut control, at(32.0), [2, 6, 0]);
    assert_eq!(shares_at(&control, at(32.0)), [100, 0, 100]);
    // One without a weight is none of which half could be left.
    let mut control = reading(&["replica.0.weight=0", "replica.1.weight=0"]);
    let changes = refused(&mut control, at(1.0), [0, 0, 2]);
    assert!(matches!(&changes[..], [Change::PassiveSetAside { .. }]), "{changes:?}");
}

#[test]
fn it_never_takes_the_last_one() {
    let mut control = reading(&[]);
    refused(&mut control, at(1.0), [2, 0, 0]);
    assert_eq!(shares_at(&control, at(1.0)), [0, 50, 100]);
    let changes = refused(&mut control, at(2.0), [2, 2, 2]);
    assert!(
        matches!(&changes[0], Change::PassiveSetAside { reason, .. } if reason.contains("2 connections refused")),
        "{changes:?}"
    );
    let why = "tried again, as every other replica fails, too";
    assert_eq!(transitions(&changes), [("10.0.0.11", "up", why)]);
    assert_eq!(shares_at(&control, at(2.0)), [100, 50, 100], "all are tried");

    assert_eq!(refused(&mut control, at(3.0), [9, 9, 9]), [], "told once");
    assert_eq!(refused(&mut control, at(32.5), [12, 9, 9]), [], "and not again while it goes on");
    assert_eq!(shares_at(&control, at(32.5)), [100, 50, 100]);
    let changes = refused(&mut control, at(63.0), [14, 9, 9]);
    assert_eq!(transitions(&changes).len(), 1, "it is over: {changes:?}");
    assert_eq!(shares_at(&control, at(63.0)), [0, 50, 100]);
}

/// What the first replica has not answered.
fn unanswered(control: &mut Control, now: Moment, counted: u64) -> Vec<Change> {
    let place = ReplicaPlace { service: 0, replica: 0 };
    let witnesses = two_clients(counted as u32);
    control.passive(&[Reading { place, new_flows: 0, refused: 0, unanswered: counted, witnesses }], now)
}

#[test]
fn what_is_not_answered_loses_against_a_probe() {
    let mut control = reading(&[]);
    // A stranger's SYNs with a wrong checksum, for as long as he likes: probes pass meanwhile.
    for second in 1..60_u32 {
        let now = f64::from(second);
        assert_eq!(unanswered(&mut control, at(now), second.into()), [], "at {now}");
        good_probe(&mut control, at(now + 0.5), 0);
    }
    // Fast ones take it out, and the next probe brings it back.
    let changes = unanswered(&mut control, at(60.0), 65);
    assert_eq!(transitions(&changes).len(), 1, "{changes:?}");
    let local = Some(Failure::Local { reason: "Too many open files".into() });
    probed_at(&mut control, at(60.5), 0, local);
    assert_eq!(shares_at(&control, at(60.5))[0], 0, "what this host could not ask says nothing");
    let changes = good_probe(&mut control, at(61.0), 0);
    let [("10.0.0.11", "up", why)] = transitions(&changes)[..] else { panic!("{changes:?}") };
    assert_eq!(why, "it answers, once since the passive check took it out");
    // A refusal is its own word, and needs more than one probe to be taken back.
    let place = ReplicaPlace { service: 0, replica: 0 };
    control.passive(
        &[Reading { place, new_flows: 0, refused: 1, unanswered: 67, witnesses: two_clients(67) }],
        at(62.5),
    );
    good_probe(&mut control, at(63.0), 0);
    assert_eq!(shares_at(&control, at(63.0))[0], 0);
    good_probe(&mut control, at(64.0), 0);
    assert_eq!(shares_at(&control, at(64.0))[0], 100);
}

#[test]
fn all_at_once_takes_none() {
    let mut control = reading(&[]);
    let changes = refused(&mut control, at(1.0), [2, 2, 2]);
    assert!(matches!(&changes[..], [Change::PassiveSetAside { .. }]), "{changes:?}");
    assert_eq!(shares_at(&control, at(1.0)), [100, 50, 100]);
}

#[test]
fn those_taken_out_come_back_when_probes_take_the_others() {
    let mut control = reading(&["replica.2.weight=0"]);
    refused(&mut control, at(1.0), [2, 0, 0]);
    assert_eq!(shares_at(&control, at(1.0)), [0, 50, 0]);
    let changes = probes_at(&mut control, at(2.0), 1, Some(Failure::Refused), ENOUGH);
    let why = "tried again, as no other replica is up";
    assert_eq!(
        transitions(&changes),
        [("10.0.0.12", "down", "connection refused"), ("10.0.0.11", "up", why)]
    );
    assert_eq!(service_change(&changes), None, "the service was up all the time");
    assert_eq!(shares_at(&control, at(2.0)), [100, 0, 0], "the one that drains is none that is left");
}
