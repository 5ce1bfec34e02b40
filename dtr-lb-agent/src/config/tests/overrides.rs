//! `--set` from outside.

use super::{parse_with, problems_with, short_and};
use crate::config::{Attach, Place, Verify};

#[test]
fn values_are_toml_or_else_bare_strings() {
    let text = short_and("[[service]]\nname = \"a\"\nport = 443\n[agent]\nsocket = \"/a\"");
    let config = parse_with(
        &text,
        &[
            "datapath.attach=tc",
            "datapath.idle_timeout=\"5m\"",
            "datapath.nat_ports=20000-20001",
            "datapath.hash_seed=0x10",
            "interfaces=[\"eth1\", \"eth2\"]",
            "vip=10.0.0.99",
            "replica.0.weight=3",
            "replica[1].weight = 4",
            "replica.1.address=10.0.0.77",
            "service.0.probe.verify=true",
            "service.0.probe={ rise = 9, verify = true }",
            "agent.socket=/b",
            "agent.socket=/c=d",
            "agent.http=",
        ],
    )
    .unwrap();
    assert_eq!(config.datapath.attach, Attach::Tc);
    assert_eq!(config.datapath.idle_timeout.as_secs(), 300);
    assert_eq!(config.datapath.nat_ports, 20_000..=20_001);
    assert_eq!(config.datapath.hash_seed, 16);
    assert_eq!(config.interfaces, ["eth1", "eth2"]);
    let service = &config.services[0];
    assert_eq!(service.vips[0].to_string(), "10.0.0.99");
    assert_eq!((service.replicas[0].weight, service.replicas[1].weight), (3, 4));
    assert_eq!(service.replicas[1].address.to_string(), "10.0.0.77");
    assert_eq!((service.probe.rise, &service.probe.verify), (9, &Verify::Yes));
    assert_eq!(config.agent.socket.to_str(), Some("/c=d"), "the last wins");
    assert_eq!(config.agent.http, None);
}

#[test]
fn an_error_names_the_set_and_not_a_line() {
    let cases: &[(&str, &str, &str)] = &[
        ("datapath.attach=ebpf", "datapath.attach", "unknown value"),
        ("datapath.attach=5", "datapath.attach", "wrong type: this is an integer"),
        ("datapth.attach=tc", "datapth", "did you mean `datapath`?"),
        ("datapath.atach=tc", "datapath.atach", "did you mean `attach`?"),
        ("replica.0.weight=300", "replica[0].weight", "between 0 and 256"),
        ("replica.0.address=10.0.0.12", "replica[1].address", "the address of replica[0] (line 3) as well"),
        ("replica.0.address=10.0.0.10", "replica[0].address", "is a VIP as well (vip, line 1)"),
        ("vip=10.0.0.11", "replica[0].address", "is a VIP as well (vip, --set vip=10.0.0.11)"),
        ("replica.2.weight=1", "replica.2.weight", "no 2 in `replica`: it has 2 elements, 0 to 1"),
        ("replica.x.weight=1", "replica.x.weight", "no x in `replica`"),
        ("service.0.port=1", "service.0.port", "there is no `service` in the file"),
        ("vip.0=10.0.0.1", "vip.0", "`vip` is neither a table nor a list"),
        ("datapath.attach", "", "write KEY=VALUE"),
        ("=tc", "", "not a key"),
        ("datapath..attach=tc", "datapath..attach", "not a key"),
        ("a.b.c.d.e.f.g.h.i=1", "a.b.c.d.e.f.g.h.i", "not a key"),
        ("interfaces=[\"eth0\", \"eth0\"]", "interfaces[1]", "in the list already (--set interfaces="),
        (
            "replica=[{ address = \"10.0.0.11\" }, { adress = 1 }]",
            "replica[1].adress",
            "did you mean `address`?",
        ),
        ("datapath={ attach = \"tc\", max_flows = 1 }", "datapath.max_flows", "between 1024 and 16777216"),
    ];
    for (item, key, says) in cases {
        let found = problems_with(&short_and(""), &["agent.socket=/fine", item, "agent.bpffs=/fine"]);
        let message = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(found.len(), 1, "{item}: {message}");
        assert_eq!(found[0].key, *key, "{item}: {message}");
        assert!(message.contains(says), "{says}: {message}");
        let in_file = key.starts_with("replica[1].address") || item.starts_with("vip=");
        if in_file {
            assert!(message.starts_with("test.toml:"), "what is in the file stays there: {message}");
        } else {
            assert_eq!(found[0].place, Place::Override((*item).to_owned()));
            assert!(message.starts_with(&format!("--set {item}: ")), "{message}");
        }
    }
}

#[test]
fn a_good_set_heals_a_bad_line_and_the_file_comes_first() {
    let text = short_and("[datapath]\nattach = 5\nmax_flows = 1");
    assert!(parse_with(&text, &["datapath.attach=tc", "datapath.max_flows=2048"]).is_ok());
    let found = problems_with(&text, &["agent.socket=x", "datapath.attach=tc"]);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["datapath.max_flows", "agent.socket"]);
}
