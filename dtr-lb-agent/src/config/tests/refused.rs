//! What is refused: each check with its line, its key and the words that help.

use super::{HostFacts, REPLICAS, SERVICE, TOP, case, check, probe, problems, service, short_and};
use crate::config::{Config, Place};

#[test]
fn interfaces() {
    let with = |interfaces: &str| format!("vip = \"10.0.0.10\"\ninterfaces = {interfaces}\n{REPLICAS}");
    check(&[
        case(with("[]"), 2, "interfaces", &["no interface"]),
        case(
            with("[\"eth0\", \"eth1\", \"eth0\"]"),
            2,
            "interfaces[2]",
            &["in the list already (line 2)", "each once"],
        ),
        case(with("[\"enp0s31f6-backup\"]"), 2, "interfaces[0]", &["longer than the 15 bytes"]),
        case(with("[\"a/b\"]"), 2, "interfaces[0]", &["no \"/\""]),
        case(with("[\"a b\"]"), 2, "interfaces[0]", &["space"]),
        case(with("[\"\"]"), 2, "interfaces[0]", &["an empty name"]),
    ]);
}

#[test]
fn vips_and_hosts() {
    let with = |vip: &str| format!("vip = {vip}\ninterfaces = [\"eth0\"]\n{REPLICAS}");
    check(&[
        case(
            format!("interfaces = [\"eth0\"]\n{REPLICAS}"),
            1,
            "vip",
            &["missing", "allowed: an IP address"],
        ),
        case(
            format!("interfaces = [\"eth0\"]\n{REPLICAS}{SERVICE}"),
            6,
            "service[0].vip",
            &["missing", "no top-level `vip`"],
        ),
        case(with("[]"), 1, "vip", &["an empty list"]),
        case(with("\"10.0.0\""), 1, "vip", &["not an IP address"]),
        case(with("\"10.0.0.10/24\""), 1, "vip", &["leave out the prefix length"]),
        case(with("[\"10.0.0.10\", \"10.0.0.10:443\"]"), 1, "vip[1]", &["leave out the port"]),
        case(with("[\"10.0.0.10\", \"10.0.0.10\"]"), 1, "vip[1]", &["in the list already"]),
        case(with("\"0.0.0.0\""), 1, "vip", &["unspecified"]),
        case(with("\"127.0.0.1\""), 1, "vip", &["a loopback"]),
        case(with("\"224.0.0.1\""), 1, "vip", &["a multicast"]),
        case(with("\"255.255.255.255\""), 1, "vip", &["the broadcast"]),
        case(with("\"::\""), 1, "vip", &["unspecified"]),
        case(with("\"::1\""), 1, "vip", &["a loopback"]),
        case(with("\"ff02::1\""), 1, "vip", &["a multicast"]),
        case(with("\"fe80::1\""), 1, "vip", &["a link-local"]),
        case(with("\"fe80::1%eth0\""), 1, "vip", &["not an IP address"]),
        case(with("\"::ffff:10.0.0.10\""), 1, "vip", &["an IPv4 address written as IPv6; write 10.0.0.10"]),
        case(with("\"2001:db8::/64\""), 1, "vip", &["leave out the prefix length"]),
        case(with("\"[2001:db8::1]:443\""), 1, "vip", &["leave out the brackets and the port"]),
        case(with("[\"2001:db8::1\", \"2001:DB8:0::1\"]"), 1, "vip[1]", &["in the list already"]),
        case(
            format!("host = \"dtr.example.com:443\"\n{TOP}{REPLICAS}"),
            1,
            "host",
            &["neither a DNS name", "port"],
        ),
        case(format!("host = \"\"\n{TOP}{REPLICAS}"), 1, "host", &["neither a DNS name"]),
        case(
            probe("scheme = \"http\"\nhost = \"a b\""),
            12,
            "service[0].probe.host",
            &["neither a DNS name"],
        ),
    ]);
}

#[test]
fn replicas() {
    check(&[
        case(TOP, 1, "replica", &["missing", "at least one [[replica]]"]),
        case(format!("{TOP}replica = []"), 1, "replica", &["missing"]),
        case(short_and("[[replica]]\nname = \"x\""), 7, "replica[2].address", &["missing", "allowed: an IP"]),
        case(
            short_and("[[replica]]\naddress = \"10.0.0.11\""),
            8,
            "replica[2].address",
            &["the address of replica[0] (line 3) as well"],
        ),
        case(
            short_and("[[replica]]\nname = \"10.0.0.11\"\naddress = \"10.0.0.13\""),
            8,
            "replica[2].name",
            &["the name of replica[0] (line 3) as well"],
        ),
        case(
            format!(
                "{TOP}[[replica]]\nname = \"10.0.0.12\"\naddress = \"10.0.0.11\"\n[[replica]]\naddress = \"10.0.0.12\""
            ),
            6,
            "replica[1].name",
            &["unwritten, so it is \"10.0.0.12\"", "replica[0] (line 3)"],
        ),
        case(
            short_and("[[replica]]\naddress = \"10.0.0.10\""),
            8,
            "replica[2].address",
            &["10.0.0.10 is a VIP as well (vip, line 1)"],
        ),
        case(
            service("vip = \"10.0.0.12\""),
            6,
            "replica[1].address",
            &["10.0.0.12 is a VIP as well (service[0].vip, line 10)"],
        ),
        case(
            short_and(
                "[[replica]]\naddress = \"dtr.example.com\"\n[[replica]]\nname = \"x\"\naddress = \"DTR.example.com\"",
            ),
            11,
            "replica[3].address",
            &["the address of replica[2] (line 7) as well"],
        ),
        case(
            short_and("[[replica]]\naddress = \"dtr example\""),
            8,
            "replica[2].address",
            &["not an IP address", "or a host name"],
        ),
        case(short_and("weight = 257"), 7, "replica[1].weight", &["= 257`", "between 0 and 256"]),
        case(short_and("weight = -1"), 7, "replica[1].weight", &["between 0 and 256"]),
        case(short_and("name = \"a b\""), 7, "replica[1].name", &["not usable as a name", "1 to 64"]),
        case(short_and("name = \"\""), 7, "replica[1].name", &["not usable as a name"]),
        case(short_and("slow_start = \"soon\""), 7, "replica[1].slow_start", &["not a duration"]),
        case(short_and("[[replica]]\naddress = \"127.0.0.1\""), 8, "replica[2].address", &["a loopback"]),
        case(short_and("[[replica]]\naddress = \"fe80::2\""), 8, "replica[2].address", &["a link-local"]),
        case(short_and("[[replica]]\naddress = \"ff05::2\""), 8, "replica[2].address", &["a multicast"]),
        case(
            short_and("[[replica]]\naddress = \"::ffff:10.0.0.12\""),
            8,
            "replica[2].address",
            &["write 10.0.0.12"],
        ),
        case(
            short_and("[[replica]]\naddress = \"2001:db8::1\"\n[[replica]]\naddress = \"2001:db8:0::1\""),
            10,
            "replica[3].address",
            &["the address of replica[2] (line 7) as well"],
        ),
        case(short_and("slow_start = \"2h\""), 7, "replica[1].slow_start", &["must be between 0s and 1h"]),
        case(short_and("[[replica]]\naddress = \"239.0.0.1\""), 8, "replica[2].address", &["a multicast"]),
        case(
            short_and("[[replica]]\naddress = \"10.0.0.256\""),
            8,
            "replica[2].address",
            &["not an IP address"],
        ),
        case(
            short_and("[[replica]]\naddress = \"10.0.0.13:443\""),
            8,
            "replica[2].address",
            &["replica_port"],
        ),
    ]);
}

#[test]
fn services() {
    let two = |second: &str| service(&format!("[[service]]\n{second}"));
    check(&[
        case(short_and("[[service]]\nport = 1"), 7, "service[0].name", &["missing"]),
        case(short_and("[[service]]\nname = \"a\""), 7, "service[0].port", &["missing", "1 to 65535"]),
        case(
            short_and("[[service]]\nname = \"a\"\nport = 0"),
            9,
            "service[0].port",
            &["= 0`", "between 1 and 65535"],
        ),
        case(
            short_and("[[service]]\nname = \"a\"\nport = 65536"),
            9,
            "service[0].port",
            &["between 1 and 65535"],
        ),
        case(service("replica_port = 0"), 10, "service[0].replica_port", &["between 1 and 65535"]),
        case(
            two("name = \"a\"\nport = 80"),
            11,
            "service[1].name",
            &["the name of service[0] (line 8) as well"],
        ),
        case(
            two("name = \"b\"\nport = 443"),
            12,
            "service[1].port",
            &["service[0].port (line 9) has VIP 10.0.0.10 with this port already"],
        ),
        case(
            two("name = \"b\"\nport = 443\nvip = [\"10.0.0.9\", \"10.0.0.10\"]"),
            12,
            "service[1].port",
            &["VIP 10.0.0.10"],
        ),
        case(
            service("backup = [\"10.0.0.11\", \"10.0.0.1\"]"),
            10,
            "service[0].backup[1]",
            &["no replica of this service has this name", "did you mean \"10.0.0.11\"?"],
        ),
        case(
            service("replicas = [\"10.0.0.11\"]\nbackup = [\"10.0.0.12\"]"),
            11,
            "service[0].backup[0]",
            &["no replica of this service"],
        ),
        case(
            service("backup = [\"10.0.0.11\", \"10.0.0.11\"]"),
            10,
            "service[0].backup[1]",
            &["in the list already (line 10)"],
        ),
        case(
            service("backup = [\"10.0.0.12\", \"10.0.0.11\"]"),
            10,
            "service[0].backup",
            &["every replica of the service is a backup"],
        ),
        case(service("replicas = []"), 10, "service[0].replicas", &["no replica to forward to"]),
        case(
            service("replicas = [\"10.0.0.11\", \"10.0.0.1\"]"),
            10,
            "service[0].replicas[1]",
            &["no [[replica]] has this name", "did you mean \"10.0.0.11\"?"],
        ),
        case(
            service("replicas = [\"backup\"]"),
            10,
            "service[0].replicas[0]",
            &["no [[replica]] has this name; they are: 10.0.0.11, 10.0.0.12"],
        ),
        case(
            service("replicas = [\"10.0.0.11\", \"10.0.0.11\"]"),
            10,
            "service[0].replicas[1]",
            &["in the list already"],
        ),
        case(
            service("mode = \"foo\""),
            10,
            "service[0].mode",
            &["unknown value", "\"nat\", \"dsr\", \"ipip\" or \"dnat\""],
        ),
        case(service("affinity = \"x\""), 10, "service[0].affinity", &["\"none\" or \"source-ip\""]),
        case(service("max_fails = -1"), 10, "service[0].max_fails", &["between 0 and 1000"]),
        case(service("fail_timeout = \"x\""), 10, "service[0].fail_timeout", &["not a duration"]),
        case(service("allow = [\"everyone\"]"), 10, "service[0].allow[0]", &["not a network"]),
        case(service("max_fails = 1001"), 10, "service[0].max_fails", &["between 0 and 1000"]),
        case(
            service("fail_timeout = \"500ms\""),
            10,
            "service[0].fail_timeout",
            &["must be between 1s and 1h"],
        ),
    ]);
}

#[test]
fn probes() {
    check(&[
        case(
            probe("scheme = \"ftp\""),
            11,
            "service[0].probe.scheme",
            &["\"http\", \"https\", \"tcp\", \"tls\" or \"none\""],
        ),
        case(probe("port = 0"), 11, "service[0].probe.port", &["between 1 and 65535"]),
        case(probe("path = \"health\""), 11, "service[0].probe.path", &["does not begin with \"/\""]),
        case(probe("path = \"/a b\""), 11, "service[0].probe.path", &["percent-encoded"]),
        case(probe("path = \"/a\\r\\nHost: b\""), 11, "service[0].probe.path", &["control"]),
        case(probe("verify = \"/no/such/ca.pem\""), 11, "service[0].probe.verify", &["No such file"]),
        case(probe("verify = \"/\""), 11, "service[0].probe.verify", &["a directory"]),
        case(
            probe("verify = \"true\""),
            11,
            "service[0].probe.verify",
            &["not an absolute path", "no quotes"],
        ),
        case(probe("status = []"), 11, "service[0].probe.status", &["no status"]),
        case(
            probe("status = [\"200\", \"399-200\"]"),
            11,
            "service[0].probe.status[1]",
            &["within 100 to 599"],
        ),
        case(probe("status = [\"2xx\"]"), 11, "service[0].probe.status[0]", &["neither a status code nor"]),
        case(
            probe("body = \"(\""),
            11,
            "service[0].probe.body",
            &["not a regular expression: unclosed group"],
        ),
        case(probe("body = 'a{1000}{1000}{1000}'"), 11, "service[0].probe.body", &["exceeds size limit"]),
        case(probe("interval = \"2\""), 11, "service[0].probe.interval", &["not a duration", "as in \"2s\""]),
        case(probe("interval = \"2 bananas\""), 11, "service[0].probe.interval", &["not a duration"]),
        case(probe("interval = \"2h\""), 11, "service[0].probe.interval", &["must be between 10ms and 1h"]),
        case(probe("timeout = \"0s\""), 11, "service[0].probe.timeout", &["must be between 10ms and 1h"]),
        case(
            probe("interval = \"1s\"\nfast_interval = \"2s\""),
            12,
            "service[0].probe.fast_interval",
            &["above `interval`, which is 1s"],
        ),
        case(probe("fast_interval = \"3s\""), 11, "service[0].probe.fast_interval", &["which is 2s"]),
        case(probe("rise = 0"), 11, "service[0].probe.rise", &["between 1 and 1000"]),
        case(probe("fall = 0"), 11, "service[0].probe.fall", &["between 1 and 1000"]),
        case(probe("jitter = \"51%\""), 11, "service[0].probe.jitter", &["between 0% and 50%"]),
        case(probe("jitter = \"-1%\""), 11, "service[0].probe.jitter", &["between 0% and 50%"]),
        case(probe("jitter = \"NaN%\""), 11, "service[0].probe.jitter", &["between 0% and 50%"]),
        case(probe("jitter = \"10\""), 11, "service[0].probe.jitter", &["not a percentage"]),
        case(
            short_and("[[service]]\nname = \"a\"\nport = 5000\n[service.probe]\npath = \"/x\""),
            10,
            "service[0].probe.scheme",
            &["unwritten, so it is \"tcp\" for replica_port 5000", "\"http\" or \"https\""],
        ),
    ]);
}

#[test]
fn datapath() {
    let with = |line: &str| short_and(&format!("[datapath]\n{line}"));
    check(&[
        case(with("attach = \"ebpf\""), 8, "datapath.attach", &["unknown value", "\"auto\", \"xdp\""]),
        case(with("max_flows = 1023"), 8, "datapath.max_flows", &["between 1024 and 16777216"]),
        case(with("max_flows = 16777217"), 8, "datapath.max_flows", &["between 1024 and 16777216"]),
        case(with("nat_ports = \"many\""), 8, "datapath.nat_ports", &["not a range", "FIRST-LAST"]),
        case(with("nat_ports = \"10000-99999\""), 8, "datapath.nat_ports", &["not a range"]),
        case(with("nat_ports = \"\""), 8, "datapath.nat_ports", &["not a range"]),
        case(with("nat_ports = \"20000-10000\""), 8, "datapath.nat_ports", &["an empty range"]),
        case(with("nat_ports = \"1023-2000\""), 8, "datapath.nat_ports", &["below 1024"]),
        case(
            with("nat_ports = \"10000-40000\""),
            8,
            "datapath.nat_ports",
            &["10000-40000 overlaps", "32768-60999", "free on this host is \"1024-32767\""],
        ),
        case(with("nat_addresses = []"), 8, "datapath.nat_addresses", &["an empty list"]),
        case(with("nat_addresses = [\"0.0.0.0\"]"), 8, "datapath.nat_addresses[0]", &["unspecified"]),
        case(
            with("nat_addresses = [\"10.0.0.1\", \"10.0.0.1\"]"),
            8,
            "datapath.nat_addresses[1]",
            &["already"],
        ),
        case(
            with("nat_addresses = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\", \"10.0.0.5\"]"),
            8,
            "datapath.nat_addresses",
            &["5 IPv4 addresses, and the datapath holds 4", "allowed: a list of 1 to 4 IP"],
        ),
        case(with("idle_timeout = \"500ms\""), 8, "datapath.idle_timeout", &["must be between 1s and 7days"]),
        case(with("idle_timeout = \"8days\""), 8, "datapath.idle_timeout", &["must be between 1s and 7days"]),
        case(
            with("idle_timeout = \"99999999999999999999h\""),
            8,
            "datapath.idle_timeout",
            &["not a duration"],
        ),
        case(with("hash_seed = -1"), 8, "datapath.hash_seed", &["between 0 and 9223372036854775807"]),
        case(with("all_down = \"panic\""), 8, "datapath.all_down", &["\"fail-open\" or \"refuse\""]),
        case(with("on_down = \"panic\""), 8, "datapath.on_down", &["\"auto\", \"reset\" or \"leave\""]),
    ]);
}

#[test]
fn agent() {
    let long = format!("socket = \"/{}\"", "a".repeat(107));
    let with = |line: &str| short_and(&format!("[agent]\n{line}"));
    check(&[
        case(with("socket = \"dtr-lb.sock\""), 8, "agent.socket", &["not an absolute path"]),
        case(with(&long), 8, "agent.socket", &["108 bytes long", "107"]),
        case(with("bpffs = \"bpf\""), 8, "agent.bpffs", &["not an absolute path"]),
        case(with("http = \"8181\""), 8, "agent.http", &["not an address with a port", "127.0.0.1:8181"]),
        case(with("http = \"127.0.0.1:0\""), 8, "agent.http", &["port 0"]),
        case(with("http = \"10.0.0.10:443\""), 8, "agent.http", &["service `https` is there"]),
        case(with("http_names = [\"lb1\", \"lb 2\"]"), 8, "agent.http_names[1]", &["not a DNS name"]),
        case(with("admin_token_file = \"token\""), 8, "agent.admin_token_file", &["not an absolute path"]),
    ]);
}

#[test]
fn without_a_word_there_has_to_be_a_wide_range_of_ports() {
    let parse =
        |ephemeral_ports| Config::parse(&short_and(""), "test.toml", &[], &HostFacts { ephemeral_ports });
    assert_eq!(parse(10_240..=65_535).unwrap().datapath.nat_ports, 1024..=10_239);
    assert_eq!(parse(1024..=60_999).unwrap().datapath.nat_ports, 61_000..=65_535);
    let error = parse(2048..=65_535).unwrap_err().to_string();
    for words in ["`datapath.nat_ports`", "no wide range", "2048-65535", "\"1024-2047\""] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn limits() {
    let of = |keys: &str| format!("{}\n[[service]]\nname = \"a\"\nport = 80\n{keys}\n", short_and(""));
    let line = of("").lines().count();
    check(&[
        case(of("denied = \"no\""), line, "service[0].denied", &["\"drop\" or \"reset\""]),
        case(
            of("max_flows_per_replica = -1"),
            line,
            "service[0].max_flows_per_replica",
            &["between 0 and 16777216"],
        ),
        case(
            of("max_new_flows_per_source = 1000001"),
            line,
            "service[0].max_new_flows_per_source",
            &["between 0 and 1000000"],
        ),
        case(
            of("affinity_timeout = \"3h\""),
            line,
            "service[0].affinity_timeout",
            &["add affinity = \"source-ip\""],
        ),
        case(
            of("max_flows_per_replica = 7\nmode = \"dsr\""),
            line,
            "service[0].max_flows_per_replica",
            &["in another's name"],
        ),
        case(
            of("max_new_flows_per_source = 7\nmode = \"dsr\""),
            line,
            "service[0].max_new_flows_per_source",
            &["in another's name"],
        ),
    ]);
    check(&[case(
        of("affinity_timeout = \"3h\"\naffinity = \"source-ip\"\nmode = \"dsr\""),
        line,
        "service[0].affinity_timeout",
        &["in another's name"],
    )]);
    let with = |line: &str| short_and(&format!("[datapath]\n{line}"));
    check(&[
        case(with("syn_challenge = true"), 8, "datapath.syn_challenge", &["\"auto\", \"always\" or \"off\""]),
        case(with("macs = \"all\""), 8, "datapath.macs", &["\"own\" or \"any\""]),
    ]);
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = "vip = \"10.0.0.10\"\ninterfaces = []\nhost = \"a b\"\n\
                [agent]\nsocket = \"x\"\n\
                [[replica]]\naddress = \"10.0.0.10\"\nweight = 999\n\
                [[service]]\nname = \"a\"\nport = 0\n[service.probe]\nrise = 0\nfall = 0\n\
                [datapath]\nmax_flows = 1\n";
    let found = problems(text);
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "interfaces",
            "host",
            "agent.socket",
            "replica[0].address",
            "replica[0].weight",
            "service[0].port",
            "service[0].probe.rise",
            "service[0].probe.fall",
            "datapath.max_flows",
        ]
    );
}

#[test]
fn a_message_in_full() {
    let found = problems(&short_and("\tweight = 300 # é\n"));
    assert_eq!(found[0].place, Place::File { name: "test.toml".into(), line: 7, column: 11 });
    assert_eq!(found[0].to_string(), "test.toml:7:11: `replica[1].weight = 300`: must be between 0 and 256");
}

#[test]
fn values_cannot_forge_lines() {
    let found = problems(&short_and("name = \"a\\nother.toml:1:1: `x`: fine\""));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string().lines().count(), 1);
}
