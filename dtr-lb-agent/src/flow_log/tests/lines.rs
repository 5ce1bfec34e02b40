//! What stands in a line.

use serde_json::json;

use super::{
    super::line::{LoggedFlow, append},
    *,
};

fn line(record: &FlowRecord) -> String {
    let mut text = Vec::new();
    append(&mut text, &LoggedFlow::from(record));
    String::from_utf8(text).expect("JSON is text")
}

#[test]
fn each_end_has_its_line() {
    let ends = [
        (FlowEnd::Closed, "end", "closed"),
        (FlowEnd::ClientReset, "end", "client_reset"),
        (FlowEnd::ReplicaReset, "end", "replica_reset"),
        (FlowEnd::Idle, "end", "idle"),
        (FlowEnd::ReplicaDown, "end", "replica_down"),
        (FlowEnd::Evicted, "end", "evicted"),
        (FlowEnd::Detached, "end", "detached"),
        (FlowEnd::Unanswered, "fail", "unanswered"),
        (FlowEnd::Abandoned, "fail", "abandoned"),
        (FlowEnd::Refused, "fail", "refused"),
        (FlowEnd::Failed(Verdict::DroppedDenied), "fail", "dropped_denied"),
    ];
    for (end, event, word) in ends {
        let read: Value = serde_json::from_str(&line(&record(end))).expect("it is JSON");
        let expected = json!({
            "time": "2026-11-26T12:00:02.5Z",
            "event": event,
            "service": "https",
            "replica": "replica-1",
            "client": "192.0.2.7:40000",
            "vip": "10.0.0.10:443",
            "nat": "10.0.0.2:15609",
            "mode": "nat",
            "start": "2026-11-26T12:00:00Z",
            "duration_ms": 2500.0,
            "connect_ms": 0.412,
            "client_rtt_ms": 20.001,
            "packets_to_replica": 7,
            "bytes_to_replica": 900,
            "packets_to_client": 9,
            "bytes_to_client": 45_000,
            "attempts": 1,
            "end": word,
        });
        assert_eq!(read, expected);
    }
}

#[test]
fn what_is_not_known_is_null() {
    let record = FlowRecord {
        replica: None,
        nat: None,
        connect: None,
        client_rtt: None,
        attempts: None,
        client: "[2001:db8::7]:40000".parse().expect("an end"),
        mode: Mode::DSR,
        ..record(FlowEnd::Failed(Verdict::AnsweredNoPort))
    };
    let text = line(&record);
    let read: Value = serde_json::from_str(&text).expect("it is JSON");
    for key in ["replica", "nat", "connect_ms", "client_rtt_ms"] {
        assert_eq!(read.get(key), Some(&Value::Null), "{key}: {text}");
    }
    assert_eq!(read["client"], "[2001:db8::7]:40000");
    assert_eq!((&read["mode"], &read["attempts"]), (&json!("dsr"), &json!(null)));
    assert!(
        text.starts_with(r#"{"time":"2026-11-26T12:00:02.5Z","event":"fail","service":"https","#),
        "{text}"
    );
}

#[test]
fn times_have_six_decimals_and_milliseconds_three() {
    for nanoseconds in [1, 999, 1_000, 1_234_567_891, 86_400_000_000_123_456, u64::MAX / 1000] {
        let duration = Duration::from_nanos(nanoseconds);
        let start: Timestamp = "2026-11-26T12:00:00.123456789Z".parse().expect("a time");
        let text = line(&FlowRecord { duration, start, ..record(FlowEnd::Closed) });
        let number = text.split("\"duration_ms\":").nth(1).and_then(|rest| rest.split(',').next());
        let decimals = number.and_then(|number| number.split_once('.')).map_or("", |(_, decimals)| decimals);
        assert!(decimals.len() <= 3, "{number:?}");
        assert!(text.contains("\"start\":\"2026-11-26T12:00:00.123456Z\""), "{text}");
    }
}

#[test]
fn a_line_is_read_back_by_who_follows() {
    let record = record(FlowEnd::Refused);
    let read: FlowLogLine<'_> = serde_json::from_str(&line(&record)).expect("it is JSON");
    assert_eq!(read, FlowLogLine::Flow(LoggedFlow::from(&record)));
    let note: FlowLogLine<'_> =
        serde_json::from_str(r#"{"event":"lost","time":"2026-11-26T12:00:00Z","count":3}"#).expect("JSON");
    assert!(matches!(note, FlowLogLine::Note(Note { count: 3, .. })), "{note:?}");
}

#[test]
fn a_person_reads_who_where_how_long_how_much_and_how_it_ended() {
    let text = LoggedFlow::from(&record(FlowEnd::Closed)).text();
    let (_, text) = text.split_once(' ').expect("the time of day, which depends on where one is");
    assert_eq!(text, "192.0.2.7:40000 → replica-1 (https) 2.5s 900B there 43.9KiB back closed");
    let nobody = FlowRecord { replica: None, ..record(FlowEnd::Failed(Verdict::DroppedDenied)) };
    let text = LoggedFlow::from(&nobody).text();
    assert!(text.contains("→ - (https)") && text.ends_with("dropped_denied"), "{text}");
}
