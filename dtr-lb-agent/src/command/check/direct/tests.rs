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
fn a_probe_of_another_port_is_told() {
    for (mode, port, scheme, told) in [
        (Mode::Dsr, 443, Scheme::Https, 0),
        (Mode::Dsr, 8443, Scheme::Https, 1),
        (Mode::Ipip, 8443, Scheme::Tcp, 1),
        (Mode::Ipip, 8443, Scheme::None, 0),
        (Mode::Nat, 8443, Scheme::Https, 0),
        (Mode::Dnat, 8443, Scheme::Https, 0),
    ] {
        let mut config = config(mode);
        config.services[0].probe.port = port;
        config.services[0].probe.scheme = scheme;
        let mut report = Report::default();
        report.probed_ports(&config);
        assert_eq!(report.warnings.len(), told, "{mode} {port}: {report:?}");
    }
}

#[test]
fn that_probes_cannot_be_steered_keeps_the_agent_from_starting() {
    let old = || DatapathError::Clock { reason: "an old kernel".into() };
    for (mode, attach, scheme, kernel, told) in [
        (Mode::Dsr, Attach::Auto, Scheme::Https, Ok(()), 0),
        (Mode::Dsr, Attach::XdpGeneric, Scheme::Https, Ok(()), 1),
        (Mode::Ipip, Attach::XdpGeneric, Scheme::Tcp, Err(old()), 2),
        (Mode::Ipip, Attach::XdpGeneric, Scheme::None, Err(old()), 0),
        (Mode::Nat, Attach::XdpGeneric, Scheme::Https, Err(old()), 0),
        (Mode::Dnat, Attach::XdpGeneric, Scheme::Https, Err(old()), 0),
    ] {
        let mut config = config(mode);
        config.datapath.attach = attach;
        config.services[0].probe.scheme = scheme;
        let mut report = Report::default();
        report.steering(&config, kernel);
        assert_eq!(report.errors.len(), told, "{mode} {attach} {scheme}: {report:?}");
    }
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
        let mut report = Report::default();
        let next_hops = NextHops::from([(ip("10.0.0.11"), hop(mtu, 11)), (ip("10.0.0.12"), hop(9000, 12))]);
        report.tunnels(&config(mode), &next_hops, &seen);
        match (fits, &report.warnings[..]) {
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
    let mut report = Report::default();
    report.tunnels(&to_v6, &NextHops::from([(ip("fd00::11"), hop(1500, 11))]), &seen);
    assert!(report.warnings[0].contains("takes 40 of the 1500 bytes"), "{report:?}");
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
        let mut report = Report::default();
        report.answered(ip(vip), is_direct, "eth0", [2, 0, 0, 0, 0, mac], &next_hops);
        assert!(words.iter().all(|word| report.warnings[0].contains(word)), "{report:?}");
    }
}

#[test]
fn a_router_on_the_way_and_a_strict_filter_are_told() {
    let mut report = Report::default();
    report.behind_router(ip("10.9.0.11"), ip("10.0.0.254"));
    assert!(
        report.warnings[0].contains("10.0.0.254") && report.warnings[0].contains("\"ipip\""),
        "{report:?}"
    );
    let interfaces = ["eth0".to_owned(), "eth1".to_owned()];
    for (all, eth0, eth1, told) in [
        (Some("0\n"), Some("0\n"), Some("0\n"), 0),
        (Some("1\n"), Some("0\n"), Some("2\n"), 1),
        (Some("0\n"), Some("1\n"), Some("1\n"), 2),
        (Some("2\n"), Some("1\n"), Some("1\n"), 0),
        (None, None, None, 0),
    ] {
        let mut report = Report::default();
        report.reverse_path(&interfaces, |name| {
            let value = match name {
                "all" => all,
                "eth0" => eth0,
                _ => eth1,
            };
            value.map(str::to_owned)
        });
        assert_eq!(report.warnings.len(), told, "{all:?} {eth0:?} {eth1:?}: {report:?}");
    }
}
