use crate::config::{Admin, Config, HostFacts};

use super::*;

const CONFIG: &str = r#"
vip = "10.0.0.10"
interfaces = ["eth0"]
[[replica]]
name = "replica-1"
address = "10.0.0.11"
[[replica]]
address = "10.0.0.12"
[[service]]
name = "http"
port = 80
[[service]]
name = "https"
port = 443
"#;

fn config(overrides: &[&str]) -> Config {
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    let host = HostFacts { ephemeral_ports: 40000..=60999 };
    Config::parse(CONFIG, "test", &overrides, &host).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn each_key_is_told_by_its_name_and_values() {
    let cases: [(&[&str], &[&str]); 29] = [
        (&[], &[]),
        (
            &["service.0.backup=[\"replica-1\"]"],
            &["service `http`: replica `replica-1` (10.0.0.11): backup: false → true"],
        ),
        (&["interfaces=[\"eth0\", \"eth1\"]"], &["interfaces: eth0 → eth0, eth1"]),
        (&["datapath.attach=tc"], &["datapath.attach: auto → tc"]),
        (&["datapath.max_flows=2048"], &["datapath.max_flows: 1048576 → 2048"]),
        (&["datapath.nat_ports=\"20000-30000\""], &["datapath.nat_ports: 1024-39999 → 20000-30000"]),
        (&["datapath.idle_timeout=90m"], &["datapath.idle_timeout: 1h → 1h 30m"]),
        (&["datapath.all_down=refuse"], &["datapath.all_down: fail-open → refuse"]),
        (&["datapath.on_down=leave"], &["datapath.on_down: auto → leave"]),
        (&["datapath.syn_flood_rate=500"], &["datapath.syn_flood_rate: 2000 → 500"]),
        (&["datapath.syn_challenge=off"], &["datapath.syn_challenge: auto → off"]),
        (&["datapath.macs=any"], &["datapath.macs: own → any"]),
        (&["service.0.denied=reset"], &["service `http`: denied: drop → reset"]),
        (
            &["service.0.max_flows_per_replica=7", "service.0.max_new_flows_per_source=8"],
            &[
                "service `http`: max_flows_per_replica: 0 → 7",
                "service `http`: max_new_flows_per_source: 0 → 8",
            ],
        ),
        (
            &["service.0.affinity=source-ip", "service.0.affinity_timeout=3h"],
            &["service `http`: affinity: none → source-ip", "service `http`: affinity_timeout: 0s → 3h"],
        ),
        (&["datapath.hash_seed=7"], &["datapath.hash_seed: 0 → 7"]),
        (&["agent.socket=/run/other.sock"], &["agent.socket: /run/dtr-lb/dtr-lb.sock → /run/other.sock"]),
        (&["service.1.port=8443", "service.1.replica_port=443"], &["service `https`: port: 443 → 8443"]),
        (&["service.0.mode=dsr"], &["service `http`: mode: nat → dsr"]),
        (&["service.0.vip=\"10.0.0.9\""], &["service `http`: vip: 10.0.0.10 → 10.0.0.9"]),
        (
            &["service.0.deny=[\"10.9.0.0/16\"]", "service.0.affinity=source-ip"],
            &["service `http`: affinity: none → source-ip", "service `http`: deny: none → 10.9.0.0/16"],
        ),
        (
            &["service.1.probe.interval=5s", "service.1.probe.verify=true", "service.1.probe.body=yes"],
            &[
                "service `https`: probe.verify: false → true",
                "service `https`: probe.body: none → yes",
                "service `https`: probe.interval: 2s → 5s",
                "service `https`: probe.down_interval: 2s → 5s",
            ],
        ),
        (
            &[
                "service.1.probe.method=POST",
                "service.1.probe.headers=['Authorization: Basic c2VjcmV0', 'A: b']",
                "service.1.probe.request_body='secret'",
                "service.1.probe.alpn=['http/1.1']",
                "service.1.probe.reject_body='no'",
                "service.1.probe.expect_headers=['A: b', 'C:']",
                "service.1.probe.reject_headers=['D: e']",
                "service.1.probe.down_interval=9s",
                "service.1.probe.agent_port=8700",
            ],
            &[
                "service `https`: probe.method: GET → POST",
                "service `https`: probe.headers: none → authorization, a",
                "service `https`: probe.request_body: none → 6 bytes",
                "service `https`: probe.alpn: none → http/1.1",
                "service `https`: probe.reject_body: none → no",
                "service `https`: probe.expect_headers: none → a: b, c: ",
                "service `https`: probe.reject_headers: none → d: e",
                "service `https`: probe.down_interval: 2s → 9s",
                "service `https`: probe.agent_port: none → 8700",
            ],
        ),
        (
            &[
                "service.0.probe.scheme=tcp",
                "service.0.probe.steps=[{ send = 'secret' }, { expect = 'a' }, { reject = 'b' }]",
            ],
            &[
                "service `http`: probe.scheme: http → tcp",
                "service `http`: probe.steps: none → send 6 bytes, expect /a/, reject /b/",
            ],
        ),
        (
            &["host=dtr.example.com", "service.0.probe.host=\"a\"", "service.1.probe.host=\"a\""],
            &["service `http`: probe.host: none → a", "service `https`: probe.host: none → a"],
        ),
        (
            &["service.0.name=web"],
            &[
                "service `http` (10.0.0.10:80) removed",
                "service `web` (10.0.0.10:80) added, to 2 replicas by nat",
            ],
        ),
        (
            &["replica.0.weight=0", "service.1.replicas=[\"replica-1\"]"],
            &[
                "service `http`: replica `replica-1` (10.0.0.11): weight: 100 → 0",
                "service `https`: replica `10.0.0.12` removed",
                "service `https`: replica `replica-1` (10.0.0.11): weight: 100 → 0",
            ],
        ),
        (
            &["replica.1.address=10.0.0.13", "service.1.replicas=[\"replica-1\"]"],
            &[
                "service `http`: replica `10.0.0.12` removed",
                "service `http`: replica `10.0.0.13` added",
                "service `https`: replica `10.0.0.12` removed",
            ],
        ),
        (&["service.0.replicas=[\"10.0.0.12\", \"replica-1\"]"], &[]),
    ];
    for (overrides, expected) in cases {
        assert_eq!(differences(&config(&[]), &config(overrides)), expected, "{overrides:?}");
        assert_eq!(differences(&config(overrides), &config(overrides)), [""; 0], "{overrides:?}");
    }
}

#[test]
fn another_secret_is_told_and_not_shown() {
    let with = |secret: &str| {
        config(&[
            &format!("service.0.probe.headers=['Authorization: Basic {secret}']"),
            "service.1.probe.scheme=tcp",
            &format!("service.1.probe.steps=[{{ send = '{secret}' }}]"),
        ])
    };
    assert_eq!(
        differences(&with("before"), &with("after!")),
        [
            "service `http`: probe.headers: authorization, with other contents",
            "service `https`: probe.steps: send 6 bytes, with other contents",
        ]
    );
}

#[test]
fn what_an_operator_ordered_is_told_too() {
    let before = config(&[]);
    let mut after = before.clone();
    after.services[0].replicas[1].admin = Admin::Drain;
    assert_eq!(
        differences(&before, &after),
        ["service `http`: replica `10.0.0.12`: state ordered: ready → drain"]
    );
}
