use std::time::Duration;

use super::*;
use crate::probe::Failure;

fn status(present: bool, outcome: &Outcome) -> Status {
    let condition = Condition {
        state: ReplicaState::Up,
        since: Timestamp::UNIX_EPOCH,
        reason: Some("status 200".into()),
        last_probe: Some(outcome.clone()),
    };
    let replica = Replica {
        name: "r1".into(),
        address: [10, 0, 0, 11].into(),
        port: 80,
        weight: 100,
        slow_start: Duration::ZERO,
    };
    Status {
        version: "0".into(),
        datapath: DatapathStatus {
            attach: vec![AttachStatus {
                interface: "eth0".into(),
                hook: "xdp".into(),
                native: true,
                present,
            }],
            attach_reason: "as configured".into(),
            adopted: false,
            flow_entries: 0,
            max_flows: 1024,
        },
        services: vec![ServiceStatus {
            name: "http".into(),
            vip: [10, 0, 0, 10].into(),
            port: 80,
            mode: "nat".into(),
            state: "up".into(),
            replicas: vec![replica_status(&replica, &condition, 100, Default::default())],
        }],
        verdicts: BTreeMap::new(),
    }
}

#[test]
fn that_this_host_cannot_probe_is_shown() {
    let error = Some(Failure::Local { reason: "Too many open files".into() });
    let status = status(true, &Outcome { status: None, took: Duration::ZERO, error });
    let replica = &status.services[0].replicas[0];
    assert_eq!(replica.state, "up", "it is no word about the replica");
    let probe = replica.last_probe.as_ref().expect("there was a probe");
    assert!(!probe.ok && probe.error.as_ref().is_some_and(|error| error.contains("Too many open files")));
    assert!(status.text().contains("this host could not ask: Too many open files"), "{}", status.text());
}

#[test]
fn a_missing_interface_is_shown() {
    let good = Outcome { status: Some(200), took: Duration::from_millis(2), error: None };
    let (here, gone) = (status(true, &good), status(false, &good));
    assert!(here.text().contains("datapath eth0 native xdp (as configured)"), "{}", here.text());
    assert!(gone.text().contains("datapath eth0 native xdp MISSING (as configured)"), "{}", gone.text());
}
