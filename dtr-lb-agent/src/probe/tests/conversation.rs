//! Steps over TCP. Over TLS they are the same: see `tls`.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{
    AMPLE, LOOPBACK, SHORT, ask, said,
    server::{Script, Server, Turn},
    steps,
};
use crate::{
    config::Probe,
    probe::{Failure, Outcome},
};

use Turn::{Hear, Say};

async fn held(written: &str, script: Script) -> (Outcome, Vec<String>) {
    let server = Server::plain(script).await;
    let outcome = ask(Probe { port: server.port(), ..steps(written) }).await;
    (outcome, server.seen().requests)
}

#[tokio::test]
async fn what_a_conversation_comes_to() {
    const PING: &str = r#"{ send = "PING\r\n" }, { expect = '^\+PONG\r\n' }"#;
    let mail = r#"{ expect = '^220 ' }, { send = "QUIT\r\n" }, { expect = '(?m)^221 ' }"#;
    for (written, turns, expected) in [
        (PING, vec![Hear, Say("+PONG\r\n")], "ok"),
        // In pieces, as they come.
        (PING, vec![Hear, Say("+PO"), Say("NG"), Say("\r\n")], "ok"),
        (mail, vec![Say("220 mail ready\r\n"), Hear, Say("221 bye\r\n")], "ok"),
        // What was matched is forgotten, and what came behind it is not.
        (r"{ expect = 'a' }, { expect = '^b' }, { expect = '^c$' }", vec![Say("xabc")], "ok"),
        (r"{ expect = 'a' }, { reject = 'x' }", vec![Say("a b")], "ok"),
        (
            r"{ expect = 'a' }, { reject = 'c' }, { reject = 'b' }",
            vec![Say("a b")],
            "step 3: the answer matches /b/, which is rejected",
        ),
        (
            r"{ expect = 'a' }, { reject = '^x' }",
            vec![Say("xa")],
            "step 2: the answer matches /^x/, which is rejected",
        ),
        (r"{ send_hex = '50494e470a' }, { expect = '\x00\xff|ok' }", vec![Hear, Say("\0ok")], "ok"),
    ] {
        let (outcome, _) = held(written, Script::Talk(turns.clone())).await;
        assert_eq!((said(&outcome).as_str(), outcome.status), (expected, None), "{written} {turns:?}");
    }
    let (_, heard) = held(PING, Script::Talk(vec![Hear, Say("+PONG\r\n")])).await;
    assert_eq!(heard, ["PING\r\n"]);
    let (_, heard) = held(r"{ send_hex = '50494e470a' }", Script::Talk(vec![Hear])).await;
    assert!(heard.is_empty() || heard == ["PING\n"], "{heard:?}");
}

#[tokio::test]
async fn one_that_closes_or_falls_silent_is_told_with_the_step_and_what_was_heard() {
    const PING: &str = r#"{ send = "PING\r\n" }, { expect = 'PONG' }"#;
    for (script, expected, answered) in [
        (
            Script::TalkAndClose(vec![Hear, Say("-NOAUTH\r\n")]),
            "step 2: connection closed without a match of /PONG/, heard \"-NOAUTH\\r\\n\"",
            true,
        ),
        (
            Script::TalkAndClose(vec![Hear]),
            "step 2: connection closed without a match of /PONG/, heard nothing",
            true,
        ),
        (
            Script::Talk(vec![Hear, Say("-LOADING it is a long way from here to the end\r\n")]),
            "step 2: no match of /PONG/ within 100ms, heard \"-LOADING it is a long way from here to t…\"",
            true,
        ),
        (Script::Talk(vec![Hear]), "step 2: no match of /PONG/ within 100ms, heard nothing", false),
    ] {
        let server = Server::plain(script).await;
        let outcome = ask(Probe { port: server.port(), timeout: SHORT, ..steps(PING) }).await;
        assert_eq!(said(&outcome), expected);
        assert_eq!(outcome.error.as_ref().map(Failure::answered), Some(answered), "{expected}");
    }
}

#[tokio::test]
async fn one_that_says_too_much_is_cut_off() {
    let (outcome, _) = held("{ expect = 'no such text' }", Script::Babble(b"x".to_vec())).await;
    assert_eq!(said(&outcome), "step 1: no match of /no such text/ in 64 KiB");
    assert!(outcome.took < AMPLE - SHORT, "it ended by itself");
}

#[tokio::test]
async fn one_that_does_not_listen_is_left_at_the_time_out() {
    // The kernel of a frozen process takes the connection and some of what is sent, but not all.
    let frozen = TcpListener::bind((LOOPBACK, 0)).await.expect("bind to loopback");
    let text = "x".repeat(32 << 20);
    let mut probe = steps(&format!("{{ send = '{text}' }}"));
    (probe.port, probe.timeout) = (frozen.local_addr().expect("address").port(), Duration::from_millis(300));
    let outcome = ask(probe).await;
    assert_eq!(said(&outcome), "step 1: not taken within 300ms");
}
