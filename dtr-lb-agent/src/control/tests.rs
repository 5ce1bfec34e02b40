//! The decisions, from outside: reports, counters, next hops and time in; changes and what is desired out.

mod agent_check;
mod answers;
mod any_history;
mod backup;
mod desired;
mod health;
mod machine_model;
mod on_down;
mod one_line;
mod passive;
mod reconfigure;
mod slow_start;
mod suspicion;
mod transition_table;

use std::{net::Ipv4Addr, sync::LazyLock, time::Duration};

use dtr_lb_common::abi::Vlans;

use super::*;
use crate::{
    config::HostFacts,
    next_hop::Carrier,
    probe::{Failure, Outcome},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// So many seconds after the start.
fn at(seconds: f64) -> Moment {
    let clock = *START + Duration::from_secs_f64(seconds);
    Moment { clock, time: Timestamp::UNIX_EPOCH + Duration::from_secs_f64(seconds) }
}

const CONFIG: &str = r#"
vip = "10.0.0.10"
interfaces = ["eth0"]
[[replica]]
address = "10.0.0.11"
[[replica]]
address = "10.0.0.12"
weight = 50
[[replica]]
address = "10.0.0.13"
"#;

fn control(overrides: &[&str]) -> Control {
    let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    let config = Config::parse(CONFIG, "test", &overrides, &host).unwrap_or_else(|error| panic!("{error}"));
    Control::new(Arc::new(config), Timestamp::UNIX_EPOCH)
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// As many probes in a row as take `rise` or `fall`, at most: by default 2 and 3.
const ENOUGH: u32 = 3;

/// As many probes of a replica of the first service as it takes, in one report.
fn probed(control: &mut Control, replica: usize, from: ReplicaHealth, to: ReplicaHealth) -> Vec<Change> {
    let error = (to != ReplicaHealth::Up).then_some(Failure::Refused);
    probes_at(control, at(0.0), replica, error, if from == to { 1 } else { ENOUGH })
}

/// One probe.
fn probed_at(control: &mut Control, now: Moment, replica: usize, error: Option<Failure>) -> Vec<Change> {
    probes_at(control, now, replica, error, 1)
}

/// The outcome of so many probes in a row.
fn probes_at(
    control: &mut Control,
    now: Moment,
    replica: usize,
    error: Option<Failure>,
    in_a_row: u32,
) -> Vec<Change> {
    let outcome = Outcome { status: None, took: Duration::from_millis(1), error };
    let id = key(control, 0, replica);
    control.report(
        Report { id, outcome, agent: None, in_a_row, opposite: false, late: Duration::ZERO },
        0,
        now,
    )
}

/// By their places in the config.
fn key(control: &Control, service: usize, replica: usize) -> ReplicaKey {
    let service = &control.config().services[service];
    ReplicaKey::new(service, &service.replicas[replica])
}

/// A control whose first service has all three replicas up.
fn all_up(overrides: &[&str]) -> Control {
    let mut control = control(overrides);
    for replica in 0..3 {
        probed(&mut control, replica, ReplicaHealth::Starting, ReplicaHealth::Up);
    }
    control
}

/// The first service.
fn desired(control: &Control, now: Moment) -> DesiredService {
    control.desired(now.clock).services[&service_key(address(10), 80)].clone()
}

fn shares_at(control: &Control, now: Moment) -> Vec<u16> {
    let shares: Vec<_> = desired(control, now).replicas.iter().map(|replica| replica.weight).collect();
    assert_eq!(control.shares(0, now.clock), shares, "the status says what is written");
    shares
}

fn shares(control: &Control) -> Vec<u16> {
    shares_at(control, at(0.0))
}

fn states(control: &Control) -> Vec<&'static str> {
    control.conditions(0).map(|condition| condition.state.as_str()).collect()
}

/// Each change of a replica's state: which, to what, and why.
fn transitions<'a>(changes: &'a [Change]) -> Vec<(&'a str, &'static str, &'a str)> {
    let of = |change: &'a Change| match change {
        Change::Replica(ReplicaChange { replica, to, reason, .. }) => {
            Some((replica.as_str(), to.as_str(), reason.as_str()))
        }
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

fn next_hop(interface: &str, last: u8) -> NextHop {
    NextHop {
        ifindex: 3,
        interface: interface.into(),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, last],
        source: address(2),
        mtu: 1500,
        carriers: Vec::new(),
    }
}

#[test]
fn only_replicas_that_are_up_get_new_flows() {
    let mut control = control(&[]);
    assert_eq!(shares(&control), [100, 50, 100], "nothing is known yet: fail-open");
    probed(&mut control, 1, ReplicaHealth::Starting, ReplicaHealth::Up);
    assert_eq!(shares(&control), [0, 50, 0], "one is known to be good");
    probed(&mut control, 0, ReplicaHealth::Starting, ReplicaHealth::Up);
    assert_eq!(shares(&control), [100, 50, 0]);
    probed(&mut control, 1, ReplicaHealth::Up, ReplicaHealth::Down);
    assert_eq!(shares(&control), [100, 0, 0]);
}

#[test]
fn with_none_up_fail_open_prefers_those_not_known_to_be_bad() {
    let mut control = control(&[]);
    probed(&mut control, 0, ReplicaHealth::Starting, ReplicaHealth::Down);
    assert_eq!(shares(&control), [0, 50, 100]);
    probed(&mut control, 1, ReplicaHealth::Starting, ReplicaHealth::Down);
    probed(&mut control, 2, ReplicaHealth::Starting, ReplicaHealth::Down);
    assert_eq!(shares(&control), [100, 50, 100], "all are bad: all are tried");
}

#[test]
fn with_none_up_refuse_refuses() {
    let mut control = control(&["datapath.all_down=refuse"]);
    assert_eq!(shares(&control), [0, 0, 0]);
    probed(&mut control, 2, ReplicaHealth::Starting, ReplicaHealth::Up);
    assert_eq!(shares(&control), [0, 0, 100]);
}

#[test]
fn a_weight_of_zero_is_draining_and_never_chosen() {
    let mut control = control(&["replica.0.weight=0"]);
    assert_eq!(shares(&control), [0, 50, 100]);
    let changes = probed(&mut control, 0, ReplicaHealth::Starting, ReplicaHealth::Up);
    assert_eq!(transitions(&changes), [("10.0.0.11", "draining", "it answers; its weight is 0")]);
    assert_eq!(shares(&control), [0, 50, 100], "the only one that answers takes nothing");
    assert_eq!(service_change(&changes), None, "one that drains makes no service up");
    assert_eq!(states(&control), ["draining", "starting", "starting"]);
    let changes = probed(&mut control, 0, ReplicaHealth::Up, ReplicaHealth::Down);
    assert_eq!(transitions(&changes), [("10.0.0.11", "down", "connection refused")]);
}

#[test]
fn a_service_whose_weights_are_all_zero_says_so() {
    let mut control = control(&["replica.0.weight=0", "replica.1.weight=0", "replica.2.weight=0"]);
    let mut changes = Vec::new();
    for replica in 0..3 {
        changes = probed(&mut control, replica, ReplicaHealth::Starting, ReplicaHealth::Up);
    }
    let Some(Change::Service { up: false, consequence, .. }) = changes.last() else { panic!("{changes:?}") };
    assert!(consequence.contains("all weights are 0"), "{consequence}");
    assert_eq!(shares(&control), [0, 0, 0]);
}

#[test]
fn a_change_of_state_is_told_once_with_its_reason() {
    let mut control = control(&[]);
    let changes = probed(&mut control, 0, ReplicaHealth::Starting, ReplicaHealth::Up);
    assert!(matches!(&changes[..], [Change::Replica(change), Change::Service { up: true, .. }]
        if change.replica == "10.0.0.11" && change.to == ReplicaState::Up));
    assert_eq!(probed(&mut control, 0, ReplicaHealth::Up, ReplicaHealth::Up), []);
    let changes = probed(&mut control, 0, ReplicaHealth::Up, ReplicaHealth::Down);
    let Change::Replica(ReplicaChange { reason, port: 80, .. }) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(*reason, Failure::Refused.to_string());
    assert!(matches!(changes[1], Change::Service { up: false, .. }));
}

fn service_change(changes: &[Change]) -> Option<bool> {
    changes.iter().find_map(|change| match change {
        Change::Service { up, .. } => Some(*up),
        _ => None,
    })
}

#[test]
fn a_service_without_a_replica_from_the_start_is_told_once_it_is_certain() {
    let mut control = control(&[]);
    let down = |control: &mut Control, replica| {
        service_change(&probed(control, replica, ReplicaHealth::Starting, ReplicaHealth::Down))
    };
    assert_eq!(down(&mut control, 0), None);
    assert_eq!(down(&mut control, 1), None, "one is still starting");
    assert_eq!(down(&mut control, 2), Some(false));
    assert_eq!(service_change(&probed(&mut control, 0, ReplicaHealth::Down, ReplicaHealth::Up)), Some(true));
    assert_eq!(
        service_change(&probed(&mut control, 1, ReplicaHealth::Down, ReplicaHealth::Up)),
        None,
        "it is up already"
    );
    assert_eq!(service_change(&probed(&mut control, 1, ReplicaHealth::Up, ReplicaHealth::Down)), None);
    assert_eq!(service_change(&probed(&mut control, 0, ReplicaHealth::Up, ReplicaHealth::Down)), Some(false));
}

#[test]
fn losing_the_only_one_that_is_up_is_told_though_another_is_starting() {
    let mut control = control(&[]);
    assert_eq!(
        service_change(&probed(&mut control, 0, ReplicaHealth::Starting, ReplicaHealth::Up)),
        Some(true)
    );
    assert_eq!(service_change(&probed(&mut control, 0, ReplicaHealth::Up, ReplicaHealth::Down)), Some(false));
    assert_eq!(
        service_change(&probed(&mut control, 1, ReplicaHealth::Starting, ReplicaHealth::Down)),
        None,
        "it was told"
    );
    assert_eq!(service_change(&probed(&mut control, 2, ReplicaHealth::Starting, ReplicaHealth::Down)), None);
}

#[test]
fn that_this_host_cannot_ask_is_told_once_and_changes_nothing() {
    let mut control = control(&[]);
    probed(&mut control, 0, ReplicaHealth::Starting, ReplicaHealth::Up);
    let ask = |control: &mut Control, error| {
        let outcome = Outcome { status: None, took: Duration::ZERO, error };
        let id = key(control, 0, 0);
        let report = Report { id, outcome, agent: None, in_a_row: 1, opposite: false, late: Duration::ZERO };
        control.report(report, 0, at(0.0))
    };
    let local = Failure::Local { reason: "Too many open files".into() };
    let changes = ask(&mut control, Some(local.clone()));
    assert!(
        matches!(&changes[..], [Change::Probing { failure: Some(why), .. }] if why.contains("open files")),
        "{changes:?}"
    );
    assert_eq!(ask(&mut control, Some(local.clone())), []);
    let condition = control.conditions(0).next().expect("there are three");
    assert_eq!(condition.state, ReplicaState::Up);
    assert_eq!(
        condition.last_probe.as_ref().and_then(|probe| probe.error.clone()),
        Some(local),
        "for the status"
    );
    assert!(matches!(&ask(&mut control, None)[..], [Change::Probing { failure: None, .. }]));
    assert_eq!(ask(&mut control, Some(Failure::Closed)), []);
}

#[test]
fn a_path_that_is_narrower_than_an_ingress_is_told_once() {
    let mut control = control(&[]);
    let narrow = |changes: &[Change]| {
        let of = |change: &Change| match change {
            Change::NarrowPath { address, mtu, ingress, ingress_mtu } => {
                Some((*address, *mtu, ingress.clone(), *ingress_mtu))
            }
            _ => None,
        };
        changes.iter().filter_map(of).collect::<Vec<_>>()
    };
    let hops = |mtu: u32| -> NextHops {
        let hop = |mtu| Ok(NextHop { mtu, ..next_hop("eth0", 11) });
        [(address(11), hop(mtu)), (address(12), hop(9000))].into()
    };
    let mtus = || [("eth0".to_owned(), 1500), ("eth1".to_owned(), 9000)];
    assert_eq!(narrow(&control.next_hops(hops(1500))), [], "no ingress is known yet");
    assert_eq!(narrow(&control.ingress(mtus())), [(address(11), 1500, "eth1".to_owned(), 9000)]);
    assert_eq!(narrow(&control.ingress(mtus())), []);
    assert_eq!(narrow(&control.next_hops(hops(1400))), [], "told already");
    assert_eq!(narrow(&control.next_hops(hops(9000))), []);
    assert_eq!(narrow(&control.next_hops(hops(1500))).len(), 1, "it was well in between");
}

#[test]
fn a_next_hop_makes_hop_and_nat_address() {
    let mut control = control(&[]);
    let hops: NextHops = [(address(11), Ok(next_hop("eth0", 11)))].into();
    let changes = control.next_hops(hops.clone());
    assert!(matches!(&changes[..], [Change::NextHop { .. }]));
    assert_eq!(control.next_hops(hops), [], "told once");
    let replicas = desired(&control, at(0.0)).replicas;
    assert_eq!((&replicas[0].nat[..], replicas[0].mtu), (&[address(2)][..], 1500));
    let hop = replicas[0].hop.expect("it is known");
    assert_eq!(bytemuck::bytes_of(&hop.destination), [2, 0, 0, 0, 0, 11]);
    assert_eq!(
        (replicas[1].hop, replicas[1].nat.len(), replicas[1].mtu),
        (None, 0, 0),
        "nothing is known of the others"
    );
}

#[test]
fn a_vlan_interface_is_reached_by_the_one_that_carries_it() {
    let mut control = control(&[]);
    let vlans = Vlans(0x14_100a);
    let carrier = Carrier { ifindex: 2, interface: "eth0".into(), vlans };
    let by_vlan = NextHop { carriers: vec![carrier], ..next_hop("eth0.20", 11) };
    let changes = control.next_hops([(address(11), Ok(by_vlan))].into());
    assert!(matches!(&changes[..], [Change::NextHop { .. }]), "{changes:?}");
    let hop = desired(&control, at(0.0)).replicas[0].hop.expect("it is known");
    assert_eq!((hop.interface, hop.vlans), (2, vlans));
    assert_eq!(bytemuck::bytes_of(&hop.destination), [2, 0, 0, 0, 0, 11]);
}

#[test]
fn an_interface_without_datapath_is_told() {
    let mut control = control(&[]);
    let changes = control.next_hops([(address(11), Ok(next_hop("eth9", 11)))].into());
    assert!(changes.contains(&Change::UnseenInterface { address: address(11), interface: "eth9".into() }));
}

#[test]
fn it_is_informed_when_all_is_known() {
    let mut control = control(&[]);
    assert!(!control.informed());
    let hops = control.addresses().into_iter().map(|address| (address, Ok(next_hop("eth0", 1)))).collect();
    control.next_hops(hops);
    for service in 0..2 {
        for replica in 0..3 {
            assert!(!control.informed());
            let outcome = Outcome { status: Some(200), took: Duration::ZERO, error: None };
            let id = key(&control, service, replica);
            let report =
                Report { id, outcome, agent: None, in_a_row: 1, opposite: false, late: Duration::ZERO };
            control.report(report, 0, at(0.0));
        }
    }
    assert!(control.informed());
}
