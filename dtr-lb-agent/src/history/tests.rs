use super::*;
use crate::status::DatapathStatus;

fn replica(number: u16, [flows, new_flows, packets, bytes]: [u64; 4]) -> ReplicaStatus {
    ReplicaStatus {
        flows,
        new_flows,
        packets,
        bytes,
        ..serde_json::from_value(serde_json::json!({
            "name": format!("r{number}"), "address": "10.0.0.11", "port": number, "state": "up", "weight": 100,
            "since": "2026-01-01T00:00:00Z", "last_probe": null, "flows": 0, "packets": 0, "bytes": 0,
            "packets_to_replica": 0, "bytes_to_replica": 0, "packets_to_client": 0, "bytes_to_client": 0,
            "new_flows": 0, "refused": 0, "redispatched": 0,
        }))
        .expect("a replica")
    }
}

fn service(name: &str, replicas: Vec<ReplicaStatus>) -> ServiceStatus {
    let mut service: ServiceStatus = serde_json::from_value(serde_json::json!({
        "name": name, "vip": "10.0.0.10", "port": 443, "mode": "nat", "state": "up", "replicas": [],
    }))
    .expect("a service");
    service.replicas = replicas;
    service
}

fn status(services: Vec<ServiceStatus>) -> Status {
    let datapath: DatapathStatus = serde_json::from_value(serde_json::json!({
        "attach": [], "attach_reason": "", "adopted": false, "flow_entries": 0, "max_flows": 0,
    }))
    .expect("a datapath");
    let mut status: Status = serde_json::from_value(serde_json::json!({
        "version": "", "datapath": datapath, "services": [], "verdicts": {},
    }))
    .expect("a status");
    status.services = services;
    status
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

#[test]
fn rates_are_by_the_time_that_really_passed_and_services_are_sums() {
    let history = History::default();
    let two = |a, b| status(vec![service("https", vec![replica(1, a), replica(2, b)])]);
    history.add(&two([5, 100, 1000, 50_000], [1, 0, 0, 0]), second(0));
    history.add(&two([7, 104, 1020, 50_200], [1, 2, 4, 8]), second(2));
    history.add(&two([0, 104, 1020, 50_200], [0, 6, 4, 8]), second(6));
    let answer = history.answer(None);
    assert_eq!(answer.step_ms, 2000);
    assert_eq!(answer.times, [0, 2, 6].map(|at| second(at).as_millisecond()));
    let [https] = &answer.services[..] else { panic!("{answer:?}") };
    assert_eq!(https.curves.flows, [Some(6.0), Some(8.0), Some(0.0)]);
    assert_eq!(https.curves.new_flows, [None, Some(3.0), Some(1.0)]);
    let [first, other] = &https.replicas[..] else { panic!("{https:?}") };
    assert_eq!((first.name.as_str(), other.name.as_str()), ("r1", "r2"));
    assert_eq!(first.curves.packets, [None, Some(10.0), Some(0.0)]);
    assert_eq!(first.curves.bytes, [None, Some(100.0), Some(0.0)]);
    assert_eq!(other.curves.new_flows, [None, Some(1.0), Some(1.0)]);
}

#[test]
fn what_was_not_there_has_gaps_and_what_is_gone_is_forgotten() {
    let history = History::default();
    let with = |replicas: &[(u16, u64)]| {
        let replicas = replicas.iter().map(|(number, bytes)| replica(*number, [1, 0, 0, *bytes])).collect();
        status(vec![service("https", replicas)])
    };
    history.add(&with(&[(1, 10)]), second(0));
    history.add(&with(&[(1, 30), (2, 5)]), second(2));
    history.add(&with(&[(1, 10)]), second(4));
    let curves = |name: &str| {
        let answer = history.answer(None);
        let found = answer.services[0].replicas.iter().find(|replica| replica.name == name);
        found.map(|replica| replica.curves.clone())
    };
    assert_eq!(
        curves("r1").expect("it is there").bytes,
        [None, Some(10.0), None],
        "a counter that began anew"
    );
    assert_eq!(curves("r2").expect("it was there").flows, [None, Some(1.0), None]);
    for sample in 3.. {
        history.add(&with(&[(1, 10)]), second(sample * 2));
        if curves("r2").is_none() {
            assert_eq!(sample, 301, "300 samples after its own, and one to notice");
            break;
        }
        assert!(sample < 400, "it is never forgotten");
    }
    let answer = history.answer(None);
    assert_eq!(answer.times.len(), LENGTH);
    assert_eq!(answer.services[0].curves.flows.len(), LENGTH);
    assert!(answer.services[0].replicas.iter().all(|replica| replica.curves.bytes.len() == LENGTH));
}

#[test]
fn one_service_can_be_asked_for() {
    let history = History::default();
    let both = status(vec![service("http", vec![replica(80, [0; 4])]), service("https", Vec::new())]);
    history.add(&both, second(0));
    let names =
        |service| history.answer(service).services.into_iter().map(|found| found.name).collect::<Vec<_>>();
    assert_eq!(names(None), ["http", "https"]);
    assert_eq!(names(Some("https")), ["https"]);
    assert!(names(Some("ftp")).is_empty());
}

#[test]
fn there_are_never_more_series_than_so_many_and_it_is_told() {
    let history = History::default();
    let many = |range: std::ops::Range<u16>| {
        status(vec![
            service("a", range.map(|number| replica(number, [1; 4])).collect()),
            service("b", Vec::new()),
        ])
    };
    history.add(&many(0..3000), second(0));
    let answer = history.answer(None);
    let kept: usize = answer.services.iter().map(|service| service.replicas.len()).sum();
    assert_eq!((kept + answer.left_out, answer.services.len()), (3000, 2), "services are all there");
    assert!(kept <= MOST_SERIES && history.lock().series.len() <= MOST_SERIES + 2, "{kept}");
    assert_eq!(size_of::<[f32; 4]>() * LENGTH * MOST_SERIES, 9_600_000, "the figure in the documents");
}

#[test]
fn it_survives_its_own_json() {
    let history = History::default();
    history.add(&status(vec![service("https", vec![replica(1, [1; 4])])]), second(0));
    let answer = history.answer(None);
    let text = serde_json::to_string(&answer).expect("JSON");
    assert!(text.contains("\"new_flows\":[null]"), "{text}");
    assert_eq!(serde_json::from_str::<HistoryAnswer>(&text).expect("the same"), answer);
}

fn sampled(seconds: impl IntoIterator<Item = i64>) -> History {
    let history = History::default();
    for at in seconds {
        let flows = u64::try_from(at).expect("positive");
        history.add(&status(vec![service("https", vec![replica(1, [flows, 10 * flows, 0, 0])])]), second(at));
    }
    history
}

#[test]
fn the_next_agent_goes_on_with_it_and_shows_the_time_between_as_a_gap() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = History::path(&directory.path().join("dtr-lb.sock"));
    assert!(matches!(History::read(&path, second(0)), Err(HistoryError::Io(_))), "there is none");
    let first = sampled([0, 2, 4]);
    first.write(&path).expect("it is written");
    // Again, over what there is.
    first.write(&path).expect("it is written");

    let next = History::read(&path, second(11)).expect("it is good");
    next.add(&status(vec![service("https", vec![replica(1, [7, 500, 0, 0])])]), second(11));
    next.add(&status(vec![service("https", vec![replica(1, [8, 504, 0, 0])])]), second(13));
    let answer = next.answer(None);
    assert_eq!(answer.times, [0, 2, 4, 6, 8, 11, 13].map(|at| second(at).as_millisecond()));
    let [https] = &answer.services[..] else { panic!("{answer:?}") };
    let flows = [Some(0.0), Some(2.0), Some(4.0), None, None, Some(7.0), Some(8.0)];
    assert_eq!(https.curves.flows, flows);
    assert_eq!(https.replicas[0].curves.flows, flows);
    let new_flows = [None, Some(10.0), Some(10.0), None, None, None, Some(2.0)];
    assert_eq!(https.curves.new_flows, new_flows, "what was counted in the gap is no rate");

    // Another agent at once.
    let at_once = History::read(&path, second(5)).expect("it is good").answer(None);
    assert_eq!(at_once.times.len(), 3);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("it is").permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn it_stays_as_long_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("history");
    let length = i64::try_from(LENGTH).expect("small");
    let all = sampled((0..length).map(|sample| 2 * sample));
    all.write(&path).expect("it is written");
    let last = 2 * (length - 1);
    let next = History::read(&path, second(last + 100)).expect("it is good").answer(None);
    assert_eq!(next.times.len(), LENGTH);
    let flows = &next.services[0].curves.flows;
    assert_eq!((flows.len(), flows[0], flows[LENGTH - 1]), (LENGTH, Some(98.0), None));
    let old = History::read(&path, second(last + 2 * length));
    assert!(matches!(old, Err(HistoryError::Old)), "{old:?}");
    let future = History::read(&path, second(last - 1));
    assert!(matches!(future, Err(HistoryError::Future)), "{future:?}");
}

#[test]
fn what_is_damaged_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("history");
    sampled([0, 2, 4]).write(&path).expect("it is written");
    let good = std::fs::read(&path).expect("it is there");
    let head = good.iter().position(|byte| *byte == b'\n').expect("it has one");
    let text = String::from_utf8(good[..head].to_vec()).expect("text");
    let with_head = |head: String| [head.as_bytes(), &good[text.len()..]].concat();
    let bad = [
        Vec::new(),
        vec![0xff; 100],
        good[..head].to_vec(),
        good[..good.len() - 1].to_vec(),
        good[..good.len() - 16].to_vec(),
        [&good[..], &[0; 16]].concat(),
        with_head(text.replace("\"version\":1", "\"version\":2")),
        with_head(text.replace("1700000002000", "1800000002000")),
        with_head(text.replace("1700000002000", "9223372036854775807")),
    ];
    for bytes in bad {
        std::fs::write(&path, &bytes).expect("it is written");
        let found = History::read(&path, second(5));
        assert!(matches!(found, Err(HistoryError::Damaged(_))), "{bytes:?}: {found:?}");
    }
    let empty = History::default();
    empty.write(&path).expect("it is written");
    assert!(History::read(&path, second(5)).is_err(), "it has nothing");
    std::fs::remove_file(&path).expect("it is there");
    std::fs::create_dir(&path).expect("a directory in its place");
    assert!(History::read(&path, second(5)).is_err());
    assert!(sampled([0]).write(&path).is_err());
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
