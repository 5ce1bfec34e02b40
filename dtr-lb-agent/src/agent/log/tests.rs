//! The lines as an operator reads them.

use std::sync::{Arc, Mutex};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::{
    control::{Cause, FailedConnections},
    events::{Event, Events, Query},
};

/// What is logged, a line each; debug lines, too, where they are asked for.
fn logged(level: LevelFilter, log: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time();
    tracing::subscriber::with_default(subscriber.finish(), log);
    let bytes = lines.0.lock().expect("nobody panics").clone();
    String::from_utf8(bytes).expect("it is text")
}

fn change(to: ReplicaState, cause: Cause, reason: &str, reset: bool) -> Change {
    Change::Replica(ReplicaChange {
        service: "https".into(),
        replica: "r1".into(),
        address: [10, 0, 0, 11].into(),
        port: 443,
        from: ReplicaState::Up,
        to,
        cause,
        reason: reason.into(),
        after: Duration::from_millis(3_723_456),
        replicas_left: 2,
        reset,
        evidence: None,
    })
}

#[test]
fn a_change_of_state_is_one_line_with_all_of_its_facts() {
    let down = change(ReplicaState::Down, Cause::Probe, "connection refused", true);
    let line = logged(LevelFilter::INFO, || log_counted(None, down, Some(12)));
    assert_eq!(
        line,
        " WARN replica is down event=\"replica_down\" service=\"https\" replica=\"r1\" address=10.0.0.11 port=443 \
         from=\"up\" to=\"down\" cause=\"probe\" reason=\"connection refused\" after=\"1h 2m 3s\" replicas_left=2 \
         connections=12 reset=true\n"
    );
    let drain = change(ReplicaState::Draining, Cause::Operator, "an operator drains it", false);
    let line = logged(LevelFilter::INFO, || log_counted(None, drain, None));
    assert_eq!(
        line,
        " INFO replica is draining event=\"replica_draining\" service=\"https\" replica=\"r1\" address=10.0.0.11 \
         port=443 from=\"up\" to=\"draining\" cause=\"operator\" reason=\"an operator drains it\" after=\"1h 2m 3s\" \
         replicas_left=2 reset=false\n",
        "connections that nobody has counted are left out"
    );
}

#[test]
fn what_probes_confirm_is_no_line_that_anybody_reads() {
    let confirmed = || Change::Confirmed {
        service: "https".into(),
        replica: "r1".into(),
        reason: "connection refused".into(),
    };
    assert_eq!(logged(LevelFilter::INFO, || log(confirmed())), "");
    assert!(logged(LevelFilter::DEBUG, || log(confirmed())).contains("replica_down_confirmed"));
}

#[test]
fn a_span_is_as_exact_as_it_is_short() {
    for (milliseconds, expected) in [(0, "0s"), (740, "740ms"), (9_999, "9s 999ms"), (61_500, "1m 1s")] {
        let span = rounded(Duration::from_millis(milliseconds));
        assert_eq!(humantime::format_duration(span).to_string(), expected);
    }
}

/// What is an event of the lines.
fn events_of(log: impl FnOnce()) -> Vec<Event> {
    let events = Events::default();
    let subscriber = tracing_subscriber::registry().with(events.recorder());
    tracing::subscriber::with_default(subscriber, log);
    events.list(&Query::default()).events.into_iter().map(Arc::unwrap_or_clone).collect()
}

#[test]
fn a_change_of_state_is_an_event_with_all_of_its_facts() {
    let root = By::User { uid: 0, user: Some("root".into()) };
    let drain = change(ReplicaState::Draining, Cause::Operator, "an operator drains it", false);
    let ejected = Change::Replica(ReplicaChange {
        evidence: Some(FailedConnections { refused: 0, unanswered: 3, clients: 3, networks: 2 }),
        reason: "passive check: 3 connections unanswered".into(),
        ..match change(ReplicaState::Down, Cause::PassiveCheck, "", true) {
            Change::Replica(change) => change,
            other => panic!("{other:?}"),
        }
    });
    let events = events_of(|| {
        log_counted(Some(&root), drain, Some(1));
        log_counted(None, ejected, Some(12));
    });
    let [drained, down] = &events[..] else { panic!("{events:#?}") };
    assert_eq!((drained.event.as_str(), &drained.by), ("replica_draining", &Some(root)));
    assert_eq!(
        drained.text,
        "replica r1 of service https is draining: an operator drains it (was up for 1h 2m 3s; replicas left: 2; connections: 1)"
    );
    assert_eq!((down.event.as_str(), &down.by), ("replica_down", &None));
    assert_eq!(
        down.text,
        "replica r1 of service https is down: passive check: 3 connections unanswered (was up for 1h 2m 3s; replicas left: 2; \
         connections: 12, which are reset)"
    );
    assert_eq!((down.service.as_deref(), down.replica.as_deref()), (Some("https"), Some("r1")));
    assert_eq!(
        serde_json::to_value(&down.details).expect("JSON"),
        serde_json::json!({
            "address": "10.0.0.11", "port": 443, "from": "up", "to": "down", "cause": "passive_check",
            "reason": "passive check: 3 connections unanswered", "after": "1h 2m 3s", "replicas_left": 2, "connections": 12,
            "reset": true, "refused": 0, "unanswered": 3, "clients": 3, "networks": 2,
        })
    );
}

#[test]
fn each_kind_has_a_sentence() {
    let (service, replica) = (|| "https".to_owned(), || "r1".to_owned());
    let (address, port) = ([10, 0, 0, 11].into(), 443);
    let resets = |reset| Change::Resets {
        service: service(),
        replica: replica(),
        address,
        port,
        reset,
        reason: "connection refused".into(),
    };
    let failed = |failure: Option<&str>| Change::AgentCheckFailed {
        service: service(),
        replica: replica(),
        failure: failure.map(str::to_owned),
    };
    let suspicion =
        |reason: Option<&str>| Change::Suspicion { service: service(), reason: reason.map(str::to_owned) };
    let cases = [
        (
            resets(true),
            "replica r1 of service https: its connections are reset (datapath.on_down): connection refused",
        ),
        (
            resets(false),
            "replica r1 of service https: its connections are no longer reset: connection refused",
        ),
        (
            Change::Service { service: service(), up: true, consequence: "it serves" },
            "service https is up: it serves",
        ),
        (
            Change::Service { service: service(), up: false, consequence: "all are tried" },
            "service https: no replica of the service is up: all are tried",
        ),
        (failed(None), "replica r1 of service https: its agent is heard again"),
        (suspicion(None), "service https: this balancer no longer suspects itself: probes decide again"),
        (
            Change::AnswersPast { service: service(), replica: replica(), past: false },
            "replica r1 of service https: its answers come by this balancer again",
        ),
    ];
    for (change, expected) in cases {
        let name = change.event();
        let events = events_of(|| log(change));
        let [event] = &events[..] else { panic!("{name}: {events:#?}") };
        assert_eq!((event.event.as_str(), event.text.as_str()), (name, expected));
    }
    for (change, words) in [
        (
            suspicion(Some("2 of 3 replicas fell silent")),
            &["service https: this balancer suspects itself", ": 2 of 3"][..],
        ),
        (failed(Some("no line")), &["replica r1 of service https: its agent", "holds: no line"]),
        (
            Change::PassiveSpared { service: service(), replica: replica(), reason: "2 refused".into() },
            &["replica r1 of service https: the passive check", ": 2 refused"],
        ),
        (
            Change::NextHop {
                address,
                result: Err(crate::next_hop::NextHopError::NoRoute { address, reason: "unreachable".into() }),
            },
            &["no next hop: "],
        ),
    ] {
        let name = change.event();
        let events = events_of(|| log(change));
        let [event] = &events[..] else { panic!("{name}: {events:#?}") };
        assert!(words.iter().all(|word| event.text.contains(word)), "{name}: {}", event.text);
    }
    let events = events_of(|| {
        log_interface("eth0", InterfaceState::Gone);
        log_interface("eth0", InterfaceState::Bare);
        log_interface("eth0", InterfaceState::Served);
        log_differences(&["service `https`: weight".to_owned()], "dns", None);
    });
    let found: Vec<_> = events.iter().map(|event| (event.event.as_str(), event.text.as_str())).collect();
    assert!(
        found[0].1.starts_with("interface eth0: the interface is gone, and the datapath with it"),
        "{found:?}"
    );
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["interface_gone", "interface_bare", "interface_served", "config_changed"]);
    assert_eq!(found[3].1, "the config has changed: service `https`: weight");
    assert_eq!(events[3].details["cause"], "dns");
}
