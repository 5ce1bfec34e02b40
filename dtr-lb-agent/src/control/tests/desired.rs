//! What the config says and nobody has to find out.

use std::net::Ipv6Addr;

use super::*;

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

fn one(service: &str, overrides: &[&str]) -> Control {
    let service = format!("service=[{{ name = \"http\", port = 80, {service} }}]");
    control(&[&[service.as_str()], overrides].concat())
}

#[test]
fn mode_affinity_and_sources_are_passed_on() {
    let plain = desired(&control(&[]), at(0.0));
    assert_eq!((plain.mode, plain.source_affinity, &plain.sources[..]), (abi::Mode::NAT, false, &[][..]));
    let control = one(
        "mode = \"dsr\", affinity = \"source-ip\", allow = [\"10.0.0.0/8\"], deny = [\"10.9.0.0/16\"]",
        &[],
    );
    let desired = desired(&control, at(0.0));
    assert_eq!((desired.mode, desired.source_affinity), (abi::Mode::DSR, true));
    let rules: Vec<_> = desired.sources.iter().map(|rule| (rule.prefix.to_string(), rule.allow)).collect();
    let expected = [("10.0.0.0/8", true), ("10.9.0.0/16", false), ("0.0.0.0/0", false), ("::/0", false)]
        .map(|(p, a)| (p.to_owned(), a));
    assert_eq!(rules, expected);
}

#[test]
fn where_the_clients_address_stays_there_is_no_nat_address() {
    let mut control = one("mode = \"dnat\"", &["datapath.nat_addresses=[\"10.0.0.2\"]"]);
    let hop = |address: IpAddr| (address, Ok(NextHop { source: v6(2), ..next_hop("eth0", 1) }));
    let changes = control.next_hops([11, 12, 13].map(|last| hop(address(last))).into());
    assert!(!changes.iter().any(|change| matches!(change, Change::NoNatAddress { .. })), "{changes:?}");
    let desired = desired(&control, at(0.0));
    assert_eq!(desired.mode, abi::Mode::DNAT);
    assert!(desired.replicas.iter().all(|replica| replica.nat.is_empty() && replica.hop.is_some()));
}

#[test]
fn all_vips_of_a_service_are_alike() {
    let control = control(&["vip=[\"10.0.0.10\", \"2001:db8::10\"]"]);
    let desired = control.desired(at(0.0).clock);
    assert_eq!(desired.services.len(), 4);
    for port in [80, 443] {
        let [v4, v6] = [address(10), v6(0x10)].map(|vip| &desired.services[&service_key(vip, port)]);
        assert_eq!(v4, v6);
    }
}

#[test]
fn nat_addresses_are_of_the_replicas_family() {
    let hop = |source| Ok(NextHop { source, ..next_hop("eth0", 1) });
    let hops = || -> NextHops {
        [(address(11), hop(address(2))), (v6(0x12), hop(v6(2))), (address(13), hop(address(3)))].into()
    };
    // Configured addresses, and what the IPv4 replicas and the IPv6 one get.
    let cases: [(&[IpAddr], &[IpAddr], &[IpAddr]); 4] = [
        (&[], &[address(2)], &[v6(2)]),
        (&[address(7), address(8)], &[address(7), address(8)], &[v6(2)]),
        (&[v6(7)], &[address(2)], &[v6(7)]),
        (&[address(7), v6(7)], &[address(7)], &[v6(7)]),
    ];
    for (configured, for_v4, for_v6) in cases {
        let mut overrides = vec!["replica.1.address=2001:db8::12".to_owned()];
        if !configured.is_empty() {
            overrides.push(format!(
                "datapath.nat_addresses={:?}",
                configured.iter().map(ToString::to_string).collect::<Vec<_>>()
            ));
        }
        let mut control = control(&overrides.iter().map(String::as_str).collect::<Vec<_>>());
        control.next_hops(hops());
        let replicas = desired(&control, at(0.0)).replicas;
        assert_eq!((&replicas[0].nat[..], &replicas[1].nat[..]), (for_v4, for_v6), "{configured:?}");
    }
}

#[test]
fn a_replica_without_a_nat_address_is_told_once_and_keeps_its_weight() {
    let mut control = control(&["replica.1.address=2001:db8::12"]);
    let hops = |source| -> NextHops { [(v6(0x12), Ok(NextHop { source, ..next_hop("eth0", 1) }))].into() };
    let told = |changes: Vec<Change>| changes.contains(&Change::NoNatAddress { address: v6(0x12) });
    assert!(told(control.next_hops(hops(address(2)))), "an IPv4 address is of no use to it");
    let replica = desired(&control, at(0.0)).replicas[1].clone();
    assert_eq!((replica.nat.len(), replica.weight), (0, 50));
    assert!(!told(control.next_hops(hops(address(3)))), "told once");
    assert!(!told(control.next_hops(hops(v6(2)))));
    assert_eq!(desired(&control, at(0.0)).replicas[1].nat, [v6(2)]);
    assert!(told(control.next_hops(hops(address(2)))), "it was well in between");
}

#[test]
fn other_modes_need_no_nat_address() {
    let hops: NextHops = [(address(11), Ok(next_hop("eth0", 11)))].into();
    let mut dsr = one("mode = \"dsr\"", &[]);
    dsr.next_hops(hops.clone());
    let replica = desired(&dsr, at(0.0)).replicas[0].clone();
    assert_eq!((replica.nat.len(), replica.mtu), (0, 1500));

    let mut ipip = one(
        "mode = \"ipip\"",
        &["replica.1.address=2001:db8::12", "datapath.tunnel_sources=[\"10.99.0.0/16\"]"],
    );
    let stranger = NextHop { source: address(2), ..next_hop("eth0", 12) };
    let changes = ipip.next_hops([(v6(0x12), Ok(stranger))].into());
    assert!(!changes.iter().any(|change| matches!(change, Change::NoNatAddress { .. })), "{changes:?}");
    let nats: Vec<_> = desired(&ipip, at(0.0)).replicas.into_iter().map(|replica| replica.nat).collect();
    let [v4_source, v6_source]: [IpAddr; 2] =
        ["10.99.0.0", "100::"].map(|text| text.parse().expect("an address"));
    assert_eq!(nats, [[v4_source], [v6_source], [v4_source]]);
}
