//! What does not have the shape of a config: not TOML, unknown keys, wrong types.

use super::{REPLICAS, TOP, case, check, probe, problems, service, short_and};
use crate::config::keys::{all, allowed};

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
            &["= 5`: wrong type: this is an integer", "allowed: \"nat\""],
        ),
        case(
            short_and("[datapath]\nmax_flows = \"many\""),
            8,
            "datapath.max_flows",
            &["= \"many\"`: wrong type: this is a string", "1024"],
        ),
        case(
            short_and("[datapath]\nmax_flows = 1e6"),
            8,
            "datapath.max_flows",
            &["a floating-point number", "1024"],
        ),
        case(
            probe("interval = 2"),
            11,
            "service[0].probe.interval",
            &["= 2`: wrong type: this is an integer", "as in \"2s\""],
        ),
        case(
            probe("status = [200]"),
            11,
            "service[0].probe.status[0]",
            &["= 200`: wrong type: this is an integer", "\"200-299\""],
        ),
        case(
            probe("verify = 1"),
            11,
            "service[0].probe.verify",
            &["= 1`: wrong type: this is an integer", "CA file"],
        ),
        case(
            format!("vip = 10\ninterfaces = [\"eth0\"]\n{REPLICAS}"),
            1,
            "vip",
            &["= 10`: wrong type: this is an integer", "allowed: an IP"],
        ),
        case(
            format!("vip = [\"10.0.0.10\", 5]\ninterfaces = [\"eth0\"]\n{REPLICAS}"),
            1,
            "vip[1]",
            &["= 5`: wrong type: this is an integer", "allowed: an IP"],
        ),
        case(
            format!("vip = \"10.0.0.10\"\ninterfaces = \"eth0\"\n{REPLICAS}"),
            2,
            "interfaces",
            &["= \"eth0\"`: wrong type: this is a string", "[\"eth0\"]"],
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
        case(
            service("max_fails = 99999999999999999999"),
            10,
            "service[0].max_fails",
            &["between 0 and 1000"],
        ),
    ]);
}

#[test]
fn all_problems_of_shape_come_at_once() {
    let text = format!("host = 5\n{TOP}{REPLICAS}wieght = 1\n[datapath]\nattach = 1\nzzz = 2\n");
    let found = problems(&text);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["host", "replica[1].wieght", "datapath.attach", "datapath.zzz"]);
}

/// Three wrong types and two wrong values, an unknown key and a missing one: none hides another.
#[test]
fn a_wrong_type_hides_nothing() {
    let text = "vip = \"10.0.0.10\"\ninterfaces = \"eth0\"\n\
                [datapath]\nmax_flows = \"many\"\nidle_timeout = \"8days\"\n\
                [[service]]\nname = \"a\"\nport = 443\nafinity = \"none\"\n[service.probe]\nrise = true\njitter = \"51%\"\n\
                [[replica]]\nname = \"x\"\n";
    let found = problems(text);
    let told: Vec<_> = found.iter().map(|problem| (problem.key.as_str(), problem.what.as_str())).collect();
    assert_eq!(
        told,
        [
            ("interfaces", "wrong type: this is a string"),
            ("datapath.max_flows", "wrong type: this is a string"),
            ("datapath.idle_timeout", "must be between 1s and 7days"),
            (
                "service[0].afinity",
                "unknown key (did you mean `affinity`?); allowed: name, port, mode, replica_port, affinity, max_fails, \
                 fail_timeout, vip, replicas, backup, allow, deny, denied, max_flows_per_replica, \
                 max_new_flows_per_source, affinity_timeout, probe"
            ),
            ("service[0].probe.rise", "wrong type: this is a boolean"),
            ("service[0].probe.jitter", "must be between 0% and 50%"),
            ("replica[0].address", "missing"),
        ]
    );
}

#[test]
fn elements_and_nth_tables_take_what_the_key_takes() {
    assert_eq!(allowed("service[12].probe.status[3]"), allowed("service.probe.status"));
    assert!(
        allowed("service[0].probe.rise").is_some() && allowed("service[0].probe.steps[1].send").is_some()
    );
    assert_eq!(allowed("service[0].nonsense"), None);
    assert!(all().iter().all(|(key, _)| allowed(key).is_some_and(|words| !words.is_empty())));
}

#[test]
fn a_file_of_another_kind_is_not_told_line_by_line() {
    let text: String = (0..1000).map(|number| format!("unheard-of-{number} = 1\n")).collect();
    let found = problems(&text);
    assert_eq!(found.len(), 200);
    let last = &found[199].what;
    assert!(last.ends_with("more problems are not shown)"), "{last}");
}
