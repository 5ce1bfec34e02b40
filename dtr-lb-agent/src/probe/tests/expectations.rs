//! What an HTTP probe sends beside its path, and what it demands of an answer beside its status.

use super::{
    SHORT, ask, configured, probe, said,
    server::{Script, Server},
};
use crate::{
    config::{Probe, Scheme},
    probe::{Failure, Phase},
};

/// The outcome of a probe with these lines in its config, of a server that answers so.
async fn asked(lines: &str, answer: Script) -> (String, Vec<String>) {
    let server = Server::plain(answer).await;
    let probe = Probe { port: server.port(), timeout: super::AMPLE, ..configured(lines) };
    let said = said(&ask(probe).await);
    (said, server.seen().requests)
}

#[tokio::test]
async fn the_method_the_headers_and_the_body_are_sent() {
    let lines = "method = 'POST'\nheaders = ['X-A: 1', 'X-A: 2', 'accept: text/plain', 'User-Agent: check']\n\
                 request_body = '{\"ping\": 1}'";
    let (said, requests) = asked(lines, Script::http("200 OK", "")).await;
    assert_eq!(said, "ok");
    let [request] = &requests[..] else { panic!("one request: {requests:?}") };
    let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(body, "{\"ping\": 1}");
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /health HTTP/1.1");
    lines.retain(|line| !line.starts_with("host: "));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: text/plain",
            "connection: close",
            "content-length: 11",
            "user-agent: check",
            "x-a: 1",
            "x-a: 2"
        ]
    );
}

#[tokio::test]
async fn of_a_head_no_body_is_read() {
    // A body would be announced, and never come.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-A: b\r\n\r\n".to_vec();
    for (lines, expected) in [
        ("method = 'HEAD'", "ok"),
        ("method = 'HEAD'\nexpect_headers = ['X-A: ^b$']", "ok"),
        ("method = 'HEAD'\nstatus = ['204']", "status 200, expected 204"),
    ] {
        let (said, requests) = asked(lines, Script::AnswerAndHang(answer.clone())).await;
        assert_eq!(said, expected, "{lines}");
        assert!(requests[0].starts_with("HEAD /health HTTP/1.1\r\n"), "{requests:?}");
    }
}

#[tokio::test]
async fn a_body_must_not_match_what_is_rejected() {
    for (lines, body, expected) in [
        ("reject_body = '(?i)maintenance'", "all is well", "ok"),
        ("reject_body = '(?i)maintenance'", "", "ok"),
        (
            "reject_body = '(?i)maintenance'",
            "in Maintenance",
            "body matches /(?i)maintenance/, which is rejected",
        ),
        ("body = 'well'\nreject_body = 'not'", "all is well", "ok"),
        ("body = 'well'\nreject_body = 'not'", "all is not well", "body matches /not/, which is rejected"),
        ("body = 'well'\nreject_body = 'not'", "all is lost", "body does not match /well/"),
    ] {
        let (said, _) = asked(lines, Script::http("200 OK", body)).await;
        assert_eq!(said, expected, "{lines} {body:?}");
    }
    // What was not read to its end may match all the same.
    let long = Script::http("200 OK", &"x".repeat(64 * 1024 + 1));
    let (said, _) = asked("reject_body = 'y'", long).await;
    assert_eq!(said, "body longer than 64 KiB, not searched");
}

#[tokio::test]
async fn headers_are_there_and_match() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: one\r\nx-a: two\r\nX-Empty:\r\n\r\n";
    for (lines, expected) in [
        ("expect_headers = ['X-A: ^one$']", "ok"),
        ("expect_headers = ['x-A: ^two$', 'X-Empty: ^$']", "ok"),
        ("expect_headers = ['X-A: ^one, two$']", "header `x-a` does not match /^one, two$/"),
        ("expect_headers = ['X-A: one', 'X-A: three']", "header `x-a` does not match /three/"),
        ("expect_headers = ['X-B:']", "no header `x-b`"),
        ("reject_headers = ['X-A: three', 'X-B:']", "ok"),
        ("reject_headers = ['X-A: ^two$']", "header `x-a` matches /^two$/, which is rejected"),
        ("reject_headers = ['X-Empty:']", "header `x-empty` matches //, which is rejected"),
        (
            "expect_headers = ['X-A: one']\nreject_headers = ['X-A: two']",
            "header `x-a` matches /two/, which is rejected",
        ),
    ] {
        let (said, _) = asked(lines, Script::answer(answer)).await;
        assert_eq!(said, expected, "{lines}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_fails_though_nobody_looks_at_the_body() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789".to_owned(),
            "answer cut short: 10 of 100 bytes",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_owned(), "answer cut short: 0 of 100 bytes"),
        (
            format!("{chunked}3\r\nabc\r\n"),
            "answer cut short: connection closed after 3 bytes, before the last chunk",
        ),
        (
            format!("{chunked}5\r\nabc"),
            "answer cut short: connection closed after 3 bytes, before the last chunk",
        ),
        (format!("{chunked}3\r\nabc\r\n0\r\n\r\n"), "ok"),
        // Its end is that of the connection.
        ("HTTP/1.1 200 OK\r\n\r\nabc".to_owned(), "ok"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_owned(), "ok"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_owned(), "ok"),
    ] {
        for script in [Script::answer(&answer), Script::HalfClose(answer.clone().into_bytes())] {
            let (said, _) = asked("", script).await;
            assert_eq!(said, expected, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_waited_for_within_the_time_out() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let server = Server::plain(Script::AnswerAndHang(half)).await;
    let mut probe = probe(Scheme::Http, server.port());
    probe.timeout = SHORT;
    let outcome = ask(probe).await;
    assert_eq!(outcome.error, Some(Failure::Timeout { after: SHORT, phase: Phase::Reading }));
}

#[tokio::test]
async fn a_body_beyond_the_limits_is_none_of_a_probe_that_does_not_look_at_it() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for script in [
        Script::Endless(head.clone(), b"x".to_vec()),
        Script::Endless(chunked, b"1\r\nx\r\n".to_vec()),
        Script::http("200 OK", &"x".repeat(1 << 20)),
    ] {
        let (said, _) = asked("", script).await;
        assert_eq!(said, "ok");
    }
}
