//! Replicas that are slow, that never end, or that lie: each ends its own probe in time with a reason, and delays nobody
//! else's.

use std::time::Duration;

use tokio::{
    sync::mpsc::channel,
    time::{Instant, timeout_at},
};

use super::{
    AMPLE, SHORT, ask, pattern, probe, prober, said,
    server::{Script, Server},
};
use crate::{
    config::Scheme,
    probe::{Certainty, Failure, Phase, spawn},
};

/// A byte every so often; whole answers of it take many times as long as a probe may.
const DRIP: Duration = Duration::from_millis(20);

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[tokio::test]
async fn answers_that_drip_in_end_at_the_time_out() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n";
    for (script, phase) in [
        (Script::Drip(bytes(whole), DRIP), Phase::Waiting),
        (
            Script::Drip(bytes(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(9)), Duration::from_millis(1)),
            Phase::Waiting,
        ),
    ] {
        let server = Server::plain(script).await;
        let mut probe = probe(Scheme::Http, server.port());
        (probe.timeout, probe.body) = (SHORT, Some(pattern("x")));
        let outcome = ask(probe).await;
        assert_eq!(outcome.error, Some(Failure::Timeout { after: SHORT, phase }), "{}", said(&outcome));
    }
    // A body that drips in behind a head that came at once.
    let server = Server::plain(Script::Endless(bytes(whole), bytes("x"))).await;
    let mut fast = probe(Scheme::Http, server.port());
    fast.body = Some(pattern("x{40}"));
    assert_eq!(said(&ask(fast).await), "ok", "what comes after the body does not matter");
}

#[tokio::test]
async fn what_has_no_end_is_cut_off_and_the_limit_is_told() {
    let answer = "HTTP/1.1 200 OK\r\n";
    let too_much = "answer longer than 256 KiB, not read on";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (script, expected) in [
        // Headers without an end: many, and one.
        (Script::Endless(bytes(answer), bytes("X-Bomb: boom\r\n")), "not an HTTP answer: "),
        (Script::Endless(bytes("HTTP/1.1 200 OK\r\nX-Bomb: "), bytes("boom")), "not an HTTP answer: "),
        (Script::Endless(bytes("HTTP/1.1 200 "), bytes("OK")), "not an HTTP answer: "),
        // Interim answers, of which there may be any number (RFC 9110 section 15.2).
        (Script::Endless(Vec::new(), bytes("HTTP/1.1 100 Continue\r\n\r\n")), too_much),
        (Script::Endless(Vec::new(), bytes("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")), too_much),
        // Bodies.
        (
            Script::Endless(bytes("HTTP/1.1 200 OK\r\n\r\n"), bytes("x")),
            "body longer than 64 KiB, not searched",
        ),
        (Script::Endless(bytes(chunked), bytes("1\r\nx\r\n")), "body in more than 4096 pieces, not read on"),
        (
            Script::Endless(bytes(chunked), bytes(&format!("100\r\n{}\r\n", "x".repeat(256)))),
            "body longer than 64 KiB",
        ),
        (Script::Endless(bytes(&format!("{chunked}2;")), bytes("extension")), "not an HTTP answer: "),
        (Script::Endless(bytes(&format!("{chunked}0\r\n")), bytes("Trailer: x\r\n")), "not an HTTP answer: "),
        // No HTTP at all.
        (Script::Endless(Vec::new(), bytes("\0")), "not an HTTP answer: "),
        (Script::Endless(Vec::new(), bytes("\r\n")), "not an HTTP answer: "),
        // Who speaks first may be met before the question is out: then the connection is of no use.
        (Script::Babble(bytes("220 mail.example.com ESMTP\r\n")), ""),
    ] {
        let server = Server::plain(script.clone()).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.body = Some(pattern("no such text"));
        let outcome = ask(probe).await;
        let said = said(&outcome);
        assert!(said.starts_with(expected), "{script:?}: {said}");
        assert!(outcome.took < AMPLE - SHORT, "it ended by itself: {script:?}: {said}");
        assert!(outcome.error.is_some_and(|failure| failure.answered()), "resets nobody");
    }
}

#[tokio::test]
async fn lengths_that_lie() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "not an HTTP answer: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nok", "not an HTTP answer: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nok", "not an HTTP answer: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok", "body longer than 64 KiB"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "body does not match"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nok",
            "not an HTTP answer: ",
        ),
    ] {
        let server = Server::plain(Script::answer(answer)).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.body = Some(pattern("^ok$"));
        let said = said(&ask(probe).await);
        assert!(said.starts_with(expected), "{answer:?}: {said}");
    }
}

#[tokio::test]
async fn connections_that_break_off_are_closed() {
    for (script, http_only) in [
        (Script::Reset { after_request: false }, false),
        (Script::Reset { after_request: true }, true),
        (Script::HalfClose(Vec::new()), true),
        (Script::answer("HTTP/1.1 200 OK\r\nX-Half: "), true),
    ] {
        let server = Server::plain(script.clone()).await;
        let schemes: &[_] = if http_only { &[Scheme::Http] } else { &[Scheme::Http, Scheme::Https] };
        for scheme in schemes {
            let mut probe = probe(*scheme, server.port());
            probe.body = Some(pattern("half"));
            let outcome = ask(probe).await;
            assert_eq!(outcome.error, Some(Failure::Closed), "{script:?} {scheme}");
        }
    }
    // A replica that ends its side after a whole answer has answered.
    let server = Server::plain(Script::HalfClose(bytes("HTTP/1.1 200 OK\r\n\r\nhalf"))).await;
    let mut probe = probe(Scheme::Http, server.port());
    probe.body = Some(pattern("half"));
    assert_eq!(said(&ask(probe).await), "ok");
}

#[tokio::test]
async fn a_tls_port_that_babbles_is_cut_off() {
    for babble in [
        // Warning alerts, which a client may pass over, and handshake records of nothing.
        &b"\x15\x03\x03\x00\x02\x01\x5a"[..],
        b"\x16\x03\x03\x00\x00",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x16\x03\x03\x40\x00",
        b"\0",
    ] {
        let server = Server::plain(Script::Babble(babble.to_vec())).await;
        let outcome = ask(probe(Scheme::Https, server.port())).await;
        assert!(!outcome.ok());
        assert!(outcome.took < AMPLE - SHORT, "it ended by itself: {babble:?}: {}", said(&outcome));
    }
}

/// One thread asks them all, so that one that blocks it, or spins, would be seen.
#[tokio::test]
async fn none_of_them_delays_the_probes_of_a_good_replica() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let mut servers = Vec::new();
    for script in [
        Script::Endless(Vec::new(), bytes("HTTP/1.1 100 Continue\r\n\r\n")),
        Script::Endless(bytes("HTTP/1.1 200 OK\r\n\r\n"), bytes("x")),
        Script::Drip(vec![b'x'; 4096], Duration::from_millis(1)),
        Script::AnswerAndHang(Vec::new()),
        Script::Reset { after_request: true },
        Script::Close,
    ] {
        servers.push(Server::plain(script).await);
    }
    let (bad_sink, _bad_reports) = channel(1);
    let tasks: Vec<_> = servers
        .iter()
        .map(|server| {
            let mut probe = probe(Scheme::Http, server.port());
            (probe.interval, probe.fast_interval, probe.body) = (INTERVAL, INTERVAL, Some(pattern("x")));
            spawn(0, prober(probe).expect("a valid probe"), Certainty::InDoubt, bad_sink.clone())
        })
        .collect();
    let good = Server::plain(Script::http("200 OK", "x")).await;
    let mut probe = probe(Scheme::Http, good.port());
    (probe.interval, probe.fast_interval) = (INTERVAL, INTERVAL);
    let (sink, mut reports) = channel(64);
    let _task = spawn(1, prober(probe).expect("a valid probe"), Certainty::InDoubt, sink);
    // Ten of them take a second; if each waited for a time-out of the others, it would be a hundred.
    let limit = Instant::now() + AMPLE;
    for asked in 0..10 {
        let report = timeout_at(limit, reports.recv()).await;
        let report =
            report.unwrap_or_else(|_| panic!("probe {asked} was kept waiting")).expect("the task runs");
        assert!(report.outcome.ok(), "{}", said(&report.outcome));
    }
    drop(tasks);
}
