//! `preset`: what a config need not say, and what it says all the same.

use super::{REPLICAS, TOP, case, check, short_and, valid};
use crate::config::{Preset, Scheme, Service, StatusSet};

fn with(preset: &str, services: &str) -> String {
    format!("{TOP}preset = \"{preset}\"\n{REPLICAS}{services}")
}

/// Name, port, scheme and path of each.
fn shown(services: &[Service]) -> Vec<(&str, u16, Scheme, &str)> {
    services.iter().map(|s| (s.name.as_str(), s.port, s.probe.scheme, s.probe.path.as_str())).collect()
}

#[test]
fn each_preset_has_its_services_and_questions() {
    use Scheme::{Http, Https};
    for (preset, expected) in [
        ("dtr", &[("http", 80, Http, "/health"), ("https", 443, Https, "/health")][..]),
        ("msr", &[("http", 80, Http, "/_ping"), ("https", 443, Https, "/_ping")]),
        ("harbor", &[("http", 80, Http, "/api/v2.0/health"), ("https", 443, Https, "/api/v2.0/health")]),
        ("registry", &[("registry", 5000, Http, "/v2/")]),
        ("kubernetes-api", &[("kubernetes-api", 6443, Https, "/readyz")]),
    ] {
        let config = valid(&with(preset, ""));
        assert_eq!(shown(&config.services), expected, "{preset}");
        for service in &config.services {
            assert_eq!((service.replica_port, service.probe.port), (service.port, service.port));
            assert_eq!(service.replicas.len(), 2);
        }
    }
    assert_eq!(valid(&with("dtr", "")), valid(&short_and("")), "unwritten, it is dtr");
    check(&[
        case(with("tcp", ""), 1, "service", &["preset \"tcp\" has no ports of its own"]),
        case(with("habor", ""), 3, "preset", &["unknown value (did you mean \"harbor\"?); allowed: \"dtr\""]),
        case(with("ucp", ""), 3, "preset", &["unknown value", "\"kubernetes-api\""]),
    ]);
}

#[test]
fn what_a_service_leaves_unwritten_is_the_presets() {
    use Scheme::{Http, Https, Tcp};
    let service =
        |preset: &str, keys: &str| valid(&with(preset, &format!("[[service]]\n{keys}"))).services.remove(0);
    for (preset, keys, expected) in [
        // By the port, by the name.
        ("harbor", "port = 443", ("https", 443, Https, "/api/v2.0/health")),
        ("harbor", "name = \"http\"", ("http", 80, Http, "/api/v2.0/health")),
        ("registry", "name = \"registry\"\nport = 443", ("registry", 443, Https, "/v2/")),
        ("kubernetes-api", "port = 6443", ("kubernetes-api", 6443, Https, "/readyz")),
        // On another port, it is asked as the product is.
        ("registry", "name = \"a\"\nport = 5001", ("a", 5001, Http, "/v2/")),
        (
            "harbor",
            "name = \"a\"\nport = 8443\nprobe.scheme = \"https\"",
            ("a", 8443, Https, "/api/v2.0/health"),
        ),
        ("tcp", "name = \"https\"\nport = 443", ("https", 443, Tcp, "/health")),
        // What is written goes before it.
        ("harbor", "port = 443\nprobe.path = \"/x\"", ("https", 443, Https, "/x")),
        ("harbor", "port = 443\nname = \"b\"\nprobe.scheme = \"tcp\"", ("b", 443, Tcp, "/api/v2.0/health")),
    ] {
        let found = service(preset, keys);
        assert_eq!(shown(std::slice::from_ref(&found)), [expected], "{preset}: {keys}");
    }
    let probe = |keys: &str| service("harbor", &format!("port = 443\n{keys}")).probe;
    let of_preset = probe("");
    assert_eq!(of_preset.status, StatusSet::of(&[200]));
    assert_eq!(of_preset.body, Preset::Harbor.body(Https));
    assert_eq!(probe("probe.status = [\"200-299\"]").status.to_string(), "200-299");
    assert_eq!(
        probe("probe.status = [\"200-299\"]").body,
        of_preset.body,
        "single keys go before single keys"
    );
    assert!(probe("probe.body = \"\"").body.expect("a pattern").is_match(b"anything"));
    assert_eq!(probe("probe.scheme = \"tcp\"").body, None);
}

#[test]
fn a_name_of_the_preset_is_there_once() {
    let two = "[[service]]\nport = 443\n[[service]]\nport = 443\nvip = \"10.0.0.20\"\n";
    check(&[
        case(
            with("dtr", two),
            10,
            "service[1].name",
            &["unwritten, so it is \"https\"", "service[0] (line 8)"],
        ),
        case(
            with("dtr", "[[service]]\nport = 443\n[[service]]\nname = \"https\"\nport = 444\n"),
            11,
            "service[1].name",
            &["the name of service[0]"],
        ),
        case(
            with("dtr", "[[service]]\nname = \"a\"\nport = 443\n[[service]]\nname = \"https\"\n"),
            12,
            "service[1].name",
            &["has VIP 10.0.0.10 with this port already"],
        ),
        case(with("registry", "[[service]]\nport = 443\n"), 8, "service[0].name", &["missing"]),
        case(with("registry", "[[service]]\nname = \"https\"\n"), 8, "service[0].port", &["missing"]),
    ]);
}
