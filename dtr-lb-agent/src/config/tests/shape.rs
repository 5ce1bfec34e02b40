//! What does not have the shape of a config: not TOML, unknown keys, wrong types.

use super::{REPLICAS, TOP, case, check, probe, problems, service, short_and};
use crate::config::keys::KEYS;

#[test]
fn text_that_is_not_toml() {
    check(&[
        case("vip = \"10.0.0.10\"\ninterfaces = [\n", 2, "", &["not TOML"]),
        case(format!("{TOP}vip = \"10.0.0.9\"\n{REPLICAS}"), 3, "", &["not TOML", "duplicate key"]),
        case("what is this", 1, "", &["not TOML"]),
    ]);
}

#[test]
fn unknown_keys() {
    check(&[
        case(
            short_and("[datapth]\nattach = \"tc\""),
            7,
            "datapth",
            &["unknown key", "did you mean `datapath`?"],
        ),
        case(
            short_and("[datapath]\natach = \"tc\""),
            8,
            "datapath.atach",
            &["did you mean `attach`?", "max_flows"],
        ),
        case(service("prot = 1"), 10, "service[0].prot", &["did you mean `port`?"]),
        case(probe("intervall = 1"), 11, "service[0].probe.intervall", &["did you mean `interval`?"]),
        case(service("rise = 1"), 10, "service[0].rise", &["there is `service.probe.rise`"]),
        case(short_and("zzz = 1"), 7, "replica[1].zzz", &["allowed: name, address, weight, slow_start"]),
        case(short_and("[agent]\nzzz = 1"), 8, "agent.zzz", &["allowed: socket"]),
        case(
            format!("{TOP}replica = [{{ address = \"10.0.0.11\" }}, {{ adress = \"10.0.0.12\" }}]"),
            3,
            "replica[1].adress",
            &["did you mean `address`?"],
        ),
        case(format!("datapath.zzz = 1\n{TOP}{REPLICAS}"), 1, "datapath.zzz", &["unknown key"]),
    ]);
}

#[test]
fn wrong_types() {
    check(&[
        case(
            service("mode = 5"),
            10,
            "service[0].mode",
            &["wrong type: this is integer `5`", "allowed: \"nat\""],
        ),
        case(
            short_and("[datapath]\nmax_flows = \"many\""),
            8,
            "datapath.max_flows",
            &["string \"many\"", "1024"],
        ),
        case(short_and("[datapath]\nmax_flows = 1e6"), 8, "datapath.max_flows", &["floating point", "1024"]),
        case(probe("interval = 2"), 11, "service[0].probe.interval", &["integer `2`", "as in \"2s\""]),
        case(probe("status = [200]"), 11, "service[0].probe.status[0]", &["integer `200`", "\"200-299\""]),
        case(probe("verify = 1"), 11, "service[0].probe.verify", &["integer `1`", "CA file"]),
        case(
            format!("vip = 10\ninterfaces = [\"eth0\"]\n{REPLICAS}"),
            1,
            "vip",
            &["integer `10`", "allowed: an IP"],
        ),
        case(
            format!("vip = [\"10.0.0.10\", 5]\ninterfaces = [\"eth0\"]\n{REPLICAS}"),
            1,
            "vip[1]",
            &["integer `5`", "allowed: an IP"],
        ),
        case(
            format!("vip = \"10.0.0.10\"\ninterfaces = \"eth0\"\n{REPLICAS}"),
            2,
            "interfaces",
            &["string \"eth0\"", "[\"eth0\"]"],
        ),
        case(
            format!("{TOP}[replica]\naddress = \"10.0.0.11\""),
            3,
            "replica",
            &["a table", "double brackets"],
        ),
        case(short_and("[service]\nport = 1"), 7, "service", &["a table", "double brackets"]),
        case(short_and("[[datapath]]\nattach = \"tc\""), 7, "datapath", &["a list", "[datapath]"]),
        case(
            format!("{TOP}replica = [[\"a\", \"10.0.0.11\"]]"),
            3,
            "replica[0]",
            &["a list", "double brackets"],
        ),
        case(format!("datapath = [\"tc\"]\n{TOP}{REPLICAS}"), 1, "datapath", &["a list", "[datapath]"]),
        case(service("probe = []"), 10, "service[0].probe", &["a list", "[service.probe]"]),
        case(format!("host = 2020-01-01\n{TOP}{REPLICAS}"), 1, "host", &["wrong type", "DNS name"]),
        case(service("max_fails = 99999999999999999999"), 10, "service[0].max_fails", &["0 to 1000"]),
    ]);
}

#[test]
fn all_problems_of_shape_come_at_once() {
    let text = format!("host = 5\n{TOP}{REPLICAS}wieght = 1\n[datapath]\nattach = 1\nzzz = 2\n");
    let found = problems(&text);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["host", "replica[1].wieght", "datapath.attach", "datapath.zzz"]);
}

/// `keys.rs` and `raw.rs` name the same keys, in the same order.
#[test]
fn the_table_of_keys_is_the_shape_of_the_file() {
    let tables = [
        ("", ""),
        ("datapath", "[datapath]\n"),
        ("service", "[[service]]\n"),
        ("service.probe", "[[service]]\n[service.probe]\n"),
        ("service.probe.steps", "[[service]]\n[service.probe]\n[[service.probe.steps]]\n"),
        ("replica", "[[replica]]\n"),
        ("agent", "[agent]\n"),
    ];
    let mut seen = 0;
    for (table, header) in tables {
        let known: Vec<&str> = KEYS
            .iter()
            .map(|(key, _)| key.rsplit_once('.').unwrap_or(("", key)))
            .filter(|(of, _)| *of == table)
            .map(|(_, name)| name)
            .collect();
        assert_eq!(known, serde_lists(&format!("{header}made-up = 1\n")), "the keys of [{table}]");
        seen += known.len();
    }
    assert_eq!(seen, KEYS.len(), "a key of a table that is not tested here");
}

/// The keys that serde would have accepted where `text` has an unknown one.
fn serde_lists(text: &str) -> Vec<String> {
    let error = toml::from_str::<crate::config::raw::RawConfig>(text).unwrap_err();
    let (_, expected) = error.message().split_once("`, expected ").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
