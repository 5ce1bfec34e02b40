//! The lines as an operator reads them.

use std::sync::{Arc, Mutex};

use tracing::level_filters::LevelFilter;

use super::*;
use crate::control::Cause;

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
