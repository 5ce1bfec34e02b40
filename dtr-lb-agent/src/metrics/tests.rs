//! Pages, read by a reader of their own.

mod documents;

use std::{collections::BTreeMap, time::Duration};

use dtr_lb_common::abi::{End, FlowStats};

use super::*;
use crate::{
    config::{Config, HostFacts},
    control::ReplicaKey,
    probe::{Failure, Outcome},
    status::{FlowTableStatus, NatPortsStatus, ReplicaStatus, tests::plain},
};

pub(super) fn config(text: &str) -> Config {
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    Config::parse(text, "test", &[], &host).unwrap_or_else(|error| panic!("{error}"))
}

/// What a page says.
struct Read {
    /// Name to kind.
    kinds: BTreeMap<String, String>,
    /// Name and labels, as they stand there, to value.
    values: BTreeMap<String, f64>,
}

impl Read {
    fn page(page: &str) -> Self {
        let mut read = Self { kinds: BTreeMap::new(), values: BTreeMap::new() };
        let mut helped = String::new();
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a help text");
                assert!(text.ends_with('.'), "{line}");
                helped = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                assert_eq!(name, helped, "help comes first");
                assert!(read.kinds.insert(name.into(), kind.into()).is_none(), "twice: {line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                assert!(series.starts_with(&helped), "{line} is below {helped}");
                let value = value.parse().expect("a number");
                assert!(read.values.insert(series.into(), value).is_none(), "twice: {line}");
            }
        }
        read
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.values))
    }
}

fn page_of(snapshot: &Snapshot) -> Read {
    Read::page(&page(snapshot, Process::read().as_ref()).expect("all names are good"))
}

/// Something of everything: two services, of which one has two VIPs, replicas in two states, and probes of all kinds.
fn everything() -> Snapshot {
    let mut status = plain();
    status.datapath.flows = 12;
    status.datapath.flow_entries = 30;
    status.datapath.table_rewrites = 7;
    status.datapath.repairs = BTreeMap::from([("REPLICAS".into(), 2), ("links".into(), 0)]);
    status.verdicts = BTreeMap::from([("forwarded".into(), 1000), ("answered_no_port".into(), 2)]);
    let by_state = BTreeMap::from([("established".into(), 24), ("time_wait".into(), 6)]);
    status.flow_table =
        Some(FlowTableStatus { capacity: 2048, entries: 30, by_state, evicted: 1, refused: 2 });
    let ports = NatPortsStatus { address: [10, 0, 0, 1].into(), used: 40, of: 31_744 };
    let replica = ReplicaStatus {
        nat_ports: vec![ports],
        flows: 4,
        packets_to_replica: 10,
        bytes_to_replica: 1000,
        packets_to_client: 20,
        bytes_to_client: 30_000,
        new_flows: 5,
        refused: 1,
        unanswered: 2,
        redispatched: 3,
        reset: 6,
        ..status.services[0].replicas[0].clone()
    };
    let other = ReplicaStatus {
        name: "r2".into(),
        address: [10, 0, 0, 12].into(),
        state: "down".into(),
        effective_weight: 0,
        ..replica.clone()
    };
    status.services[0].replicas = vec![replica, other];
    let mut second_vip = status.services[0].clone();
    second_vip.vip = "2001:db8::10".parse().expect("an address");
    second_vip.replicas[0].new_flows = 100;
    let mut https = status.services[0].clone();
    https.name = "https".into();
    https.state = "down".into();
    https.replicas.iter_mut().for_each(|replica| {
        replica.port = 443;
        replica.state = "down".into();
    });
    status.services.extend([second_vip, https]);
    let mut probes = ProbeCounts::default();
    let key = ReplicaKey { service: "http".into(), address: [10, 0, 0, 11].into(), port: 80 };
    for (milliseconds, error) in [(2, None), (3, None), (2500, Some(Failure::Refused))] {
        let outcome = Outcome { status: None, took: Duration::from_millis(milliseconds), error };
        probes.count(key.clone(), &outcome);
    }
    let http = HttpCounts {
        connections: BTreeMap::from([("half_sent", 8), ("idle", 9)]),
        refused: BTreeMap::from([("half_sent", 11), ("wrong_token", 0)]),
    };
    let flow_log = FlowLogCounts { lines: 40, queue_full: 1, not_written: 2, omitted: 3, overtaken: 4 };
    Snapshot { status, probes, flows: flows(&key), http, flow_log }
}

/// Three handshakes of a replica and two ends, counted for two VIPs.
fn flows(key: &ReplicaKey) -> FlowCounts {
    let mut stats = FlowStats { syns_again: 7, ..FlowStats::default() };
    stats.ends[End::CLOSED.0 as usize] = 3;
    // Not above 100 µs, not above 2.5 ms, and above 5 s.
    stats.connect.buckets = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    stats.connect.sum = 6_002_100;
    stats.duration.buckets[0] = 2;
    stats.duration.sum = 15;
    let other = FlowStats { syns_again: 1, ..FlowStats::default() };
    let mut counts = FlowCounts::new(9);
    counts.add(key.clone(), &stats);
    counts.add(key.clone(), &other);
    // The config no longer has it.
    counts.add(ReplicaKey { service: "gone".into(), ..key.clone() }, &stats);
    counts
}

#[test]
fn a_page_says_what_the_agent_knows() {
    let read = page_of(&everything());
    for (series, value) in [
        ("dtr_lb_build_info{version=\"0\"}", 1.0),
        ("dtr_lb_packets_total{verdict=\"forwarded\"}", 1000.0),
        ("dtr_lb_packets_total{verdict=\"answered_no_port\"}", 2.0),
        (
            "dtr_lb_verdict_info{verdict=\"dropped_late\",action=\"drop\",meaning=\"A late packet of a connection whose \
             client has opened another with the same address and port.\"}",
            1.0,
        ),
        ("dtr_lb_flows", 12.0),
        ("dtr_lb_flow_entries", 30.0),
        ("dtr_lb_flow_capacity", 1024.0),
        ("dtr_lb_flow_entry_capacity", 2048.0),
        ("dtr_lb_table_rewrites_total", 7.0),
        ("dtr_lb_repairs_total{map=\"replicas\"}", 2.0),
        ("dtr_lb_repairs_total{map=\"links\"}", 0.0),
        ("dtr_lb_reloads_total{result=\"ok\"}", 1.0),
        ("dtr_lb_reloads_total{result=\"failed\"}", 2.0),
        ("dtr_lb_http_connections{state=\"half_sent\"}", 8.0),
        ("dtr_lb_http_connections{state=\"idle\"}", 9.0),
        ("dtr_lb_http_refused_total{reason=\"half_sent\"}", 11.0),
        ("dtr_lb_http_refused_total{reason=\"wrong_token\"}", 0.0),
        ("dtr_lb_datapath_attached{interface=\"eth0\",hook=\"xdp\"}", 1.0),
        ("dtr_lb_datapath_up_to_date", 1.0),
        ("dtr_lb_service_up{service=\"http\"}", 1.0),
        ("dtr_lb_service_up{service=\"https\"}", 0.0),
        ("dtr_lb_service_self_suspected{service=\"https\"}", 0.0),
        ("dtr_lb_service_replicas{service=\"http\",state=\"up\"}", 1.0),
        ("dtr_lb_service_replicas{service=\"http\",state=\"down\"}", 1.0),
        ("dtr_lb_service_replicas{service=\"http\",state=\"draining\"}", 0.0),
        ("dtr_lb_replica_up{service=\"http\",replica=\"r1\"}", 1.0),
        ("dtr_lb_replica_up{service=\"http\",replica=\"r2\"}", 0.0),
        ("dtr_lb_replica_state{service=\"http\",replica=\"r2\",state=\"down\"}", 1.0),
        ("dtr_lb_replica_state{service=\"http\",replica=\"r2\",state=\"up\"}", 0.0),
        ("dtr_lb_replica_weight{service=\"http\",replica=\"r2\"}", 100.0),
        ("dtr_lb_replica_effective_weight{service=\"http\",replica=\"r2\"}", 0.0),
        // The sums over both VIPs.
        ("dtr_lb_replica_flows{service=\"http\",replica=\"r1\"}", 8.0),
        ("dtr_lb_replica_new_flows_total{service=\"http\",replica=\"r1\"}", 105.0),
        ("dtr_lb_replica_new_flows_total{service=\"https\",replica=\"r1\"}", 5.0),
        ("dtr_lb_replica_refused_total{service=\"http\",replica=\"r2\"}", 2.0),
        ("dtr_lb_replica_unanswered_total{service=\"http\",replica=\"r2\"}", 4.0),
        ("dtr_lb_replica_redispatched_total{service=\"http\",replica=\"r2\"}", 6.0),
        ("dtr_lb_replica_reset_packets_total{service=\"http\",replica=\"r2\"}", 12.0),
        ("dtr_lb_replica_packets_total{service=\"http\",replica=\"r1\",direction=\"to_replica\"}", 20.0),
        ("dtr_lb_replica_packets_total{service=\"http\",replica=\"r1\",direction=\"to_client\"}", 40.0),
        ("dtr_lb_replica_bytes_total{service=\"http\",replica=\"r1\",direction=\"to_replica\"}", 2000.0),
        ("dtr_lb_replica_bytes_total{service=\"http\",replica=\"r1\",direction=\"to_client\"}", 60_000.0),
        ("dtr_lb_probes_total{service=\"http\",replica=\"r1\",result=\"ok\"}", 2.0),
        ("dtr_lb_probes_total{service=\"http\",replica=\"r1\",result=\"refused\"}", 1.0),
        ("dtr_lb_probe_duration_seconds_bucket{service=\"http\",replica=\"r1\",le=\"0.0025\"}", 1.0),
        ("dtr_lb_probe_duration_seconds_bucket{service=\"http\",replica=\"r1\",le=\"0.005\"}", 2.0),
        ("dtr_lb_probe_duration_seconds_bucket{service=\"http\",replica=\"r1\",le=\"2\"}", 2.0),
        ("dtr_lb_probe_duration_seconds_bucket{service=\"http\",replica=\"r1\",le=\"+Inf\"}", 3.0),
        ("dtr_lb_probe_duration_seconds_count{service=\"http\",replica=\"r1\"}", 3.0),
        ("dtr_lb_probe_duration_seconds_sum{service=\"http\",replica=\"r1\"}", 2.505),
        ("dtr_lb_connect_seconds_bucket{service=\"http\",replica=\"r1\",le=\"0.0001\"}", 1.0),
        ("dtr_lb_connect_seconds_bucket{service=\"http\",replica=\"r1\",le=\"0.001\"}", 1.0),
        ("dtr_lb_connect_seconds_bucket{service=\"http\",replica=\"r1\",le=\"0.0025\"}", 2.0),
        ("dtr_lb_connect_seconds_bucket{service=\"http\",replica=\"r1\",le=\"5\"}", 2.0),
        ("dtr_lb_connect_seconds_bucket{service=\"http\",replica=\"r1\",le=\"+Inf\"}", 3.0),
        ("dtr_lb_connect_seconds_count{service=\"http\",replica=\"r1\"}", 3.0),
        ("dtr_lb_connect_seconds_sum{service=\"http\",replica=\"r1\"}", 6.0021),
        ("dtr_lb_client_rtt_seconds_count{service=\"http\",replica=\"r1\"}", 0.0),
        ("dtr_lb_flow_duration_seconds_bucket{service=\"http\",replica=\"r1\",le=\"0.01\"}", 2.0),
        ("dtr_lb_flow_duration_seconds_bucket{service=\"http\",replica=\"r1\",le=\"3600\"}", 2.0),
        ("dtr_lb_flow_duration_seconds_sum{service=\"http\",replica=\"r1\"}", 0.015),
        ("dtr_lb_flow_ends_total{service=\"http\",replica=\"r1\",end=\"closed\"}", 3.0),
        ("dtr_lb_flow_ends_total{service=\"http\",replica=\"r1\",end=\"replica_reset\"}", 0.0),
        // The sum over both VIPs.
        ("dtr_lb_syns_again_total{service=\"http\",replica=\"r1\"}", 8.0),
        ("dtr_lb_flow_events_lost_total", 9.0),
        // The same ports for both VIPs: no sum.
        ("dtr_lb_nat_ports_used{service=\"http\",replica=\"r1\",nat_address=\"10.0.0.1\"}", 40.0),
        ("dtr_lb_nat_ports{service=\"http\",replica=\"r1\",nat_address=\"10.0.0.1\"}", 31_744.0),
        ("dtr_lb_flow_table_entries{state=\"established\"}", 24.0),
        ("dtr_lb_last_reload_timestamp_seconds", 0.0),
        (
            "dtr_lb_replica_info{service=\"https\",replica=\"r2\",address=\"10.0.0.12\",port=\"443\",mode=\"nat\"}",
            1.0,
        ),
    ] {
        assert_eq!(read.value(series), value, "{series}");
    }
    assert!(read.value("process_cpu_seconds_total") >= 0.0);
    for (name, kind) in &read.kinds {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    }
}

#[test]
fn the_hook_is_called_as_in_the_config_and_trouble_is_0() {
    let mut snapshot = everything();
    snapshot.status.datapath.attach[0].native = false;
    snapshot.status.datapath.attach[0].present = false;
    snapshot.status.datapath.up_to_date = false;
    let read = page_of(&snapshot);
    assert_eq!(read.value("dtr_lb_datapath_attached{interface=\"eth0\",hook=\"xdp-generic\"}"), 0.0);
    assert_eq!(read.value("dtr_lb_datapath_up_to_date"), 0.0);
}

/// Two series with the same labels would make Prometheus refuse the page.
#[test]
fn replicas_of_one_name_are_told_apart_and_odd_names_are_quoted() {
    let mut snapshot = everything();
    let replicas = &mut snapshot.status.services[0].replicas;
    replicas[1].name = "r1".into();
    replicas[0].flows = 40;
    snapshot.status.services[2].replicas[0].name = "a\"b\\c\nd".into();
    let read = page_of(&snapshot);
    assert_eq!(read.value("dtr_lb_replica_flows{service=\"http\",replica=\"r1 10.0.0.11:80\"}"), 44.0);
    assert_eq!(read.value("dtr_lb_replica_flows{service=\"http\",replica=\"r1 10.0.0.12:80\"}"), 8.0);
    assert_eq!(read.value("dtr_lb_replica_flows{service=\"https\",replica=\"a\\\"b\\\\c\\nd\"}"), 4.0);
}

#[test]
fn an_empty_agent_has_a_page() {
    let mut snapshot = everything();
    snapshot.status.services.clear();
    snapshot.status.verdicts.clear();
    snapshot.status.datapath.attach.clear();
    let read = Read::page(&page(&snapshot, None).expect("all names are good"));
    assert!(read.values.contains_key("dtr_lb_flows"));
    assert!(
        !read
            .kinds
            .keys()
            .any(|name| ["replica", "connect_seconds", "process"].iter().any(|word| name.contains(word)))
    );
}
