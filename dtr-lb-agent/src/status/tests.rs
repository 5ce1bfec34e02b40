use std::time::Duration;

use dtr_lb_common::abi::FlowStats;

use super::{made::replica_status, *};
use crate::{
    config::Replica,
    control::{ANSWERS_PAST, Condition, ReplicaState},
    probe::{Failure, Outcome},
};

fn status(present: bool, outcome: &Outcome) -> Status {
    let condition = Condition {
        state: ReplicaState::Up,
        since: Timestamp::UNIX_EPOCH,
        reason: Some("status 200".into()),
        last_probe: Some(outcome.clone()),
        history: [].into(),
    };
    let replica = Replica {
        name: "r1".into(),
        address: [10, 0, 0, 11].into(),
        backup: false,
        port: 80,
        weight: 100,
        slow_start: Duration::ZERO,
        admin: Admin::Ready,
        host_name: None,
        file_weight: Some(100),
    };
    Status {
        version: "0".into(),
        host: "lb-1".into(),
        datapath: DatapathStatus {
            attach: vec![AttachStatus {
                interface: "eth0".into(),
                hook: "xdp".into(),
                native: true,
                present,
            }],
            attach_reason: "as configured".into(),
            adopted: false,
            flows: 0,
            flow_entries: 0,
            walks: 0,
            max_flows: 1024,
            repairs: BTreeMap::new(),
            up_to_date: true,
            table_rewrites: 1,
        },
        services: vec![ServiceStatus {
            name: "http".into(),
            vip: [10, 0, 0, 10].into(),
            port: 80,
            mode: "nat".into(),
            state: "up".into(),
            challenge: ChallengeStatus::default(),
            suspicion: None,
            hint: None,
            slow: Vec::new(),
            replicas: vec![replica_status(
                &replica,
                &condition,
                100,
                Default::default(),
                &FlowStats::default(),
            )],
        }],
        flow_table: None,
        verdicts: BTreeMap::new(),
        reloads: Reloads { ok: 1, failed: 2, last: Some(Timestamp::UNIX_EPOCH) },
        names: Vec::new(),
        last_order: None,
    }
}

/// One service with one replica, and all is well.
pub(crate) fn plain() -> Status {
    status(true, &Outcome { status: Some(200), took: Duration::from_millis(2), error: None })
}

/// Ten minutes later, without colours.
fn text_of(status: &Status) -> String {
    let now = Timestamp::UNIX_EPOCH + Duration::from_secs(600);
    anstream::adapter::strip_str(&status.text(now)).to_string()
}

#[test]
fn what_would_fit_is_shown_below_its_service() {
    let mut status = plain();
    assert!(!text_of(&status).contains("HINT"));
    status.services[0].hint = Some("`/health` answers 404, `/_ping` answers 200: preset = \"msr\"?".into());
    let text = text_of(&status);
    let line = text.lines().nth(1).expect("a second line");
    assert!(line.contains("HINT") && line.ends_with("preset = \"msr\"?"), "{text}");
    let json = serde_json::to_value(&status).expect("JSON");
    assert!(json["services"][0]["hint"].as_str().is_some_and(|hint| hint.contains("msr")), "{json}");
}

#[test]
fn that_this_host_cannot_probe_is_shown() {
    let error = Some(Failure::Local { reason: "Too many open files".into() });
    let status = status(true, &Outcome { status: None, took: Duration::ZERO, error });
    let replica = &status.services[0].replicas[0];
    assert_eq!(replica.state, "up", "it is no word about the replica");
    let probe = replica.last_probe.as_ref().expect("there was a probe");
    assert!(!probe.ok && probe.error.as_ref().is_some_and(|error| error.contains("Too many open files")));
    assert!(
        text_of(&status).contains("this host could not ask: Too many open files"),
        "{}",
        text_of(&status)
    );
}

#[test]
fn what_the_passive_check_a_slow_start_and_redispatch_do_is_shown() {
    let good = Outcome { status: Some(200), took: Duration::from_millis(2), error: None };
    let mut status = status(true, &good);
    let service = &mut status.services[0];
    service.vip = "2001:db8::10".parse().expect("an address");
    let up = ReplicaStatus {
        effective_weight: 35,
        redispatched: 77,
        unanswered: 70,
        ..service.replicas[0].clone()
    };
    let reason = Some("passive check: 2 connections refused within 30s".to_owned());
    let down = ReplicaStatus { state: "down".into(), effective_weight: 0, reason, ..up.clone() };
    service.replicas = vec![up, down];
    let text = text_of(&status);
    let lines: Vec<_> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "service http [2001:db8::10]:80 nat UP, 1 of 2 up for 10 min");
    assert_eq!(
        lines[1],
        "replica address state for weight flows new refused redispatched packets bytes probe"
    );
    assert_eq!(
        lines[2],
        "r1 10.0.0.11:80 down 10 min 100 0 0 0 77 0 0 B passive check: 2 connections refused within 30s; 200 in 2 ms"
    );
    assert_eq!(lines[3], "r1 10.0.0.11:80 up 10 min 35 of 100 0 0 0 77 0 0 B 200 in 2 ms");
    let json = serde_json::to_value(&status).expect("it is JSON");
    let replica = &json["services"][0]["replicas"][1];
    assert_eq!((&replica["effective_weight"], &replica["unanswered"]), (&0.into(), &70.into()));
    assert!(replica["reason"].as_str().is_some_and(|reason| reason.contains("passive check")), "{replica}");
}

#[test]
fn a_replica_that_answers_another_way_is_named_with_what_to_do() {
    let good = Outcome { status: Some(200), took: Duration::from_millis(2), error: None };
    let mut status = status(true, &good);
    status.services[0].replicas[0].warning = Some(ANSWERS_PAST.to_owned());
    let text = text_of(&status);
    let words = "200 in 2 ms; answers its clients past this balancer: its route to them does not lead here";
    assert!(text.contains(words) && text.contains("docs/client-addresses.md"), "{text}");
}

#[test]
fn how_long_replicas_take_and_which_is_slow_is_shown() {
    let mut status = plain();
    assert!(!text_of(&status).contains("connect"), "nothing was measured");
    let service = &mut status.services[0];
    let slow = ReplicaStatus {
        name: "r2".into(),
        connect_ms: Some(Latency { p50: 12.345, p99: 120.4, mean: 20.0 }),
        ..service.replicas[0].clone()
    };
    service.replicas.push(slow);
    let words = "r2 takes 5 times as long as its peers to accept a connection (12 ms; theirs 2.4 ms)";
    service.slow = vec![Slow { replica: "r2".into(), times: 5.0, text: words.into() }];
    let fine = ServiceStatus { name: "fine".into(), slow: Vec::new(), ..service.clone() };
    status.services.insert(0, fine);
    let text = text_of(&status);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("service http"), "what is in trouble comes first:\n{text}");
    assert_eq!(lines[1], format!("  SLOW {words}"));
    assert!(lines[2].ends_with("bytes  connect    probe"), "{text}");
    assert!(lines[3].contains("  -          200 in") && lines[4].contains("  12/120 ms  200 in"), "{text}");
    let json = serde_json::to_value(&status).expect("it is JSON");
    assert_eq!(json["services"][1]["slow"][0]["text"], words);
    let times = serde_json::json!({ "p50": 12.345, "p99": 120.4, "mean": 20.0 });
    assert_eq!(json["services"][1]["replicas"][1]["connect_ms"], times);
    assert!(json["services"][1]["replicas"][0]["connect_ms"].is_null());
    assert_eq!(json["services"][1]["replicas"][0]["ends"]["closed"], 0);
}

#[test]
fn what_a_replica_says_of_itself_is_shown() {
    let good = Outcome { status: Some(200), took: Duration::from_millis(2), error: None };
    for (says, error, words) in [
        ("ready", None, "200 in 2 ms\n"),
        ("75%", None, "200 in 2 ms; agent: 75%\n"),
        (
            "drain",
            Some("connection refused"),
            "200 in 2 ms; agent not heard: connection refused; it said drain last\n",
        ),
    ] {
        let mut status = status(true, &good);
        let error = error.map(str::to_owned);
        status.services[0].replicas[0].agent = Some(AgentStatus { says: says.to_owned(), error });
        let text = text_of(&status);
        assert!(text.contains(words), "{text}");
        let json = serde_json::to_value(&status).expect("it is JSON");
        assert_eq!(json["services"][0]["replicas"][0]["agent"]["says"], says);
    }
}

#[test]
fn the_json_of_an_older_agent_is_still_read() {
    let good = Outcome { status: Some(200), took: Duration::from_millis(2), error: None };
    let mut json = serde_json::to_value(status(true, &good)).expect("it is JSON");
    let replica = json["services"][0]["replicas"][0].as_object_mut().expect("an object");
    for newer in ["reason", "agent", "warning", "effective_weight", "unanswered", "reset", "connect_ms"]
        .into_iter()
        .chain(["client_rtt_ms", "syns_again", "ends", "nat_ports"])
    {
        assert!(replica.remove(newer).is_some(), "{newer}");
    }
    assert!(json["services"][0].as_object_mut().is_some_and(|service| service.remove("slow").is_some()));
    assert!(json.as_object_mut().is_some_and(|status| status.remove("flow_table").is_some()));
    assert!(serde_json::from_value::<Status>(json).is_ok());
}

#[test]
fn what_is_in_trouble_comes_first_and_in_a_colour_and_columns_stay_apart() {
    let mut status = plain();
    let named = |name: &str, state: &str| ReplicaStatus {
        name: name.into(),
        state: state.into(),
        reason: Some("an operator drains it\nfor a while".into()),
        packets: 12_345,
        bytes: 3_565_158,
        ..plain().services[0].replicas[0].clone()
    };
    let long = "a-name-as-long-as-names-of-machines-are.example.com";
    let mut second = status.services[0].clone();
    second.name = "https".into();
    second.replicas = vec![named("r1", "up"), named(long, "draining"), named("r3", "down")];
    let mut third = ServiceStatus { name: "third".into(), state: "down".into(), ..second.clone() };
    third.replicas.remove(0);
    status.services.extend([second, third]);
    let text = text_of(&status);
    let lines: Vec<_> = text.lines().collect();
    let heads: Vec<_> = lines.iter().filter(|line| line.starts_with("service")).collect();
    assert_eq!(
        heads,
        [
            &"service third 10.0.0.10:80 nat DOWN, 0 of 2 up for 10 min",
            &"service https 10.0.0.10:80 nat UP, 1 of 3 up for 10 min",
            &"service http 10.0.0.10:80 nat UP, 1 of 1 up for 10 min",
        ]
    );
    let first = |line: &&str| line.split_whitespace().next().map(str::to_owned);
    let order: Vec<_> = lines[5..9].iter().filter_map(first).collect();
    assert_eq!(order, ["replica", "r3", long, "r1"]);
    // Each column begins where its header does.
    let at = |word: &str| lines[5].find(word).expect("a header");
    for line in &lines[6..9] {
        for header in ["address", "state", "weight", "bytes", "probe"] {
            let at = at(header);
            assert!(line[at - 2..at] == *"  " && !line[at..].starts_with(' '), "{header}:\n{text}");
        }
    }
    assert!(lines[8].contains("  12.3 k  ") && lines[8].contains("  3.4 MiB  "), "{text}");
    assert!(lines[7].ends_with("an operator drains it for a while; 200 in 2 ms"), "{text}");
    let colours = status.text(Timestamp::UNIX_EPOCH);
    let line = |word: &str| colours.lines().find(|line| line.contains(word)).expect("a line");
    assert!(line("r3 ").contains("\x1b[31m") && line("draining").contains("\x1b[33m"), "{colours:?}");
    assert!(!line("r1 ").contains("\x1b[3"), "what is well has no colour: {colours:?}");
}

#[test]
fn a_missing_interface_is_shown() {
    let good = Outcome { status: Some(200), took: Duration::from_millis(2), error: None };
    let (here, gone) = (status(true, &good), status(false, &good));
    assert!(text_of(&here).contains("datapath eth0 native xdp (as configured)"), "{}", text_of(&here));
    assert!(
        text_of(&gone).contains("datapath eth0 native xdp MISSING (as configured)"),
        "{}",
        text_of(&gone)
    );
}

#[test]
fn how_full_the_table_is_and_that_tables_are_old_is_shown() {
    let mut status = plain();
    let lines = |status: &Status| text_of(status).lines().map(str::to_owned).collect::<Vec<_>>();
    let has = |lines: &[String], words: &str| lines.iter().any(|line| line.starts_with(words));
    assert!(has(&lines(&status), "flows 0; the table for 1024 is 0 % full"), "{:#?}", lines(&status));
    assert!(!has(&lines(&status), "tables NOT UP TO DATE"));
    status.datapath.flows = 700;
    status.datapath.flow_entries = 1946;
    status.datapath.up_to_date = false;
    let lines = lines(&status);
    assert!(has(&lines, "tables NOT UP TO DATE"), "{lines:#?}");
    assert!(has(&lines, "flows 700; the table for 1024 is 95 % full"), "{lines:#?}");
}
