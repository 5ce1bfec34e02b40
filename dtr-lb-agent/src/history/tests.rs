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
