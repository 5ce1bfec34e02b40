//! What is told of what the agent answers. Times are given.

use std::time::Duration;

use super::*;
use crate::status::{ServiceStatus, tests::plain};

/// Services `http` and `https`, each with r1 and r2, both drained, with these connections; after so many walks.
fn status(walks: u64, http: [u64; 2], https: [u64; 2]) -> Status {
    let mut status = plain();
    status.datapath.walks = walks;
    let service = status.services[0].clone();
    let of = |name: &str, port: u16, flows: [u64; 2]| {
        let replicas =
            [("r1", 11, flows[0]), ("r2", 12, flows[1])].map(|(name, last, flows)| ReplicaStatus {
                name: name.into(),
                address: [10, 0, 0, last].into(),
                port,
                state: "draining".into(),
                admin: Admin::Drain,
                ordered: Some(Timestamp::UNIX_EPOCH),
                flows,
                ..service.replicas[0].clone()
            });
        ServiceStatus { name: name.into(), replicas: replicas.into(), ..service.clone() }
    };
    status.services = vec![of("http", 80, http), of("https", 443, https)];
    status
}

fn both(status: &Status) -> Waiting {
    Waiting::new(status, &["r1".into(), "10.0.0.12".into()], None)
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn none_left_is_believed_of_a_walk_that_began_after_the_drain() {
    let mut waiting = both(&status(7, [0, 0], [0, 0]));
    assert!(!waiting.is_over());
    for walks in [7, 8] {
        assert!(waiting.take(&status(walks, [0, 0], [0, 0])).is_empty());
        assert!(!waiting.is_over(), "walk {walks} may have begun before the drain");
        assert!(waiting.line(seconds(1)).ends_with("(1 s, counting)"), "{}", waiting.line(seconds(1)));
    }
    waiting.take(&status(9, [0, 0], [0, 0]));
    assert!(waiting.is_over());
    assert_eq!(waiting.outcome(seconds(3)), Ok("no connection is left, after 3 s".into()));
}

#[test]
fn an_agent_that_is_started_anew_counts_anew() {
    let mut waiting = both(&status(700, [1, 0], [0, 0]));
    waiting.take(&status(0, [0, 0], [0, 0]));
    assert!(!waiting.is_over(), "it has not counted yet");
    waiting.take(&status(1, [0, 0], [0, 0]));
    assert!(waiting.is_over());
}

#[test]
fn what_is_left_is_one_number_a_replica_and_each_ends_by_itself() {
    let mut waiting = both(&status(1, [2, 0], [1, 1]));
    waiting.take(&status(3, [2, 0], [1, 1]));
    assert_eq!(waiting.line(seconds(62)), "waiting for connections to end: r1 3 left, r2 1 left (1 min)");
    waiting.take(&status(4, [0, 0], [1, 0]));
    assert_eq!(waiting.line(seconds(63)), "waiting for connections to end: r1 1 left (1 min)");
    assert_eq!(waiting.left(), 1);
    // The service that was named, and no other one.
    let status = status(1, [2, 0], [1, 1]);
    assert_eq!(Waiting::new(&status, &["r1".into()], Some("https")).left(), 1);
    // Of a service with two VIPs both are counted.
    let mut twice = status.clone();
    twice.services[1] = ServiceStatus { vip: [10, 0, 0, 99].into(), ..twice.services[0].clone() };
    assert_eq!(Waiting::new(&twice, &["r1".into()], None).left(), 4);
}

#[test]
fn at_the_end_of_the_time_it_says_what_is_left_since_when_and_what_to_do() {
    let mut waiting = both(&status(1, [1, 0], [0, 2]));
    waiting.take(&status(9, [1, 0], [0, 2]));
    let now = Timestamp::UNIX_EPOCH + Duration::from_secs(600);
    let text = waiting.given_up(&GivenUp::Timeout(seconds(600)), now);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "connections are left after 10 min (--timeout); the drain stays in force",
            "service `http`: replica r1 (10.0.0.11:80): 1 connection left, drained since 1970-01-01T00:00:00Z (10 min)",
            "service `https`: replica r2 (10.0.0.12:443): 2 connections left, drained since 1970-01-01T00:00:00Z (10 min)",
            "to go on waiting: `dtr-lb replica drain r1 r2 --wait`; to reset what is left: `dtr-lb replica maint r1 r2`; to end the \
             drain: `dtr-lb replica ready r1 r2`",
        ]
    );
    let text = waiting.given_up(&GivenUp::Interrupted, now);
    assert!(
        text.starts_with("no longer waiting for connections to end; the drain stays in force\n"),
        "{text}"
    );
    let one = Waiting::new(&status(1, [1, 0], [0, 2]), &["r1".into()], Some("http"));
    let text = one.given_up(&GivenUp::Interrupted, now);
    assert!(text.contains("`dtr-lb replica ready r1 --service http`"), "{text}");
}

#[test]
fn what_becomes_of_a_replica_meanwhile_ends_its_wait_and_is_told() {
    let change = |change: &dyn Fn(&mut Status)| {
        let mut waiting = both(&status(1, [1, 0], [0, 0]));
        let mut later = status(9, [1, 0], [0, 0]);
        change(&mut later);
        let told = waiting.take(&later);
        assert!(waiting.is_over(), "{waiting:?}");
        assert!(waiting.take(&later).is_empty(), "it is told once");
        (told.join("\n"), waiting.outcome(seconds(3)))
    };
    let first = |status: &mut Status, change: &dyn Fn(&mut ReplicaStatus)| {
        change(&mut status.services[0].replicas[0]);
    };
    let (told, outcome) = change(&|status| {
        first(status, &|replica| {
            replica.state = "down".into();
            replica.reason = Some("connection refused".into());
        });
    });
    assert_eq!(
        told,
        "service `http`: replica r1 (10.0.0.11:80) is down (connection refused), and is no longer waited for: 1 connection left"
    );
    assert_eq!(outcome, Ok("there is nothing left to wait for, after 3 s".into()));
    let (told, outcome) = change(&|status| drop(status.services[0].replicas.remove(0)));
    assert!(told.contains("was removed") && outcome.is_ok(), "{told} {outcome:?}");
    let (told, outcome) = change(&|status| first(status, &|replica| replica.admin = Admin::Maint));
    assert!(told.contains("put into maintenance") && outcome.is_ok(), "{told} {outcome:?}");
    let (told, outcome) = change(&|status| first(status, &|replica| replica.admin = Admin::Ready));
    assert!(told.contains("made ready by another order"), "{told}");
    assert!(outcome.is_err_and(|words| words.contains("r1 (10.0.0.11:80)")));
}
