//! Keys whose feature is not in this version: refused with what to write instead, accepted when they ask for nothing.

use super::{REPLICAS, problems, service, short_and, valid};

#[test]
fn what_this_version_lacks_is_refused() {
    let cases = [
        (
            format!("vip = \"2001:db8::1\"\ninterfaces = [\"eth0\"]\n{REPLICAS}"),
            1,
            "vip = \"2001:db8::1\"",
            "IPv4",
        ),
        (service("vip = [\"10.0.0.9\", \"2001:db8::1\"]"), 10, "service[0].vip[1] = \"2001:db8::1\"", "IPv4"),
        (
            short_and("[[replica]]\naddress = \"2001:db8::2\""),
            8,
            "replica[2].address = \"2001:db8::2\"",
            "IPv4",
        ),
        (
            short_and("[datapath]\nnat_addresses = [\"2001:db8::3\"]"),
            8,
            "datapath.nat_addresses[0] = \"2001:db8::3\"",
            "IPv4",
        ),
        (
            short_and("[[replica]]\naddress = \"dtr1.example.com\""),
            8,
            "replica[2].address = \"dtr1.example.com\"",
            "IPv4 address",
        ),
        (service("mode = \"dsr\""), 10, "service[0].mode = \"dsr\"", "mode = \"nat\""),
        (service("mode = \"ipip\""), 10, "service[0].mode = \"ipip\"", "mode = \"nat\""),
        (
            service("affinity = \"source-ip\""),
            10,
            "service[0].affinity = \"source-ip\"",
            "affinity = \"none\"",
        ),
        (service("max_fails = 2"), 10, "service[0].max_fails = 2", "max_fails = 0"),
        (service("fail_timeout = \"30s\""), 10, "service[0].fail_timeout = \"30s\"", "leave the key out"),
        (service("allow = [\"10.0.0.0/8\"]"), 10, "service[0].allow = [\"10.0.0.0/8\"]", "[\"0.0.0.0/0\"]"),
        (service("allow = []"), 10, "service[0].allow = []", "[\"0.0.0.0/0\"]"),
        (service("deny = [\"10.0.0.1\"]"), 10, "service[0].deny = [\"10.0.0.1\"]", "deny = []"),
        (
            short_and("[datapath]\non_down = \"auto\""),
            8,
            "datapath.on_down = \"auto\"",
            "on_down = \"leave\"",
        ),
        (
            short_and("[datapath]\non_down = \"reset\""),
            8,
            "datapath.on_down = \"reset\"",
            "on_down = \"leave\"",
        ),
        (short_and("slow_start = \"30s\""), 7, "replica[1].slow_start = \"30s\"", "slow_start = \"0s\""),
        (
            short_and("[agent]\nhttp = \"127.0.0.1:8181\""),
            8,
            "agent.http = \"127.0.0.1:8181\"",
            "http = \"\"",
        ),
        (
            short_and("[agent]\nadmin_token_file = \"/etc/token\""),
            8,
            "agent.admin_token_file = \"/etc/token\"",
            "admin_token_file = \"\"",
        ),
    ];
    let version = format!("is not in this version of dtr-lb ({}); ", env!("CARGO_PKG_VERSION"));
    for (text, line, key, instead) in cases {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        let message = found[0].to_string();
        let start = format!("test.toml:{line}:");
        assert!(message.starts_with(&start) && message.contains(&format!("`{key}`: ")), "{key}: {message}");
        let (_, advice) = message.split_once(&version).unwrap_or_else(|| panic!("{version}: {message}"));
        assert!(advice.contains(instead), "{instead}: {message}");
    }
}

#[test]
fn the_same_keys_pass_when_they_ask_for_nothing() {
    let text = short_and(
        "slow_start = \"0s\"\n\
         [datapath]\non_down = \"leave\"\n\
         [agent]\nhttp = \"\"\nadmin_token_file = \"\"\n\
         [[service]]\nname = \"https\"\nport = 443\nmode = \"nat\"\naffinity = \"none\"\nmax_fails = 0\n\
         allow = [\"10.0.0.0/8\", \"0.0.0.0/0\"]\ndeny = []\n",
    );
    let plain = short_and("[[service]]\nname = \"https\"\nport = 443\n");
    assert_eq!(valid(&text), valid(&plain));
}
