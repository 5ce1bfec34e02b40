//! The HTTP probe: what counts as a good answer, and what is sent.

use std::time::Duration;

use super::{
    LOOPBACK, SHORT, ask, pattern, probe, prober, said,
    server::{Script, Server},
    statuses,
};
use crate::{
    config::Scheme,
    probe::{Failure, Phase},
};

#[tokio::test]
async fn statuses_are_judged_by_the_config() {
    for (line, accepted, expected) in [
        ("200 OK", "200-399", "ok"),
        ("204 No Content", "200-399", "ok"),
        ("302 Found", "200-399", "ok"),
        ("399 Odd", "200-399", "ok"),
        ("404 Not Found", "200-399", "status 404, expected 200-399"),
        ("503 Service Unavailable", "200-399", "status 503, expected 200-399"),
        ("401 Unauthorized", "401", "ok"),
        ("200 OK", "401", "status 200, expected 401"),
    ] {
        let server = Server::plain(Script::http(line, "")).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.status = statuses(&[accepted]);
        let outcome = ask(probe).await;
        assert_eq!(said(&outcome), expected, "{line}");
        assert_eq!(outcome.status.map(|status| status.to_string()).as_deref(), line.split(' ').next());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::plain(Script::http("503 Service Unavailable", "")).await;
    let location = format!("http://{}/", elsewhere.address);
    let server =
        Server::plain(Script::answer(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n"))).await;
    let outcome = ask(probe(Scheme::Http, server.port())).await;
    assert_eq!((said(&outcome).as_str(), outcome.status), ("ok", Some(302)));
    assert_eq!(elsewhere.seen().connections, 0);
    assert_eq!(server.seen().connections, 1);
}

#[tokio::test]
async fn bodies_are_matched() {
    let at_the_limit = format!("{}Healthy", "x".repeat(64 * 1024 - "Healthy".len()));
    for (body, regex, expected) in [
        (r#"{"Healthy": true}"#, r#""Healthy": *true"#, "ok"),
        (r#"{"Healthy":false}"#, r#""Healthy": *true"#, r#"body does not match /"Healthy": *true/"#),
        ("", "x", "body does not match /x/"),
        ("", "^$", "ok"),
        (at_the_limit.as_str(), "Healthy$", "ok"),
    ] {
        let server = Server::plain(Script::http("200 OK", body)).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.body = Some(pattern(regex));
        let outcome = ask(probe).await;
        assert_eq!(said(&outcome), expected, "{regex}");
        assert_eq!(outcome.status, Some(200));
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_is_matched_all_the_same() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\xff\xfeok\x80".to_vec();
    let server = Server::plain(Script::Answer(bytes)).await;
    let mut probe = probe(Scheme::Http, server.port());
    probe.body = Some(pattern("ok"));
    assert_eq!(said(&ask(probe).await), "ok");
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(64 * 1024 + 1));
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n".to_owned();
    for answer in [endless, announced] {
        // The server never ends its answer: a probe that read on would time out.
        let server = Server::plain(Script::AnswerAndHang(answer.into_bytes())).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.body = Some(pattern("x"));
        let outcome = ask(probe).await;
        assert_eq!(said(&outcome), "body longer than 64 KiB, not searched");
        assert_eq!(outcome.status, Some(200));
    }
}

#[tokio::test]
async fn a_body_is_not_waited_for_without_a_pattern() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    let server = Server::plain(Script::AnswerAndHang(head)).await;
    assert_eq!(said(&ask(probe(Scheme::Http, server.port())).await), "ok");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_says_how_far_it_got() {
    for (sent, phase, text, status) in [
        ("", Phase::Waiting, "no answer within 100ms (waiting for the answer)", None),
        (
            "HTTP/1.1 200 OK\r\nX-Slow:",
            Phase::Waiting,
            "no answer within 100ms (waiting for the answer)",
            None,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx",
            Phase::Reading,
            "answer not complete within 100ms",
            Some(200),
        ),
    ] {
        let server = Server::plain(Script::AnswerAndHang(sent.as_bytes().to_vec())).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.timeout = SHORT;
        probe.body = Some(pattern("x"));
        let outcome = ask(probe).await;
        assert_eq!(outcome.error, Some(Failure::Timeout { after: SHORT, phase }), "{sent:?}");
        assert_eq!((said(&outcome).as_str(), outcome.status), (text, status));
        assert!(outcome.took >= SHORT && outcome.took < SHORT + Duration::from_secs(5));
    }
}

#[tokio::test]
async fn the_request_is_as_configured() {
    for (host, expected) in [
        (None, None),
        (Some("dtr.example.com"), Some("dtr.example.com")),
        (Some("DTR.Example.com"), Some("DTR.Example.com")),
        // An address of the service, not the replica's: it is asked for, not connected to.
        (Some("192.0.2.10"), Some("192.0.2.10")),
        (Some("2001:db8::10"), Some("[2001:db8::10]")),
    ] {
        let server = Server::plain(Script::http("200 OK", "")).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.path = "/health?full=1".to_owned();
        probe.host = host.map(str::to_owned);
        assert_eq!(said(&ask(probe).await), "ok", "{host:?}");

        let request = server.seen().requests.remove(0);
        let expected = expected.map_or_else(|| format!("{LOOPBACK}:{}", server.port()), str::to_owned);
        assert_eq!(request.lines().next(), Some("GET /health?full=1 HTTP/1.1"));
        assert_eq!(header(&request, "host"), Some(expected.as_str()));
        assert_eq!(header(&request, "connection"), Some("close"));
        assert_eq!(header(&request, "user-agent"), Some(concat!("dtr-lb/", env!("CARGO_PKG_VERSION"))));
        assert_eq!(header(&request, "accept-encoding"), None);
    }
}

#[tokio::test]
async fn each_probe_has_a_connection_of_its_own() {
    // Keeps its connections open, so that a client that reuses them would.
    let keep_open = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let server = Server::plain(Script::AnswerAndHang(keep_open)).await;
    let mut probe = probe(Scheme::Http, server.port());
    probe.body = Some(pattern("ok"));
    let prober = prober(probe).expect("a valid probe");
    for asked in 1..=3 {
        let outcome = prober.probe().await;
        assert_eq!(said(&outcome), "ok");
        assert_eq!(server.seen().connections, asked);
    }
}

#[tokio::test]
async fn a_failed_probe_is_not_tried_again_by_itself() {
    for script in [Script::Close, Script::ReadAndClose] {
        let server = Server::plain(script).await;
        let outcome = ask(probe(Scheme::Http, server.port())).await;
        assert_eq!(said(&outcome), "connection closed without a complete answer");
        assert_eq!(server.seen().connections, 1);
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
}
