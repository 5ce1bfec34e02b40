//! Which probes go on, which begin, which end, and whose reports count.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::*;
use crate::{config::HostFacts, control::Change};

/// Nobody answers at the port of any replica: what is probed is this host.
const CONFIG: &str = r#"
vip = "10.0.0.10"
interfaces = ["eth0"]
[[service]]
name = "http"
port = 80
replica_port = 1
[service.probe]
interval = "20ms"
fast_interval = "10ms"
timeout = "100ms"
[[replica]]
address = "10.0.0.2"
[[replica]]
address = "10.0.0.3"
"#;

fn config(overrides: &[&str]) -> Config {
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    let mut config =
        Config::parse(CONFIG, "test", &overrides, &host).unwrap_or_else(|error| panic!("{error}"));
    // Addresses of this host, where every port is refused at once. A config does not take them.
    for replica in config.services.iter_mut().flat_map(|service| &mut service.replicas) {
        let IpAddr::V4(address) = replica.address else { panic!("{} is not IPv4", replica.address) };
        replica.address = IpAddr::from([127, 0, 0, address.octets()[3]]);
    }
    config
}

fn drained(place: usize, admin: Admin) -> Config {
    let mut config = config(&[]);
    config.services[0].replicas[place].admin = admin;
    config
}

fn run(probes: &mut Probes, config: &Config, files: Files) -> Vec<u64> {
    let control = Control::new(config.clone().into(), Timestamp::UNIX_EPOCH);
    let plan = probes.plan(config, files).expect("probes can be made");
    probes.carry_out(plan, &control);
    probes.running.values().map(|running| running.run).collect()
}

#[tokio::test]
async fn what_asks_the_same_goes_on_and_the_rest_begins_or_ends() {
    let other_mode = ["service.0.mode=dsr", "service.0.replica_port=80"];
    let https = ["service.0.probe.verify=true", "service.0.probe.scheme=https"];
    // From which config, to which, whether files are read again, and the runs before (1, 2) and then.
    let cases: [(&str, Config, Config, Files, &[u64]); 9] = [
        ("nothing", config(&[]), config(&[]), Files::ReadAgain, &[1, 2]),
        ("weights", config(&[]), config(&["replica.0.weight=0"]), Files::ReadAgain, &[1, 2]),
        ("drained", config(&[]), drained(0, Admin::Drain), Files::AsTheyWere, &[1, 2]),
        ("maintenance", config(&[]), drained(0, Admin::Maint), Files::AsTheyWere, &[2]),
        ("the probe", config(&[]), config(&["service.0.probe.path=/"]), Files::AsTheyWere, &[3, 4]),
        ("one replica", config(&[]), config(&["replica.0.address=10.0.0.4"]), Files::AsTheyWere, &[2, 3]),
        ("another mode", config(&[]), config(&other_mode), Files::AsTheyWere, &[3, 4]),
        ("a CA that may be another", config(&https), config(&https), Files::ReadAgain, &[3, 4]),
        ("a CA that is the same", config(&https), config(&https), Files::AsTheyWere, &[1, 2]),
    ];
    for (name, before, after, files, expected) in cases {
        let (mut probes, _reports) = Probes::new();
        assert_eq!(run(&mut probes, &before, Files::AsTheyWere), [1, 2], "{name}");
        assert_eq!(run(&mut probes, &after, files), expected, "{name}");
    }
}

#[tokio::test]
async fn reports_of_a_probe_that_has_ended_do_not_count() {
    let (mut probes, mut reports) = Probes::new();
    run(&mut probes, &config(&[]), Files::AsTheyWere);
    let mut report = async || {
        timeout(Duration::from_secs(20), reports.recv()).await.expect("probes report").expect("it is open")
    };
    let early = report().await;
    assert!(probes.current(early.clone()).is_some_and(|report| report.id == early.id.key));
    // The same replica, asked in another way.
    run(&mut probes, &config(&["service.0.probe.path=/"]), Files::AsTheyWere);
    assert_eq!(probes.current(early), None);
    // Those that were on their way, and then the new ones'.
    let new = loop {
        let report = report().await;
        if report.id.run > 2 {
            break report;
        }
        assert_eq!(probes.current(report), None);
    };
    assert!(probes.current(new.clone()).is_some());
    run(
        &mut probes,
        &config(&["replica.0.address=10.0.0.4", "replica.1.address=10.0.0.5"]),
        Files::AsTheyWere,
    );
    assert_eq!(probes.current(new), None, "nobody asks for it any more");
}

#[tokio::test]
async fn a_probe_that_begins_anew_knows_what_the_last_one_found() {
    let (mut probes, mut reports) = Probes::new();
    let before = config(&[]);
    let mut control = Control::new(before.clone().into(), Timestamp::UNIX_EPOCH);
    let plan = probes.plan(&before, Files::AsTheyWere).expect("probes can be made");
    probes.carry_out(plan, &control);
    let down = async {
        while control.conditions(0).any(|condition| condition.state.as_str() != "down") {
            let report = reports.recv().await.expect("it is open");
            let report = probes.current(report).expect("it runs");
            let key = report.id.clone();
            control.report(report, 0, crate::control::Moment::now());
            probes.pace(&key, control.certainty(&key));
        }
    };
    timeout(Duration::from_secs(20), down).await.expect("nobody answers");
    let after = config(&["service.0.probe.path=/"]);
    control.reconfigure(after.clone().into(), crate::control::Moment::now());
    let plan = probes.plan(&after, Files::AsTheyWere).expect("probes can be made");
    probes.carry_out(plan, &control);
    let first = async {
        loop {
            let report = reports.recv().await.expect("it is open");
            if let Some(report) = probes.current(report) {
                return report;
            }
        }
    };
    let first = timeout(Duration::from_secs(20), first).await.expect("it asks");
    let key = first.id.clone();
    assert_eq!(control.certainty(&key), Certainty::Down, "it goes on at the pace of one that is down");
    let changes = control.report(first, 0, crate::control::Moment::now());
    assert!(
        !changes.iter().any(|change| matches!(change, Change::Replica(_))),
        "one more failure is no news"
    );
}
