use super::*;
use crate::{config::HostFacts, interface::Link};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

fn config(mode: Mode) -> Config {
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\", \"eth1\"]\n[[replica]]\naddress = \"10.0.0.11\"\n\
                [[replica]]\naddress = \"10.0.0.12\"\n[[service]]\nname = \"https\"\nport = 443\n";
    let host = HostFacts { ephemeral_ports: 32768..=60999 };
    let mut config = Config::parse(text, "test", &[], &host).expect("the config is valid");
    config.services[0].mode = mode;
    config
}

fn seen(name: &str, mtu: u32) -> Seen {
    Seen {
        name: name.into(),
        link: Some(Link { index: 2, mtu, up: true, xdp_program: None, carriers: Vec::new() }),
    }
}

fn hop(mtu: u32, mac: u8) -> Result<NextHop, NextHopError> {
    Ok(NextHop {
        ifindex: 2,
        interface: "eth0".into(),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, mac],
        source: ip("10.0.0.1"),
        mtu,
        carriers: Vec::new(),
    })
}

#[test]
fn a_way_that_is_too_narrow_for_packets_in_others_is_told_with_what_fits() {
    let seen = [seen("eth0", 1500), seen("eth1", 1400)];
    for (mode, mtu, fits) in [
        (Mode::Ipip, 1500, Some("more than 1480 bytes")),
        (Mode::Ipip, 1519, Some("more than 1499 bytes")),
        (Mode::Ipip, 1520, None),
        (Mode::Dsr, 1500, None),
        (Mode::Nat, 1500, None),
    ] {
        let mut found = Findings::default();
        let next_hops = NextHops::from([(ip("10.0.0.11"), hop(mtu, 11)), (ip("10.0.0.12"), hop(9000, 12))]);
        found.tunnels(&config(mode), &next_hops, &seen);
        match (fits, &found.warnings[..]) {
            (None, []) => {}
            (Some(words), [warning]) => {
                assert!(warning.contains(words) && warning.contains("10.0.0.11"), "{warning}");
                assert!(warning.contains("to 1520,"), "{warning}");
            }
            other => panic!("{mode} {mtu}: {other:?}"),
        }
    }
    let mut to_v6 = config(Mode::Ipip);
    to_v6.services[0].replicas[0].address = ip("fd00::11");
    let mut found = Findings::default();
    found.tunnels(&to_v6, &NextHops::from([(ip("fd00::11"), hop(1500, 11))]), &seen);
    assert!(found.warnings[0].contains("takes 40 of the 1500 bytes"), "{found:?}");
}

#[test]
fn who_answers_for_a_vip_is_named_if_it_is_a_replica() {
    let next_hops = NextHops::from([
        (ip("10.0.0.11"), hop(1500, 11)),
        (ip("10.0.0.12"), Err(NextHopError::NoSource { address: ip("10.0.0.12"), interface: "eth0".into() })),
    ]);
    for (vip, is_direct, mac, words) in [
        ("10.0.0.10", true, 11, ["by ARP on interface eth0 by replica 10.0.0.11", "arp_ignore = 1"]),
        ("10.0.0.10", false, 11, ["by ARP on interface eth0 by replica 10.0.0.11", "take the VIP off"]),
        ("fd00::10", true, 11, ["by neighbour discovery", "off its other interfaces"]),
        ("10.0.0.10", true, 77, ["by another host (MAC 02:00:00:00:00:4d)", "take the VIP off"]),
    ] {
        let mut found = Findings::default();
        found.answered(ip(vip), is_direct, "eth0", [2, 0, 0, 0, 0, mac], &next_hops);
        assert!(words.iter().all(|word| found.warnings[0].contains(word)), "{found:?}");
    }
}

#[test]
fn what_to_set_names_the_address_of_this_host() {
    let mut found = Findings::default();
    let address = |last| IpAddr::from([10, 0, 0, last]);
    found.route_to_set(address(11), address(1));
    assert!(found.facts[0].contains("replica 10.0.0.11") && found.facts[0].contains("by 10.0.0.1 "));
}
