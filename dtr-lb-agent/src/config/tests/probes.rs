//! `[service.probe]`: what other balancers' checks have, and which keys go with which scheme.

use std::time::Duration;

use hyper::Method;

use super::{case, check, parse_with, probe, problems, short_and, valid};
use crate::config::{Pattern, Probe, Scheme, Step};

/// A service whose probe would be plain TCP.
fn unwritten(port: u16, more: &str) -> String {
    short_and(&format!("[[service]]\nname = \"a\"\nport = {port}\n[service.probe]\n{more}"))
}

fn read(more: &str) -> Probe {
    valid(&probe(more)).services.remove(0).probe
}

#[test]
fn nothing_more_is_asked_unless_it_is_written() {
    let probe = read("");
    assert_eq!(probe.method, Method::GET);
    assert_eq!((probe.headers.len(), &probe.request_body, probe.alpn.len()), (0, &None, 0));
    assert_eq!((&probe.reject_body, probe.expect_headers.len(), probe.reject_headers.len()), (&None, 0, 0));
    assert_eq!((probe.steps.len(), probe.agent_port), (0, None));
    assert_eq!(probe.down_interval, Duration::from_secs(2));
    assert_eq!(read("interval = \"5s\"").down_interval, Duration::from_secs(5), "that of interval");
}

#[test]
fn every_key_of_http() {
    let probe = read(
        r#"
        method = "POST"
        headers = ["Authorization:  Basic YTpi ", "x-a: 1", "X-A: 2", "X-Empty:"]
        request_body = '{"ping": true}'
        alpn = ["http/1.1", "http/1.0"]
        body = "ok"
        reject_body = "maintenance"
        expect_headers = ['Content-Type: ^application/json(;|$)', "X-There:"]
        reject_headers = ['X-Mode: \bread:only\b']
        down_interval = "1m"
        agent_port = 8700
        "#,
    );
    assert_eq!((probe.scheme, &probe.method), (Scheme::Https, &Method::POST));
    let headers: Vec<_> =
        probe.headers.iter().map(|header| (header.name.as_str(), header.value.to_str().unwrap())).collect();
    assert_eq!(headers, [("authorization", "Basic YTpi"), ("x-a", "1"), ("x-a", "2"), ("x-empty", "")]);
    assert_eq!(probe.request_body.as_deref(), Some("{\"ping\": true}"));
    assert_eq!(probe.alpn, ["http/1.1", "http/1.0"]);
    assert_eq!(probe.body.as_ref().map(Pattern::as_str), Some("ok"));
    assert_eq!(probe.reject_body.as_ref().map(Pattern::as_str), Some("maintenance"));
    let shown = |patterns: &[_]| patterns.iter().map(ToString::to_string).collect::<Vec<String>>();
    assert_eq!(shown(&probe.expect_headers), ["content-type: ^application/json(;|$)", "x-there: "]);
    assert_eq!(shown(&probe.reject_headers), ["x-mode: \\bread:only\\b"]);
    assert_eq!((probe.down_interval, probe.agent_port), (Duration::from_secs(60), Some(8700)));
    assert_eq!(read("agent_port = 0").agent_port, None);
    assert_eq!(read("method = 'HEAD'").method, Method::HEAD);
    assert_eq!(read("method = 'PURGE'").method.as_str(), "PURGE");
}

#[test]
fn every_step() {
    for scheme in ["tcp", "tls"] {
        let probe = read(&format!(
            "scheme = '{scheme}'\nsteps = [{{ expect = '^220 ' }}, {{ send = \"PING\\r\\n\" }}, \
             {{ send_hex = '000d0A' }}, {{ expect = '^\\+PONG' }}, {{ reject = 'ERR' }}]"
        ));
        let pattern = |text| Pattern::new(text).unwrap();
        assert_eq!(
            probe.steps,
            [
                Step::Expect(pattern("^220 ")),
                Step::Send(b"PING\r\n".to_vec()),
                Step::Send(vec![0, 13, 10]),
                Step::Expect(pattern("^\\+PONG")),
                Step::Reject(pattern("ERR")),
            ]
        );
    }
    let probe = read("scheme = 'tls'\nhost = 'a.example'\nverify = true\nalpn = ['h2', 'x-any']");
    assert_eq!((probe.scheme, probe.host.as_deref()), (Scheme::Tls, Some("a.example")));
    assert_eq!(probe.alpn, ["h2", "x-any"]);
    let tables = "scheme = 'tcp'\n[[service.probe.steps]]\nsend = 'a'\n[[service.probe.steps]]\nexpect = 'b'";
    assert_eq!(read(tables).steps.len(), 2);
}

#[test]
fn values_that_are_refused() {
    let key = |more: &str| probe(more);
    check(&[
        case(key("method = 'get'"), 11, "service[0].probe.method", &["upper case", "\"GET\""]),
        case(key("method = 'G T'"), 11, "service[0].probe.method", &["not a method"]),
        case(key("method = ''"), 11, "service[0].probe.method", &["not a method"]),
        case(key("method = 'CONNECT'"), 11, "service[0].probe.method", &["tunnel"]),
        case(key("headers = ['a']"), 11, "service[0].probe.headers[0]", &["no \":\""]),
        case(
            key("headers = ['a: b', 'a b: c']"),
            11,
            "service[0].probe.headers[1]",
            &["not a header's name"],
        ),
        case(key("headers = [': c']"), 11, "service[0].probe.headers[0]", &["not a header's name"]),
        case(
            key("headers = ['hOst: a']"),
            11,
            "service[0].probe.headers[0]",
            &["without its name in `host`"],
        ),
        case(
            key("headers = ['Connection: a']"),
            11,
            "service[0].probe.headers[0]",
            &["sets this header itself"],
        ),
        case(key("headers = ['Content-Length: 1']"), 11, "service[0].probe.headers[0]", &["itself"]),
        case(key("headers = ['Transfer-Encoding: a']"), 11, "service[0].probe.headers[0]", &["itself"]),
        case(key("headers = [\"A: b\\r\\nC: d\"]"), 11, "service[0].probe.headers[0]", &["control"]),
        case(key("reject_body = '('"), 11, "service[0].probe.reject_body", &["unclosed group"]),
        case(key("method = 'HEAD'\nbody = 'a'"), 12, "service[0].probe.body", &["HEAD has no body"]),
        case(key("reject_body = 'a'\nmethod = 'HEAD'"), 11, "service[0].probe.reject_body", &["no body"]),
        case(key("expect_headers = ['A: (']"), 11, "service[0].probe.expect_headers[0]", &["unclosed group"]),
        case(key("reject_headers = ['A']"), 11, "service[0].probe.reject_headers[0]", &["no \":\""]),
        case(key("alpn = ['h2']"), 11, "service[0].probe.alpn[0]", &["speak HTTP/1 only"]),
        case(
            key("alpn = ['http/1.1', 'http/1.1']"),
            11,
            "service[0].probe.alpn[1]",
            &["in the list already"],
        ),
        case(
            key("scheme = 'tls'\nalpn = ['']"),
            12,
            "service[0].probe.alpn[0]",
            &["not the name of a protocol"],
        ),
        case(
            key("down_interval = '5ms'"),
            11,
            "service[0].probe.down_interval",
            &["must be between 10ms and 1h"],
        ),
        case(key("agent_port = 65536"), 11, "service[0].probe.agent_port", &["must be between 1 and 65535"]),
    ]);
    let long = "x".repeat(64 * 1024 + 1);
    let found = problems(&key(&format!("request_body = '{long}'")));
    assert_eq!(found[0].what, "longer than 64 KiB");
}

#[test]
fn steps_that_are_refused() {
    let steps = |steps: &str| probe(&format!("scheme = 'tcp'\nsteps = [{steps}]"));
    check(&[
        case(steps("{}"), 12, "service[0].probe.steps[0]", &["no key", "{ send ="]),
        case(steps("{ send = 'a', expect = 'b' }"), 12, "service[0].probe.steps[0]", &["more than one key"]),
        case(steps("{ snd = 'a' }"), 12, "service[0].probe.steps[0].snd", &["did you mean `send`?"]),
        case(steps("'PING'"), 12, "service[0].probe.steps[0]", &["wrong type", "one key each"]),
        case(steps("{ send = '' }"), 12, "service[0].probe.steps[0].send", &["nothing to send"]),
        case(steps("{ send_hex = '0' }"), 12, "service[0].probe.steps[0].send_hex", &["pairs"]),
        case(steps("{ expect = '(' }"), 12, "service[0].probe.steps[0].expect", &["unclosed group"]),
        case(
            steps("{ send = 'a' }, { reject = 'b' }"),
            12,
            "service[0].probe.steps[1]",
            &["nothing is collected before it"],
        ),
        case(steps(&"{ send = 'a' },".repeat(101)), 12, "service[0].probe.steps", &["more than 100 steps"]),
    ]);
}

#[test]
fn keys_that_the_scheme_would_ignore() {
    check(&[
        case(
            probe("scheme = 'tcp'\npath = '/'"),
            12,
            "service[0].probe.path",
            &["it goes with \"http\" or \"https\""],
        ),
        case(probe("scheme = 'tls'\nstatus = ['200']"), 12, "service[0].probe.status", &["scheme = \"tls\""]),
        case(
            probe("scheme = 'tcp'\nhost = 'a'"),
            12,
            "service[0].probe.host",
            &["\"http\", \"https\" or \"tls\""],
        ),
        case(
            probe("scheme = 'http'\nverify = true"),
            12,
            "service[0].probe.verify",
            &["\"https\" or \"tls\""],
        ),
        case(
            probe("scheme = 'http'\nalpn = ['http/1.1']"),
            12,
            "service[0].probe.alpn",
            &["\"https\" or \"tls\""],
        ),
        case(
            probe("scheme = 'http'\nsteps = [{ send = 'a' }]"),
            12,
            "service[0].probe.steps",
            &["\"tcp\" or \"tls\""],
        ),
        case(
            unwritten(5000, "reject_headers = ['a: b']"),
            10,
            "service[0].probe.scheme",
            &["it is \"tcp\" for replica_port 5000, and `reject_headers` here needs \"http\" or \"https\""],
        ),
        case(
            unwritten(443, "steps = [{ send = 'a' }]"),
            10,
            "service[0].probe.scheme",
            &["it is \"https\" for replica_port 443, and `steps` here needs \"tcp\" or \"tls\""],
        ),
    ]);
    let keys = [
        ("method = 'GET'", ["http", "https"].as_slice()),
        ("path = '/'", &["http", "https"]),
        ("host = 'a'", &["http", "https", "tls"]),
        ("headers = []", &["http", "https"]),
        ("request_body = ''", &["http", "https"]),
        ("verify = false", &["https", "tls"]),
        ("alpn = []", &["https", "tls"]),
        ("status = ['200']", &["http", "https"]),
        ("body = ''", &["http", "https"]),
        ("reject_body = 'a'", &["http", "https"]),
        ("expect_headers = []", &["http", "https"]),
        ("reject_headers = []", &["http", "https"]),
        ("steps = []", &["tcp", "tls"]),
        ("agent_port = 1", &["http", "https", "tcp", "tls"]),
        ("down_interval = '1s'", &["http", "https", "tcp", "tls"]),
    ];
    for (line, schemes) in keys {
        for scheme in ["http", "https", "tcp", "tls"] {
            let text = probe(&format!("scheme = '{scheme}'\n{line}"));
            let taken = parse_with(&text, &[]).is_ok();
            assert_eq!(taken, schemes.contains(&scheme), "{scheme}: {line}");
        }
        // Turned off, a probe stays as it is written.
        assert!(parse_with(&probe(line), &["service.0.probe.scheme=none"]).is_ok(), "{line}");
    }
}
