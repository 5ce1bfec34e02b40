//! What a valid config means.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::{REPLICAS, TOP, parse_with, probe, short_and, valid};
use crate::config::keys::all;
use crate::config::{
    Access, Admin, Affinity, AllDown, Attach, Config, ConfigError, Denied, Host, HostFacts, Limits, Listed,
    Macs, Mode, OnDown, Pattern, Preset, Probe, Replica, Scheme, Service, StatusSet, SynChallenge,
    TunnelSources, Verify,
};

const MINIMAL: &str = include_str!("../../../../examples/minimal.toml");
const REFERENCE: &str = include_str!("../../../../examples/dtr-lb.toml");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn replica(address: &str, port: u16) -> Replica {
    Replica {
        name: address.to_owned(),
        address: ip(address),
        port,
        weight: 100,
        backup: false,
        slow_start: Duration::ZERO,
        admin: Admin::Ready,
        host_name: None,
        file_weight: Some(100),
    }
}

#[test]
fn the_shortest_config_means_what_dtr_needs() {
    let config = valid(MINIMAL);
    assert_eq!(config.interfaces, ["eth0"]);
    assert_eq!(config.host, None);
    let names: Vec<_> =
        config.services.iter().map(|s| (s.name.as_str(), s.port, s.probe.scheme, s.probe.port)).collect();
    assert_eq!(names, [("http", 80, Scheme::Http, 80), ("https", 443, Scheme::Https, 443)]);
    for service in &config.services {
        assert_eq!(service.vips, [ip("10.0.0.10")]);
        assert_eq!(service.mode, Mode::Nat);
        let port = service.port;
        let replicas = ["10.0.0.11", "10.0.0.12", "10.0.0.13"].map(|address| replica(address, port));
        assert_eq!(service.replicas, replicas);
        assert_eq!(service.probe, Probe::default_for(Preset::Dtr, &service.name, port, None));
    }
}

#[test]
fn interfaces_may_be_left_to_the_routes() {
    let config = valid(&format!("vip = \"10.0.0.10\"\n{REPLICAS}"));
    assert!(config.by_routes && config.interfaces.is_empty());
    let mut worked_out = config.clone();
    worked_out.interfaces = vec!["eth0".into()];
    assert_eq!(config.clone().at_interfaces_of(&worked_out), worked_out);
    let written = valid(MINIMAL);
    assert_eq!(
        config.clone().at_interfaces_of(&written),
        config,
        "what is written elsewhere says nothing here"
    );
    assert_eq!(written.clone().at_interfaces_of(&worked_out), written);
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = valid(MINIMAL);
    let datapath = &config.datapath;
    assert_eq!(datapath.attach, Attach::Auto);
    assert_eq!(datapath.max_flows, 1_048_576);
    assert_eq!(datapath.nat_ports, 1024..=32_767, "all below the host's own");
    assert_eq!((datapath.syn_challenge, datapath.macs), (SynChallenge::Auto, Macs::Own));
    assert!(datapath.nat_addresses.is_empty());
    assert_eq!(datapath.idle_timeout, Duration::from_secs(3600));
    assert_eq!(datapath.hash_seed, 0);
    assert_eq!(datapath.all_down, AllDown::FailOpen);
    assert_eq!(datapath.on_down, OnDown::Auto);
    assert_eq!(datapath.tunnel_sources, TunnelSources::default());
    assert_eq!(datapath.tunnel_sources.towards(ip("10.0.0.11")), ip("172.16.0.0"));
    assert_eq!(datapath.tunnel_sources.towards(ip("2001:db8::11")), ip("100::"));
    let service = &config.services[0];
    assert_eq!((service.max_fails, service.fail_timeout), (2, Duration::from_secs(30)));
    assert_eq!((service.affinity, &service.access), (Affinity::None, &Access::default()));
    assert_eq!(service.limits, Limits::default());
    let probe = &config.services[1].probe;
    assert_eq!(probe.path, "/health");
    assert_eq!(probe.verify, Verify::No);
    assert_eq!(probe.status, StatusSet::default());
    assert!(probe.status.contains(200) && probe.status.contains(399) && !probe.status.contains(400));
    assert_eq!(probe.body, None);
    assert_eq!(probe.interval, Duration::from_secs(2));
    assert_eq!(probe.fast_interval, Duration::from_millis(500));
    assert_eq!(probe.timeout, Duration::from_secs(2));
    assert_eq!((probe.rise, probe.fall), (2, 3));
    assert!((probe.jitter - 0.1).abs() < 1e-9);
    assert_eq!(config.agent.socket, Path::new("/run/dtr-lb/dtr-lb.sock"));
    assert_eq!(config.agent.bpffs, Path::new("/sys/fs/bpf/dtr-lb"));
    assert_eq!(config.agent.http, Some("127.0.0.1:8181".parse().unwrap()));
    assert!(config.agent.http_names.is_empty());
    assert_eq!(config.agent.admin_token_file, None);
}

#[test]
fn the_reference_config_is_valid_and_shows_every_key() {
    valid(REFERENCE);
    let config = valid(&REFERENCE.replace("\n# host =", "\nhost =").replace("\n# body =", "\nbody ="));
    assert_eq!(config.host.as_deref(), Some("dtr.example.com"));
    let [https, http] = &config.services[..] else { panic!("two services: {config:#?}") };
    assert_eq!((https.name.as_str(), https.port, https.replicas.len()), ("https", 443, 3));
    assert_eq!((http.name.as_str(), http.port, http.replicas.len()), ("http", 80, 3));
    assert_eq!(http.probe.host.as_deref(), Some("dtr.example.com"), "taken from the top");
    let body = https.probe.body.as_ref().unwrap();
    assert!(body.is_match(b"\xff {\"Healthy\":  true}") && !body.is_match(b"{\"Healthy\": false}"));

    let mut table = String::new();
    let mut shown = Vec::new();
    for written in REFERENCE.lines() {
        let line = written.trim_start_matches("# ");
        if let Some(header) = written.strip_prefix('[') {
            table = header.trim_matches(['[', ']']).to_owned();
            shown.push(table.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            let inline = line.split("{ ").skip(1).filter_map(|inner| inner.split_once(" = "));
            shown.extend(inline.map(|(inner, _)| format!("{key}.{inner}")));
            shown.push(key);
        }
    }
    for (key, _) in all() {
        assert!(shown.contains(&key), "{key} is not in the reference config");
    }
}

#[test]
fn every_value_that_is_commented_out_is_valid() {
    let is_key = |line: &&str| {
        let key = line.strip_prefix("# ").and_then(|line| line.split_once(" = "));
        key.is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let lines: Vec<_> = REFERENCE.lines().filter(is_key).collect();
    assert!(lines.len() > 20, "{lines:?}");
    for line in lines {
        let written = &line[2..];
        if written.starts_with("steps") {
            valid(&probe(&format!("scheme = \"tcp\"\n{written}")));
        } else {
            valid(&REFERENCE.replace(&format!("\n{line}\n"), &format!("\n{written}\n")));
        }
    }
}

#[test]
fn every_example_of_the_documentation_is_valid() {
    let text = include_str!("../../../../docs/configuration.md");
    let examples: Vec<_> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(
        examples.len(),
        8,
        "a preset, allow and deny, slow start, host names, both families, dnat, dsr, ipip"
    );
    for example in &examples {
        valid(example);
    }
    let modes: Vec<_> = examples.iter().map(|example| valid(example).services[0].mode).collect();
    assert!(
        [Mode::Nat, Mode::Dsr, Mode::Ipip, Mode::Dnat].iter().all(|mode| modes.contains(mode)),
        "{modes:?}"
    );
}

#[test]
fn the_reference_config_shows_the_defaults() {
    // What is written there as a default has to be one: take it out, and nothing changes.
    let config = valid(REFERENCE);
    let without: String = REFERENCE
        .lines()
        .filter(|line| {
            let key = line.split(" = ").next().unwrap_or_default();
            !line.contains(" = ")
                || ["vip", "interfaces", "host", "name", "port", "address", "body"].contains(&key)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(valid(&without), config);
}

#[test]
fn nothing_listens_on_tcp_where_http_is_empty() {
    assert_eq!(valid(&short_and("[agent]\nhttp = \"\"\nadmin_token_file = \"\"\n")).agent.http, None);
}

#[test]
fn every_key_changes_what_it_names() {
    let text = r#"
        vip = ["10.0.0.10", "10.0.0.20"]
        interfaces = ["eth0", "bond0.100"]
        host = "top.example.com"
        [datapath]
        attach = "xdp-generic"
        max_flows = 2048
        nat_ports = "61000-65535"
        nat_addresses = ["10.0.0.10", "10.0.1.1", "2001:db8::1"]
        tunnel_sources = ["10.99.0.0/16"]
        idle_timeout = "1h 30m"
        hash_seed = 7
        all_down = "refuse"
        on_down = "reset"
        syn_challenge = "always"
        macs = "any"
        [[service]]
        name = "registry"
        port = 5000
        vip = "10.0.0.30"
        replica_port = 5001
        affinity = "source-ip"
        max_fails = 7
        fail_timeout = "90s"
        allow = ["10.0.0.0/8", "2001:db8::/32"]
        deny = ["10.0.0.13"]
        denied = "reset"
        max_flows_per_replica = 500
        max_new_flows_per_source = 20
        affinity_timeout = "3h"
        replicas = ["b", "a"]
        backup = ["a"]
        [service.probe]
        scheme = "https"
        port = 5443
        path = "/v2/?x=%20"
        host = "other.example.com"
        verify = true
        status = ["200", "401-403"]
        body = 'ok\s'
        interval = "10s"
        fast_interval = "1s"
        timeout = "750ms"
        rise = 1
        fall = 1000
        jitter = "12.5%"
        [[replica]]
        name = "a"
        address = "10.0.0.11"
        weight = 0
        [[replica]]
        name = "b"
        address = "10.0.0.12"
        weight = 256
        slow_start = "1m"
        [[replica]]
        address = "10.0.0.13"
        [agent]
        socket = "/tmp/s"
        bpffs = "/bpf/x"
        http = "[::1]:9000"
        http_names = ["LB1.example.com"]
        admin_token_file = "/run/token"
    "#;
    let Config { interfaces, by_routes, host, datapath, services, agent } = valid(text);
    assert!(!by_routes);
    assert_eq!(interfaces, ["eth0", "bond0.100"]);
    assert_eq!(host.as_deref(), Some("top.example.com"));
    assert_eq!(datapath.attach, Attach::XdpGeneric);
    assert_eq!((datapath.max_flows, datapath.hash_seed), (2048, 7));
    assert_eq!(datapath.nat_ports, 61_000..=65_535);
    assert_eq!(datapath.nat_addresses, [ip("10.0.0.10"), ip("10.0.1.1"), ip("2001:db8::1")]);
    assert_eq!(datapath.tunnel_sources.v4.to_string(), "10.99.0.0/16");
    assert_eq!(datapath.tunnel_sources.v6, TunnelSources::default().v6, "it is not in the list");
    assert_eq!(datapath.on_down, OnDown::Reset);
    assert_eq!((datapath.syn_challenge, datapath.macs), (SynChallenge::Always, Macs::Any));
    assert_eq!(datapath.idle_timeout, Duration::from_secs(5400));
    assert_eq!(datapath.all_down, AllDown::Refuse);
    assert_eq!((agent.socket.as_path(), agent.bpffs.as_path()), (Path::new("/tmp/s"), Path::new("/bpf/x")));
    assert_eq!(agent.http, Some("[::1]:9000".parse().unwrap()));
    assert_eq!(
        (agent.http_names, agent.admin_token_file),
        (vec!["lb1.example.com".to_owned()], Some("/run/token".into()))
    );
    assert_eq!(services.len(), 1);
    let service = &services[0];
    assert_eq!((service.name.as_str(), service.port), ("registry", 5000));
    assert_eq!(service.vips, [ip("10.0.0.30")]);
    let a = Replica {
        name: "a".into(),
        address: ip("10.0.0.11"),
        port: 5001,
        weight: 0,
        backup: true,
        file_weight: Some(0),
        ..replica("10.0.0.11", 5001)
    };
    let b = Replica {
        name: "b".into(),
        address: ip("10.0.0.12"),
        port: 5001,
        weight: 256,
        slow_start: Duration::from_secs(60),
        file_weight: Some(256),
        ..replica("10.0.0.12", 5001)
    };
    assert_eq!(service.replicas, [a, b], "in the order of the tables, not of the list");
    assert_eq!(service.affinity, Affinity::SourceIp);
    assert_eq!((service.max_fails, service.fail_timeout), (7, Duration::from_secs(90)));
    assert_eq!(service.access.allowed, nets(&["10.0.0.0/8", "2001:db8::/32"]));
    assert_eq!(service.access.denied, nets(&["10.0.0.13/32", "0.0.0.0/0", "::/0"]));
    let limits = Limits {
        max_flows_per_replica: 500,
        max_new_flows_per_source: 20,
        affinity_timeout: Duration::from_secs(3 * 3600),
        denied: Denied::Reset,
    };
    assert_eq!(service.limits, limits);
    let probe = &service.probe;
    assert_eq!((probe.scheme, probe.port, probe.path.as_str()), (Scheme::Https, 5443, "/v2/?x=%20"));
    assert_eq!(probe.host.as_deref(), Some("other.example.com"));
    assert_eq!(probe.verify, Verify::Yes);
    assert_eq!(probe.status.to_string(), "200, 401-403");
    assert_eq!(probe.body.as_ref().map(Pattern::as_str), Some("ok\\s"));
    assert_eq!(probe.interval, Duration::from_secs(10));
    assert_eq!(probe.fast_interval, Duration::from_secs(1));
    assert_eq!(probe.timeout, Duration::from_millis(750));
    assert_eq!((probe.rise, probe.fall), (1, 1000));
    assert!((probe.jitter - 0.125).abs() < 1e-9);
}

#[test]
fn host_names_wait_for_dns() {
    let text = format!(
        "{TOP}[[replica]]\naddress = \"DTR.example.com\"\nweight = 7\n\
         [[replica]]\nname = \"fixed\"\naddress = \"10.0.0.11\"\n\
         [[service]]\nname = \"all\"\nport = 443\nreplica_port = 4443\n\
         [[service]]\nname = \"named\"\nport = 80\nreplicas = [\"DTR.example.com\"]\n"
    );
    let services = valid(&text).services;
    let named = Listed {
        name: "DTR.example.com".into(),
        host: Host::Name("dtr.example.com".into()),
        backup: false,
        weight: 7,
        slow_start: Duration::ZERO,
    };
    assert_eq!(services[0].listed[0], named);
    assert_eq!((services[0].listed.len(), services[0].replica_port), (2, 4443));
    assert_eq!(services[0].replicas, [Replica { name: "fixed".into(), ..replica("10.0.0.11", 4443) }]);
    assert_eq!((services[1].listed.as_slice(), services[1].replicas.as_slice()), (&[named][..], &[][..]));
}

#[test]
fn backups_are_those_of_one_service() {
    let text = format!(
        "{TOP}{REPLICAS}[[service]]\nname = \"a\"\nport = 80\nbackup = [\"10.0.0.12\"]\n\
         [[service]]\nname = \"b\"\nport = 81\nbackup = []\n"
    );
    let backups = |service: &Service| {
        let backups = service.replicas.iter().map(|replica| (replica.address.to_string(), replica.backup));
        backups.collect::<Vec<_>>()
    };
    let services = valid(&text).services;
    assert_eq!(backups(&services[0]), [("10.0.0.11".into(), false), ("10.0.0.12".into(), true)]);
    assert!(backups(&services[1]).iter().all(|(_, backup)| !backup));
}

#[test]
fn the_default_scheme_goes_by_port_and_name() {
    let cases = [
        ("https", 443, Scheme::Https),
        ("web", 443, Scheme::Https),
        ("https", 8443, Scheme::Https),
        ("http", 80, Scheme::Http),
        ("web", 80, Scheme::Http),
        ("http", 8080, Scheme::Http),
        ("http", 443, Scheme::Https),
        ("https", 80, Scheme::Https),
        ("registry", 5000, Scheme::Tcp),
    ];
    for (name, port, scheme) in cases {
        let text = short_and(&format!("[[service]]\nname = \"{name}\"\nport = 1\nreplica_port = {port}"));
        let probe = &valid(&text).services[0].probe;
        assert_eq!((probe.scheme, probe.port), (scheme, port), "{name} {port}");
    }
}

#[test]
fn a_short_interval_takes_the_default_fast_one_with_it() {
    let text = short_and("[[service]]\nname = \"a\"\nport = 1\n[service.probe]\ninterval = \"100ms\"");
    assert_eq!(valid(&text).services[0].probe.fast_interval, Duration::from_millis(100));
}

#[test]
fn turning_a_probe_off_leaves_its_other_keys_alone() {
    let text = short_and("[[service]]\nname = \"a\"\nport = 443\n[service.probe]\npath = \"/x\"");
    let config = parse_with(&text, &["service.0.probe.scheme=none"]).unwrap();
    assert_eq!(config.services[0].probe.scheme, Scheme::None);
}

#[test]
fn services_with_their_own_vips_need_none_at_the_top() {
    let text = format!(
        "interfaces = [\"eth0\"]\n{REPLICAS}\
         [[service]]\nname = \"a\"\nport = 443\nvip = \"10.0.0.10\"\n\
         [[service]]\nname = \"b\"\nport = 443\nvip = [\"10.0.0.20\", \"10.0.0.21\"]\n"
    );
    let config = valid(&text);
    assert_eq!(config.services[0].vips, [ip("10.0.0.10")]);
    assert_eq!(config.services[1].vips, [ip("10.0.0.20"), ip("10.0.0.21")]);
}

#[test]
fn keys_may_be_dotted_and_tables_inline() {
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\ndatapath.attach = \"tc\"\n\
                replica = [{ address = \"10.0.0.11\", weight = 3 }]\n";
    let config = valid(text);
    assert_eq!(config.datapath.attach, Attach::Tc);
    assert_eq!(config.services[0].replicas[0].weight, 3);
}

#[test]
fn line_ends_and_byte_order_mark_do_not_matter() {
    let dos = MINIMAL.replace('\n', "\r\n");
    assert_eq!(valid(&dos), valid(MINIMAL));
    assert_eq!(valid(&format!("\u{feff}{MINIMAL}")), valid(MINIMAL));
}

#[test]
fn a_ca_file_is_kept_as_a_path() {
    let ca = tempfile::NamedTempFile::new().unwrap();
    let path = ca.path().to_str().unwrap();
    let text =
        short_and(&format!("[[service]]\nname = \"a\"\nport = 443\n[service.probe]\nverify = \"{path}\""));
    assert_eq!(valid(&text).services[0].probe.verify, Verify::Ca(ca.path().to_path_buf()));
}

#[test]
fn a_file_is_loaded_and_a_missing_one_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dtr-lb.toml");
    let error = Config::load(&path, &[]).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, ConfigError::Read { .. }));
    for words in [path.to_str().unwrap(), "No such file", "--config FILE", "examples/minimal.toml"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(error.problems().is_empty());

    // The ports of the host that runs the test are not the test's business: take some that it leaves free.
    let taken = HostFacts::read().unwrap().ephemeral_ports;
    let free = if *taken.start() > 1024 { taken.start() - 1 } else { taken.end() + 1 };
    let ports = format!("datapath.nat_ports={free}-{free}");
    std::fs::write(&path, format!("{TOP}{REPLICAS}")).unwrap();
    assert_eq!(Config::load(&path, &[ports]).unwrap().services.len(), 2);

    std::fs::write(&path, b"# fine\n# \xff\n").unwrap();
    let message = Config::load(&path, &[]).unwrap_err().to_string();
    assert!(message.contains("dtr-lb.toml:2: ") && message.contains("UTF-8"), "{message}");
}

#[test]
fn a_body_pattern_may_ignore_case() {
    let text = short_and("[[service]]\nname = \"a\"\nport = 443\n[service.probe]\nbody = '(?i)healthy'");
    let config = valid(&text);
    assert!(config.services[0].probe.body.as_ref().is_some_and(|body| body.is_match(b"HEALTHY")));
}
