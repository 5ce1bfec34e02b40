//! Every key of the config and, in a few words, what it takes.
//!
//! The one place these words are written: a wrong type, a wrong value, a missing key and an unknown one all quote
//! from here. `tests.rs` holds it against the structs in `raw.rs`, so that neither can have a key the other lacks.

/// Dotted, without indexes, in the order of the reference config; and what is allowed.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("vip", "an IP address in quotes, or a list of different ones, as in [\"10.0.0.10\", \"2001:db8::10\"]"),
    (
        "interfaces",
        "a list of at least one interface name, each once, as in [\"eth0\"] (see `ip link`); left out: by the routes",
    ),
    ("host", "a DNS name or an IP address, in quotes, without a port"),
    ("preset", "\"dtr\", \"msr\", \"harbor\", \"registry\", \"kubernetes-api\" or \"tcp\""),
    ("datapath", "a table: [datapath]"),
    ("datapath.attach", "\"auto\", \"xdp\", \"xdp-generic\" or \"tc\""),
    ("datapath.max_flows", "a whole number, 1024 to 16777216"),
    (
        "datapath.nat_ports",
        "\"FIRST-LAST\" within 1024 to 65535, outside the host's ephemeral range, as in \"1024-32767\"",
    ),
    (
        "datapath.nat_addresses",
        "a list of 1 to 4 IP addresses of this host for each family, each once, as in [\"10.0.0.10\"]",
    ),
    (
        "datapath.tunnel_sources",
        "a list of one network a family, /16 or shorter (IPv4), /112 or shorter (IPv6), as in [\"172.16.0.0/16\"]",
    ),
    ("datapath.idle_timeout", "a duration in quotes, 1s to 7 days, as in \"1h\""),
    (
        "datapath.hash_seed",
        "a whole number, 0 to 9223372036854775807, equal on all balancers that share a VIP",
    ),
    ("datapath.all_down", "\"fail-open\" or \"refuse\""),
    ("datapath.on_down", "\"auto\", \"reset\" or \"leave\""),
    ("datapath.syn_challenge", "\"auto\", \"always\" or \"off\""),
    ("datapath.macs", "\"own\" or \"any\""),
    ("service", "[[service]] tables, with double brackets; without any, the services are those of `preset`"),
    ("service.name", "1 to 64 of the characters A-Z a-z 0-9 . _ : - in quotes, each service its own name"),
    ("service.port", "a whole number, 1 to 65535, each VIP and port in one service only"),
    (
        "service.vip",
        "an IP address in quotes, or a list of different ones, as in [\"10.0.0.10\", \"2001:db8::10\"]",
    ),
    ("service.mode", "\"nat\", \"dsr\", \"ipip\" or \"dnat\""),
    ("service.replica_port", "a whole number, 1 to 65535"),
    ("service.affinity", "\"none\" or \"source-ip\""),
    ("service.replicas", "a list of at least one name of a [[replica]], each once"),
    ("service.backup", "a list of names of replicas of this service, each once, but not of all"),
    ("service.max_fails", "a whole number, 0 to 1000; 0 turns the passive check off"),
    ("service.fail_timeout", "a duration in quotes, 1s to 1h, as in \"30s\""),
    ("service.allow", "a list of networks and addresses, as in [\"10.0.0.0/8\", \"2001:db8::/32\"]"),
    ("service.deny", "a list of networks and addresses, as in [\"10.0.0.13\", \"2001:db8::/32\"]"),
    ("service.denied", "\"drop\" or \"reset\""),
    ("service.max_flows_per_replica", "a whole number, 0 to 16777216; 0 is no limit"),
    (
        "service.max_new_flows_per_source",
        "a whole number, 0 to 1000000, of connections a second; 0 is no limit",
    ),
    (
        "service.affinity_timeout",
        "a duration in quotes, 0s to 7 days, as in \"3h\", beside affinity = \"source-ip\"",
    ),
    ("service.probe", "a table: [service.probe], below its [[service]]"),
    ("service.probe.scheme", "\"http\", \"https\", \"tcp\", \"tls\" or \"none\""),
    ("service.probe.port", "a whole number, 1 to 65535"),
    ("service.probe.method", "an HTTP method in quotes, as in \"GET\" or \"HEAD\""),
    ("service.probe.path", "a path from \"/\" on, of visible ASCII characters, as in \"/health\""),
    ("service.probe.host", "a DNS name or an IP address, in quotes, without a port"),
    ("service.probe.headers", "a list of headers, as in [\"Authorization: Basic YTpi\"]"),
    ("service.probe.request_body", "a text in quotes, of at most 64 KiB"),
    (
        "service.probe.verify",
        "false, true (no quotes), or the absolute path of an existing CA file, in quotes",
    ),
    (
        "service.probe.alpn",
        "a list of names of protocols, each once, for https \"http/1.1\" and \"http/1.0\" only, as in [\"http/1.1\"]",
    ),
    (
        "service.probe.status",
        "a list of HTTP status codes and ranges within 100 to 599, as in [\"200-299\", \"304\"]",
    ),
    ("service.probe.body", "a regular expression in quotes; single quotes leave its backslashes alone"),
    (
        "service.probe.reject_body",
        "a regular expression in quotes; single quotes leave its backslashes alone",
    ),
    (
        "service.probe.expect_headers",
        "a list of headers with a regular expression each, as in ['Content-Type: ^application/json']",
    ),
    (
        "service.probe.reject_headers",
        "a list of headers with a regular expression each, as in ['X-Mode: ^maintenance$']",
    ),
    (
        "service.probe.steps",
        "a list of at most 100 tables of one key each, as in [{ send = \"PING\\r\\n\" }, { expect = '^\\+PONG' }]",
    ),
    ("service.probe.steps.send", "a text in double quotes, as in \"PING\\r\\n\""),
    ("service.probe.steps.send_hex", "pairs of hexadecimal digits in quotes, as in \"0d0a\""),
    (
        "service.probe.steps.expect",
        "a regular expression in quotes; single quotes leave its backslashes alone",
    ),
    (
        "service.probe.steps.reject",
        "a regular expression in quotes; single quotes leave its backslashes alone",
    ),
    ("service.probe.interval", "a duration in quotes, 10ms to 1h, as in \"2s\""),
    ("service.probe.fast_interval", "a duration in quotes, 10ms up to `interval`, as in \"500ms\""),
    ("service.probe.down_interval", "a duration in quotes, 10ms to 1h, as in \"10s\""),
    ("service.probe.timeout", "a duration in quotes, 10ms to 1h, as in \"2s\""),
    ("service.probe.rise", "a whole number, 1 to 1000"),
    ("service.probe.fall", "a whole number, 1 to 1000"),
    ("service.probe.jitter", "a percentage in quotes, \"0%\" to \"50%\""),
    ("service.probe.agent_port", "a whole number, 0 to 65535; 0 asks no agent"),
    ("replica", "at least one [[replica]] table, with double brackets"),
    ("replica.name", "1 to 64 of the characters A-Z a-z 0-9 . _ : - in quotes, each replica its own name"),
    (
        "replica.address",
        "an IP address in quotes that no other replica and no VIP has, as in \"10.0.0.11\", or a host name",
    ),
    ("replica.weight", "a whole number, 0 to 256; 0 gives it no new flows"),
    ("replica.slow_start", "a duration in quotes, 0s to 1h, as in \"30s\""),
    ("agent", "a table: [agent]"),
    ("agent.socket", "an absolute path of at most 107 bytes, as in \"/run/dtr-lb/dtr-lb.sock\""),
    ("agent.bpffs", "an absolute path below a BPF file system, as in \"/sys/fs/bpf/dtr-lb\""),
    ("agent.http", "ADDRESS:PORT in quotes, as in \"127.0.0.1:8181\", or \"\" for none"),
    ("agent.http_names", "a list of DNS names, as in [\"lb1.example.com\"]"),
    ("agent.admin_token_file", "an absolute path, or \"\" for none"),
];

/// What `key` takes; an element of a list takes what its list takes.
pub(super) fn allowed(key: &str) -> Option<&'static str> {
    let plain = without_indexes(key);
    KEYS.iter().find(|(known, _)| *known == plain).map(|(_, allowed)| *allowed)
}

/// What to say about a key that does not exist.
pub(super) fn unknown(key: &str) -> String {
    let plain = without_indexes(key);
    let (table, name) = plain.rsplit_once('.').unwrap_or(("", &plain));
    let siblings: Vec<&str> = KEYS
        .iter()
        .map(|(known, _)| known.rsplit_once('.').unwrap_or(("", known)))
        .filter(|(other_table, _)| *other_table == table)
        .map(|(_, name)| name)
        .collect();
    let hint = match closest(name, siblings.iter().copied()) {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None => elsewhere(name).map_or_else(String::new, |other| format!(" here (there is `{other}`)")),
    };
    format!("unknown key{hint}; allowed: {}", siblings.join(", "))
}

/// The candidate that `word` is most likely a slip of, if any is near enough to be one.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Two slips; fewer in short words, where two make any word out of any other.
    let most = match word.chars().count() {
        0..=3 => 1,
        _ => 2,
    };
    candidates
        .map(|candidate| (strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The same name in another table: a line below the wrong header is the usual reason.
fn elsewhere(name: &str) -> Option<&'static str> {
    KEYS.iter().map(|(known, _)| *known).find(|known| known.rsplit('.').next() == Some(name))
}

fn without_indexes(key: &str) -> String {
    let mut plain = String::with_capacity(key.len());
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_nth_tables_take_what_the_key_takes() {
        assert_eq!(allowed("service[12].probe.status[3]"), allowed("service.probe.status"));
        assert!(allowed("service[0].probe.rise").is_some());
        assert_eq!(allowed("service[0].nonsense"), None);
    }

    #[test]
    fn unknown_keys_get_the_nearest_known_one() {
        let cases = [
            ("datapth", "did you mean `datapath`?"),
            ("service[1].prot", "did you mean `port`?"),
            ("service[0].probe.Interval", "did you mean `interval`?"),
            ("replica[0].wieght", "did you mean `weight`?"),
            ("interval", "there is `service.probe.interval`"),
            ("replica[0].port", "there is `service.port`"),
        ];
        for (key, hint) in cases {
            let message = unknown(key);
            assert!(message.contains(hint), "{key}: {message}");
        }
        let message = unknown("agent.zzzzzz");
        assert_eq!(message, "unknown key; allowed: socket, bpffs, http, http_names, admin_token_file");
    }
}
