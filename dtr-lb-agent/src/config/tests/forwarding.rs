//! Families, modes, tunnels, and who may connect: what goes together and what does not.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{SERVICE, case, check, parse, parse_with, service, short_and, valid};
use crate::config::Mode;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn whoever_is_not_in_allow_is_denied_by_a_prefix_of_length_0() {
    let cases: [(&str, &[&str], &[&str]); 11] = [
        ("", &[], &[]),
        ("deny = []", &[], &[]),
        ("allow = [\"0.0.0.0/0\", \"::/0\"]", &[], &[]),
        ("allow = [\"10.0.0.0/8\", \"0.0.0.0/0\", \"::/0\"]", &[], &[]),
        ("deny = [\"10.0.0.0/8\"]", &[], &["10.0.0.0/8"]),
        ("allow = [\"0.0.0.0/0\"]", &["0.0.0.0/0"], &["::/0"]),
        ("deny = [\"::/0\"]", &["0.0.0.0/0"], &["::/0"]),
        ("deny = [\"::/16\", \"0.0.0.0/0\"]", &[], &["::/16", "0.0.0.0/0"]),
        ("deny = [\"2000::/3\"]", &[], &["2000::/3"]),
        ("allow = [\"10.1.0.0/16\"]", &["10.1.0.0/16"], &["0.0.0.0/0", "::/0"]),
        (
            "allow = [\"10.1.0.0/16\"]\ndeny = [\"10.1.2.0/24\", \"::/0\"]",
            &["10.1.0.0/16"],
            &["10.1.2.0/24", "::/0", "0.0.0.0/0"],
        ),
    ];
    for (lines, allowed, denied) in cases {
        let access = &valid(&service(lines)).services[0].access;
        assert_eq!((&access.allowed, &access.denied), (&nets(allowed), &nets(denied)), "{lines}");
        assert_eq!(access.is_empty(), denied.is_empty());
    }
}

#[test]
fn families_and_modes_that_go_together() {
    let with = |vips: &str, replicas: &[&str], mode: &str| {
        let tables: String =
            replicas.iter().map(|address| format!("[[replica]]\naddress = \"{address}\"\n")).collect();
        format!(
            "vip = {vips}\ninterfaces = [\"eth0\"]\n{tables}[[service]]\nname = \"a\"\nport = 443\nmode = \"{mode}\"\n"
        )
    };
    let (v4, v6, both) = ("\"10.0.0.10\"", "\"2001:db8::10\"", "[\"10.0.0.10\", \"2001:db8::10\"]");
    let cases: [(&str, &[&str], Mode); 10] = [
        (both, &["10.0.0.11", "2001:db8::11"], Mode::Nat),
        (v6, &["10.0.0.11"], Mode::Nat),
        (v4, &["2001:db8::11"], Mode::Nat),
        (v4, &["10.0.0.11"], Mode::Dsr),
        (v6, &["2001:db8::11"], Mode::Dsr),
        (v4, &["10.0.0.11", "2001:db8::11"], Mode::Ipip),
        (v6, &["2001:db8::11"], Mode::Ipip),
        (both, &["2001:db8::11"], Mode::Ipip),
        (v4, &["10.0.0.11"], Mode::Dnat),
        (v6, &["2001:db8::11"], Mode::Dnat),
    ];
    for (vips, replicas, mode) in cases {
        let config = valid(&with(vips, replicas, mode.as_str()));
        assert_eq!((config.services[0].mode, config.services[0].replicas.len()), (mode, replicas.len()));
    }
    // The port may be written, if it is the same.
    valid(&format!("{}replica_port = 443\n", with(v4, &["10.0.0.11"], "dsr")));
    // Where it is rewritten it may be another.
    valid(&format!("{}replica_port = 8443\n", with(v4, &["10.0.0.11"], "dnat")));
}

#[test]
fn the_default_services_take_both_families() {
    let config = parse_with(
        &short_and("[[replica]]\naddress = \"2001:db8::13\""),
        &["vip=[\"10.0.0.10\", \"2001:db8::10\"]"],
    );
    let config = config.unwrap();
    for service in &config.services {
        assert_eq!(service.vips, [ip("10.0.0.10"), ip("2001:db8::10")]);
        assert_eq!(service.replicas[2].address, ip("2001:db8::13"));
    }
}

#[test]
fn access() {
    let many = |count: usize| {
        let nets: Vec<_> = (0..count).map(|n| format!("\"10.{}.{}.0/24\"", n / 256, n % 256)).collect();
        service(&format!("vip = [\"10.0.0.10\", \"10.0.0.20\"]\ndeny = [{}]", nets.join(", ")))
    };
    assert!(parse(&many(4096)).is_ok(), "each counts for two VIPs, and these just fit");
    check(&[
        case(service("deny = [\"10.0.0.0/33\"]"), 10, "service[0].deny[0]", &["not a network"]),
        case(service("allow = []"), 10, "service[0].allow", &["lets nobody in", "leave the key out"]),
        case(service("deny = [\"10.0.0.1/8\"]"), 10, "service[0].deny[0]", &["is it 10.0.0.0/8?"]),
        case(service("allow = [\"2001:db8::1/64\"]"), 10, "service[0].allow[0]", &["is it 2001:db8::/64?"]),
        case(service("allow = [\"::ffff:10.0.0.0/104\"]"), 10, "service[0].allow[0]", &["write 10.0.0.0/8"]),
        case(
            service("allow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]"),
            11,
            "service[0].deny[0]",
            &["the same network as service[0].allow[0] (line 10)"],
        ),
        case(
            service("deny = [\"10.0.0.1\", \"10.0.0.1/32\"]"),
            10,
            "service[0].deny[1]",
            &["in the list already (line 10)"],
        ),
        case(many(4097), 11, "service[0].deny", &["8194 networks", "each of its VIPs", "8192"]),
    ]);
}

#[test]
fn modes() {
    let with = |vip: &str, replica: &str, more: &str| {
        format!(
            "vip = \"{vip}\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"{replica}\"\n{SERVICE}{more}"
        )
    };
    check(&[
        case(
            with("10.0.0.10", "2001:db8::11", "mode = \"dsr\""),
            8,
            "service[0].mode",
            &["VIP 10.0.0.10 and replica 2001:db8::11", "of one family", "\"nat\""],
        ),
        case(with("2001:db8::10", "10.0.0.11", "mode = \"dsr\""), 8, "service[0].mode", &["of one family"]),
        case(with("2001:db8::10", "10.0.0.11", "mode = \"dnat\""), 8, "service[0].mode", &["of one family"]),
        case(with("10.0.0.10", "2001:db8::11", "mode = \"dnat\""), 8, "service[0].mode", &["of one family"]),
        case(
            with("2001:db8::10", "10.0.0.11", "mode = \"ipip\""),
            8,
            "service[0].mode",
            &["an IPv6 VIP needs replicas with IPv6 addresses"],
        ),
        case(
            with("10.0.0.10", "10.0.0.11", "mode = \"dsr\"\nreplica_port = 8443"),
            9,
            "service[0].replica_port",
            &["\"dsr\" does not change ports", "443"],
        ),
        case(
            with("10.0.0.10", "10.0.0.11", "mode = \"ipip\"\nreplica_port = 80"),
            9,
            "service[0].replica_port",
            &["\"ipip\" does not change ports"],
        ),
    ]);
}

#[test]
fn tunnel_sources() {
    let with = |list: &str| short_and(&format!("[datapath]\ntunnel_sources = {list}"));
    check(&[
        case(with("[]"), 8, "datapath.tunnel_sources", &["an empty list"]),
        case(with("[\"10.0.0.0/17\"]"), 8, "datapath.tunnel_sources[0]", &["/16 at most"]),
        case(with("[\"2001:db8::/113\"]"), 8, "datapath.tunnel_sources[0]", &["/112 at most"]),
        case(with("[\"10.0.0.1/16\"]"), 8, "datapath.tunnel_sources[0]", &["is it 10.0.0.0/16?"]),
        case(with("[\"127.0.0.0/16\"]"), 8, "datapath.tunnel_sources[0]", &["begins with a loopback"]),
        case(with("[\"ff00::/16\"]"), 8, "datapath.tunnel_sources[0]", &["begins with a multicast"]),
        case(with("[\"0.0.0.0/0\"]"), 8, "datapath.tunnel_sources[0]", &["the unspecified"]),
        case(
            with("[\"10.1.0.0/16\", \"10.2.0.0/16\"]"),
            8,
            "datapath.tunnel_sources[1]",
            &["the second of its family"],
        ),
    ]);
}
