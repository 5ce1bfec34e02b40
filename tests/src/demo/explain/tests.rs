use super::*;
use crate::demo::{
    sighting::Sighting,
    timeline::{Deed, Event},
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn sighting(at: u64, service: &str, replica: &str, from: &str, to: &str) -> Sighting {
    let text = |text: &str| text.to_owned();
    Sighting {
        at: ms(at),
        service: text(service),
        replica: text(replica),
        from: text(from),
        to: text(to),
        reason: "a probe".to_owned(),
    }
}

fn event(at: u64, done: u64, replica: &str, deed: Deed) -> Event {
    Event { at: ms(at), done: ms(done), replica: replica.to_owned(), deed }
}

/// r1 is sick from 6 s to 13.5 s; r2 dead from 16.5 s to 22.5 s, and out of `http` at 17 s, of `https` never.
fn timeline() -> Timeline {
    Timeline {
        events: vec![
            event(6000, 6001, "r1", Deed::Sickened),
            event(13_500, 13_501, "r1", Deed::Healed),
            event(16_500, 16_520, "r2", Deed::Killed),
            event(22_500, 22_600, "r2", Deed::Started),
        ],
        sightings: vec![
            sighting(0, "http", "r1", "starting", "up"),
            sighting(0, "http", "r2", "starting", "up"),
            sighting(6400, "http", "r1", "up", "down"),
            sighting(13_800, "http", "r1", "down", "up"),
            sighting(17_000, "http", "r2", "up", "down"),
            sighting(22_900, "http", "r2", "down", "up"),
        ],
    }
}

fn request(started: u64, ended: u64, error: &str) -> Failure {
    Failure {
        service: "http".to_owned(),
        started: ms(started),
        ended: ms(ended),
        single: true,
        replica: None,
        error: error.to_owned(),
    }
}

const REFUSED: &str = "connect: Connection refused (os error 111)";
const RESET: &str = "read: Connection reset by peer (os error 104)";

#[test]
fn single_requests() {
    // Each: the request, and words of its explanation; `None`: unexplained.
    let cases: [(Failure, Option<&[&str]>); 15] = [
        // Refusals belong to the time between the kill and the new table.
        (
            request(16_620, 16_621, REFUSED),
            Some(&["0.12 s after r2 was killed", "0.38 s before", "fall = 3"]),
        ),
        (request(16_499, 16_501, REFUSED), Some(&["0.00 s after r2 was killed"])),
        (request(17_050, 17_051, REFUSED), Some(&["0.05 s after dtr-lb called it down", "rewritten"])),
        (request(17_300, 17_301, REFUSED), None),
        (request(16_000, 16_001, REFUSED), None),
        (request(22_700, 22_701, REFUSED), None),
        // A sick replica still answers.
        (request(6100, 6101, REFUSED), None),
        (request(6100, 6101, RESET), None),
        // A connection that was open when its replica died.
        (request(16_495, 16_510, RESET), Some(&["under way for 0.01 s", "r2", "closed it 0.01 s later"])),
        (request(16_495, 16_510, "cut off: \"HTTP/1.1 200"), Some(&["r2"])),
        // One that began when nobody was there to cut, or that was cut by nobody who died.
        (request(16_600, 16_610, RESET), None),
        (request(16_400, 16_450, RESET), None),
        // A dead replica's host is not silent.
        (request(16_600, 19_600, "read: timed out"), None),
        (request(16_510, 16_515, "status: HTTP/1.1 502 Bad Gateway"), Some(&["registry of r2"])),
        (request(16_600, 16_601, "status: HTTP/1.1 500 Internal Server Error"), None),
    ];
    for (failure, want) in cases {
        match (explain(&failure, &timeline(), 3), want) {
            (Explanation::Explained(text), Some(words)) => {
                assert!(words.iter().all(|word| text.contains(word)), "{failure:?}: {text}");
            }
            (Explanation::Unexplained(_), None) => {}
            (other, _) => panic!("{failure:?}: {other:?}"),
        }
    }
}

#[test]
fn one_of_several_connections_is_judged_by_its_end() {
    let errand = |ended| Failure { single: false, ..request(14_000, ended, REFUSED) };
    assert!(matches!(explain(&errand(16_700), &timeline(), 3), Explanation::Explained(_)));
    assert!(matches!(explain(&errand(18_000), &timeline(), 3), Explanation::Unexplained(_)));
}

#[test]
fn a_connection_to_another_replica_is_not_excused() {
    let on = |replica: &str| Failure { replica: Some(replica.to_owned()), ..request(1000, 16_510, RESET) };
    assert!(matches!(explain(&on("r2"), &timeline(), 3), Explanation::Explained(_)));
    let Explanation::Unexplained(text) = explain(&on("r3"), &timeline(), 3) else { panic!("explained") };
    assert!(text.contains("connected to r3"), "{text}");
}

#[test]
fn a_replica_that_was_never_taken_out_is_said_so() {
    let failure = Failure { service: "https".to_owned(), ..request(20_000, 20_001, REFUSED) };
    let Explanation::Explained(text) = explain(&failure, &timeline(), 3) else { panic!("unexplained") };
    assert!(text.contains("never called it down"), "{text}");
}

#[test]
fn what_is_unexplained_comes_with_what_is_known() {
    let Explanation::Unexplained(text) = explain(&request(7000, 7001, REFUSED), &timeline(), 3) else {
        panic!("explained")
    };
    assert!(
        text.contains("r1 down, r2 up") && text.contains("r1 had been turned sick 1.00 s before"),
        "{text}"
    );
}

#[test]
fn manners() {
    for (error, want) in [
        (REFUSED, Manner::Refused),
        ("dial tcp 10.77.0.10:443: connect: connection refused", Manner::Refused),
        (RESET, Manner::Cut),
        ("cut off: \"\"", Manner::Cut),
        ("Get \"https://10.77.0.10/v2/\": EOF", Manner::Cut),
        ("curl: (18) transfer closed with 9 bytes remaining to read", Manner::Cut),
        ("received unexpected HTTP status: 502 Bad Gateway", Manner::BadGateway),
        ("connect: connection timed out", Manner::Silence),
        ("net/http: TLS handshake timeout", Manner::Silence),
        ("manifest unknown", Manner::Other),
    ] {
        assert_eq!(Manner::of(error), want, "{error}");
    }
}

#[test]
fn phases_are_cut_at_events_and_named_by_what_is_wrong() {
    let phases = timeline().phases(ms(30_000));
    let labels: Vec<_> = phases.iter().map(|phase| phase.label.as_str()).collect();
    assert_eq!(labels, ["all well", "r1 sick", "all well", "r2 dead", "all well"]);
    assert_eq!((phases[3].from, phases[3].to), (ms(16_500), ms(22_500)));
    assert_eq!(phases.last().unwrap().to, ms(30_000));
}

#[test]
fn a_change_that_nothing_prompted_is_told_apart() {
    let mut timeline = timeline();
    assert_eq!(timeline.unprompted().count(), 0);
    timeline.sightings.push(sighting(28_000, "http", "r3", "up", "down"));
    assert_eq!(timeline.unprompted().map(|seen| seen.at).collect::<Vec<_>>(), [ms(28_000)]);
}

#[test]
fn an_event_is_seen_only_before_the_next_one() {
    let timeline = timeline();
    let seen: Vec<_> =
        timeline.events.iter().map(|event| timeline.seen(event, "http").map(|seen| seen.at)).collect();
    assert_eq!(seen, [Some(ms(6400)), Some(ms(13_800)), Some(ms(17_000)), Some(ms(22_900))]);
    assert!(timeline.events.iter().all(|event| timeline.seen(event, "https").is_none()));
}
