use std::collections::HashSet;

use super::*;
use crate::lab::topology::{Families, Router, Topology};

const ALL_FAMILIES: [Families; 5] =
    [Families::V4, Families::V6, Families::Dual, Families::V6ToV4, Families::V4ToV6];

fn plan(topology: Topology, change: impl FnOnce(&mut LabOptions)) -> Plan {
    let mut options = LabOptions::new(topology, 3);
    change(&mut options);
    Plan::try_new(&options).unwrap()
}

#[test]
fn addresses_are_those_the_documentation_names() {
    let cases = [
        (Topology::OneArm, "10.77.0.10", "10.77.0.2", "10.77.0.100", "10.77.0.11", 1),
        (Topology::TwoArm, "10.77.1.10", "10.77.1.2", "10.77.1.100", "10.77.2.11", 2),
    ];
    for (topology, vip, balancer, client, replica, arms) in cases {
        let plan = plan(topology, |_| {});
        assert_eq!(plan.vips[0].to_string(), vip);
        assert_eq!(plan.balancer.address().to_string(), balancer);
        assert_eq!(plan.balancer.cables.len(), arms);
        assert_eq!(plan.clients[0].address().to_string(), client);
        assert_eq!(plan.replicas[0].address().to_string(), replica);
        assert!(plan.balancer.batch().contains(&format!("address add {vip}/32 dev eth0\n")));
    }
}

#[test]
fn each_family_is_where_it_is_asked_for() {
    let first = |families, topology| {
        let plan = plan(topology, |options| options.families = families);
        let all =
            |host: &Host| host.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let vips = plan.vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        [vips, all(&plan.clients[0]), all(&plan.replicas[0])]
    };
    for (families, topology, want) in [
        (Families::V6, Topology::OneArm, ["fd77::10", "fd77::100", "fd77::11"]),
        (Families::V6, Topology::TwoArm, ["fd77:0:1::10", "fd77:0:1::100", "fd77:0:2::11"]),
        (
            Families::Dual,
            Topology::OneArm,
            ["10.77.0.10 fd77::10", "10.77.0.100 fd77::100", "10.77.0.11 fd77::11"],
        ),
        (Families::V6ToV4, Topology::TwoArm, ["fd77:0:1::10", "fd77:0:1::100", "10.77.2.11"]),
        (Families::V4ToV6, Topology::OneArm, ["10.77.0.10", "10.77.0.100", "fd77::11"]),
    ] {
        assert_eq!(first(families, topology), want, "{families:?} {topology:?}");
    }
    // A balancer with one arm talks to both.
    let mixed = plan(Topology::OneArm, |options| options.families = Families::V6ToV4);
    let own = mixed.balancer.addresses();
    assert!(own.iter().any(IpAddr::is_ipv4) && own.iter().any(IpAddr::is_ipv6), "{own:?}");
}

/// In all shapes at once: names, ports and addresses are each used once, and fit.
#[test]
fn the_largest_plan_has_no_clash_and_every_name_fits() {
    for topology in [Topology::OneArm, Topology::TwoArm] {
        for families in ALL_FAMILIES {
            let mut options = LabOptions::new(topology, MOST_REPLICAS);
            options.clients = MOST_CLIENTS;
            options.vips = MOST_VIPS;
            options.families = families;
            options.direct = true;
            options.router = Some(Router { mtu: Some(1400) });
            options.replica_router = Some(Router { mtu: Some(1400) });
            let plan = Plan::try_new(&options).unwrap();
            let cables: Vec<_> = plan.hosts().flat_map(|host| &host.cables).collect();
            let ports: HashSet<_> = cables.iter().map(|cable| &cable.switch_port).collect();
            assert_eq!(ports.len(), cables.len());
            assert!(ports.iter().all(|port| port.len() <= 15), "a link's name has at most 15 characters");
            assert!(plan.segments.iter().all(|segment| segment.bridge.len() <= 15));
            let addresses: Vec<_> = cables.iter().flat_map(|cable| &cable.addresses).collect();
            let distinct: HashSet<_> = addresses.iter().map(|cidr| cidr.address).collect();
            assert_eq!(distinct.len(), addresses.len());
            let bridges: HashSet<_> = plan.segments.iter().map(|segment| segment.bridge).collect();
            assert!(cables.iter().all(|cable| bridges.contains(cable.segment.bridge)));
            assert_eq!(bridges.len(), plan.segments.len());
        }
    }
}

#[test]
fn sizes_outside_the_plan_are_refused() {
    for (clients, replicas, vips) in [
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 0),
        (MOST_CLIENTS + 1, 1, 1),
        (1, MOST_REPLICAS + 1, 1),
        (1, 1, MOST_VIPS + 1),
    ] {
        let options = LabOptions { clients, vips, ..LabOptions::new(Topology::OneArm, replicas) };
        assert!(matches!(Plan::try_new(&options), Err(Error::Size { .. })));
    }
}
