use dtr_lb_agent::config::Preset;
use serde_json::json;

use super::*;
use crate::demo::{
    sighting::Sighting,
    timeline::{Deed, Event},
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn probes() -> BTreeMap<String, Probe> {
    [(SERVICE.to_owned(), Probe::default_for(Preset::Dtr, SERVICE, 80, None))].into()
}

/// dtr-lb's own view of a run in which r2 refused so many connections.
fn status(refused: u64) -> Status {
    let replica = |name: &str, refused: u64| {
        json!({"name": name, "address": "10.77.0.12", "port": 80, "state": "up", "weight": 100,
            "since": "2026-01-02T03:04:05Z", "last_probe": null, "flows": 0, "packets": 0, "bytes": 0,
            "packets_to_replica": 0, "bytes_to_replica": 0, "packets_to_client": 0, "bytes_to_client": 0,
            "new_flows": 9, "refused": refused, "redispatched": 0})
    };
    let status = json!({
        "version": "0",
        "datapath": {"attach": [], "attach_reason": "", "adopted": false, "flow_entries": 0, "max_flows": 1},
        "services": [{"name": SERVICE, "vip": "10.77.0.10", "port": 80, "mode": "nat", "state": "up",
            "replicas": [replica("r1", 0), replica("r2", refused)]}],
        "verdicts": {"forwarded": 700, "dropped_no_replica": 0}
    });
    serde_json::from_value(status).unwrap()
}

fn answer(started: u64, outcome: Result<&str, &str>) -> Answer {
    let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
    Answer { started: ms(started), took: ms(1), outcome }
}

/// r2 is killed at 5 s and out 0.5 s later; one of its connections is refused in between.
fn record() -> Record {
    Record {
        replicas: vec!["r1".to_owned(), "r2".to_owned()],
        length: ms(10_000),
        answers: vec![
            answer(1000, Ok("r1")),
            answer(2000, Ok("r2")),
            answer(5100, Err("connect: Connection refused (os error 111)")),
            answer(6000, Ok("r1")),
        ],
        errands: Vec::new(),
        timeline: Timeline {
            events: vec![Event {
                at: ms(5000),
                done: ms(5010),
                replica: "r2".to_owned(),
                deed: Deed::Killed,
            }],
            sightings: vec![Sighting {
                at: ms(5500),
                service: SERVICE.to_owned(),
                replica: "r2".to_owned(),
                from: "up".to_owned(),
                to: "down".to_owned(),
                reason: "connection refused".to_owned(),
            }],
        },
        status: status(1),
        probes: probes(),
    }
}

#[test]
fn a_run_whose_failures_are_explained_is_good() {
    let Report { text, good } = Report::of(&record());
    assert!(good, "{text}");
    for words in [
        "r2 killed          http down after 0.50 s (connection refused)",
        "0.10 s after r2 was killed and 0.40 s before dtr-lb called it down",
        "dtr-lb counted 1 by r2, clients met 1",
        "forwarded 700\n",
        "4 requests, 1 failed; 0 of 0 long transfers done; 0 of 1 failures unexplained",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn shares_are_of_what_was_answered_in_the_phase() {
    let text = shares(&record());
    let row = |label: &str| text.lines().find(|line| line.contains(label)).unwrap_or_default().to_owned();
    assert!(row("all well").ends_with("1 (50.0 %)       1 (50.0 %)"), "{text}");
    assert!(row("r2 dead").ends_with("1 (100.0 %)        0 (0.0 %)"), "{text}");
    assert!(row("whole run").ends_with("2 (66.7 %)       1 (33.3 %)"), "{text}");
}

#[test]
fn a_run_with_anything_unaccounted_for_is_not() {
    type Spoil = fn(&mut Record);
    let cases: [(&str, Spoil); 4] = [
        ("UNEXPLAINED", |record| record.answers.push(answer(9000, Err("read: timed out")))),
        ("did not see that r2 was killed at 5.00 s", |record| record.timeline.sightings.clear()),
        ("more often than dtr-lb counted", |record| record.status = status(0)),
        ("FAILED: manifest unknown", |record| {
            record.errands.push(Errand {
                what: "pull".to_owned(),
                started: ms(1000),
                ended: ms(1100),
                single: false,
                replica: None,
                error: Some("manifest unknown".to_owned()),
            });
        }),
    ];
    for (words, spoil) in cases {
        let mut record = record();
        spoil(&mut record);
        let Report { text, good } = Report::of(&record);
        assert!(!good && text.contains(words), "{words}\n{text}");
    }
}
