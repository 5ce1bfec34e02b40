//! Replicas in mode `dnat` whose answers go another way, as the control tells of them.

use super::*;

/// One service, of three replicas.
fn service(mode: &str) -> Control {
    control(&[&format!("service=[{{ name = \"http\", port = 80, mode = \"{mode}\" }}]")])
}

fn counted(unanswered: [u64; 3]) -> Vec<Answers> {
    let of = |(replica, unanswered)| Answers {
        place: ReplicaPlace { service: 0, replica },
        unanswered,
        to_client: if replica == 0 { unanswered + 1 } else { 7 },
    };
    unanswered.into_iter().enumerate().map(of).collect()
}

/// A probe of each of these.
fn passes(control: &mut Control, replicas: &[usize]) {
    for replica in replicas {
        let _ = probed_at(control, at(1.0), *replica, None);
    }
}

#[test]
fn one_whose_connections_stay_unanswered_while_its_probes_pass_is_named_and_stays_in() {
    let mut control = service("dnat");
    passes(&mut control, &[0, 1, 2]);
    assert!(control.answers(&counted([0, 0, 0])).is_empty());
    let before = control.desired(at(1.0).clock);
    assert!(control.answers(&counted([9, 9, 2])).is_empty(), "no probe has passed since");
    passes(&mut control, &[0, 1, 2]);
    passes(&mut control, &[0, 1, 2]);
    let changes = control.answers(&counted([10, 9, 2]));
    assert!(
        matches!(&changes[..], [Change::AnswersPast { replica, past: true, .. }] if replica == "10.0.0.12"),
        "the first has answered, the third has failed two only: {changes:?}"
    );
    let past = |control: &Control| {
        [0, 1, 2].map(|replica| control.answers_past(ReplicaPlace { service: 0, replica }))
    };
    assert_eq!(past(&control), [false, true, false]);
    assert_eq!(control.desired(at(5.0).clock), before, "it is told, and decides nothing");
    let mut answered = counted([10, 9, 2]);
    answered[1].to_client += 1;
    let changes = control.answers(&answered);
    assert!(matches!(&changes[..], [Change::AnswersPast { past: false, .. }]), "{changes:?}");
    assert_eq!(past(&control), [false; 3]);
}

#[test]
fn one_whose_probes_fail_is_dead_and_not_named() {
    let mut control = service("dnat");
    passes(&mut control, &[0, 1, 2]);
    let _ = control.answers(&counted([0, 0, 0]));
    let _ = control.answers(&counted([0, 9, 0]));
    passes(&mut control, &[1]);
    let _ = probed_at(&mut control, at(1.0), 1, Some(Failure::Refused));
    passes(&mut control, &[1]);
    passes(&mut control, &[1]);
    assert!(control.answers(&counted([0, 9, 0])).is_empty());
}
