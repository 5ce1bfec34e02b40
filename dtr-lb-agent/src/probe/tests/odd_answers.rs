//! Answers that are no HTTP, or only just: they fail or pass with a reason, and never panic.

use proptest::prelude::*;

use super::{
    AMPLE, SHORT, ask, pattern, probe, said,
    server::{Script, Server},
};
use crate::config::Scheme;

#[tokio::test]
async fn odd_answers() {
    for (answer, expected) in [
        ("HTTP/1.0 200 OK\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nok", "ok"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "status 101, expected 200-399"),
        ("HTTP/1.1 999 Odd\r\n\r\n", "status 999, expected 200-399"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok", "not an HTTP answer: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "answer cut short: 2 of 9 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "connection closed without a complete answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\nok", "not an HTTP answer: "),
        ("HTTP/1.1 abc\r\n\r\n", "not an HTTP answer: "),
        ("HTTP/9.9 200 OK\r\n\r\n", "not an HTTP answer: "),
        ("SSH-2.0-OpenSSH_9.6\r\n", "not an HTTP answer: "),
        ("<html>ok</html>", "not an HTTP answer: "),
        ("\x15\x03\x01\x00\x02\x02\x50", "not an HTTP answer: "),
        ("", "connection closed without a complete answer"),
    ] {
        let server = Server::plain(Script::answer(answer)).await;
        let mut probe = probe(Scheme::Http, server.port());
        probe.body = Some(pattern("ok"));
        let said = said(&ask(probe).await);
        assert!(
            said.starts_with(expected) && (expected.ends_with(' ') || said == expected),
            "{answer:?}: {said}"
        );
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_called_that() {
    // The head of a request never comes, so this server speaks without waiting for one.
    let server = Server::plain(Script::Greet(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let outcome = ask(probe(Scheme::Https, server.port())).await;
    assert_eq!(said(&outcome), "TLS failed: the answer is not TLS; does this port speak plain HTTP?");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_end_the_probe(
        head in prop::sample::select(vec!["", "HTTP/1.1 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n"]),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let outcome = runtime.block_on(async {
            let server = Server::plain(Script::Answer([head.as_bytes(), bytes.as_slice()].concat())).await;
            let mut probe = probe(Scheme::Http, server.port());
            probe.body = Some(pattern("no such text"));
            ask(probe).await
        });
        prop_assert!(!outcome.ok());
        prop_assert!(outcome.took < AMPLE - SHORT, "it ended by itself: {}", said(&outcome));
    }
}
