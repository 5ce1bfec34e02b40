//! Who may do what, as a table.

use axum::http::Request as HttpRequest;

use super::*;
use crate::web::{access::Rules, failed_logins::FEW, sessions::SessionName, token::AdminToken};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SESSION: [u8; 32] = [0x5a; 32];

fn gate(token: Option<&str>) -> Gate {
    let rules = Rules { names: vec!["lb1.example.com".to_owned()], token: token.map(AdminToken::of) };
    Gate::new(Access::new(rules), 8181, RefusalCounters::default())
}

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = HttpRequest::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn judged(gate: &Gate, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
    let parts = parts(method, uri, headers);
    match gate.judge(&parts, Instant::now())? {
        Proof::None | Proof::Session => Ok(()),
        Proof::Token(token) if gate.access.is_token(token) => Ok(()),
        Proof::Token(_) => Err(Refusal::WrongToken),
    }
}

#[test]
fn only_this_hosts_names_are_answered() {
    let gate = gate(None);
    for good in [
        "127.0.0.1:8181",
        "10.0.0.2",
        "[::1]:8181",
        "[2001:db8::1]",
        "localhost:8181",
        "LOCALHOST",
        "localhost.",
        "lb1.example.com:8181",
        "LB1.Example.COM",
    ] {
        assert_eq!(judged(&gate, "GET", "/v1/status", &[("host", good)]), Ok(()), "{good}");
    }
    for bad in [
        "attacker.example",
        "attacker.example:8181",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "attacker.example@127.0.0.1",
        "lb1.example.com.attacker.example",
        "lb2.example.com",
        "",
        "[::1",
        "a b",
    ] {
        assert_eq!(judged(&gate, "GET", "/v1/status", &[("host", bad)]), Err(Refusal::OtherHost), "{bad}");
    }
    let two = [("host", "127.0.0.1"), ("host", "attacker.example")];
    assert_eq!(judged(&gate, "GET", "/", &two), Err(Refusal::OtherHost));
    assert_eq!(
        judged(&gate, "GET", "http://attacker.example/", &[("host", "127.0.0.1")]),
        Err(Refusal::OtherHost)
    );
    assert_eq!(judged(&gate, "GET", "/", &[]), Ok(()), "HTTP/1.0 needs no Host");
}

#[test]
fn without_a_token_nothing_is_changed() {
    let gate = gate(None);
    let header = format!("Bearer {TOKEN}");
    let full = [("host", "127.0.0.1:8181"), ("content-type", "application/json"), ("authorization", &header)];
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        for uri in ["/v1/replica", "/v1/reload", SESSION_PATH, "/v1/status", "/"] {
            assert_eq!(judged(&gate, method, uri, &full), Err(Refusal::ReadOnly), "{method} {uri}");
        }
    }
    for method in ["GET", "HEAD"] {
        assert_eq!(judged(&gate, method, "/v1/status", &[("host", "127.0.0.1:8181")]), Ok(()));
    }
}

#[test]
fn changes_need_the_token_or_a_session_and_come_from_here() {
    let gate = gate(Some(TOKEN));
    let now = Instant::now();
    gate.access.open_session(SessionName::new(SESSION), now);
    let cookie = format!("a=b; dtr-lb-session-8181={}; c=d", SessionName::new(SESSION).as_str());
    let stale = format!("dtr-lb-session-8181={}", SessionName::new([0; 32]).as_str());
    let other_port = cookie.replace("8181", "8182");
    let bearer = format!("Bearer {TOKEN}");
    let lower = format!("bearer  {TOKEN} ");
    let wrong = format!("Bearer {TOKEN}x");
    let basic = format!("Basic {TOKEN}");

    let json = ("content-type", "application/json; charset=utf-8");
    let session = ("cookie", cookie.as_str());
    let auth = ("authorization", bearer.as_str());
    type Case<'a> = (Vec<(&'a str, &'a str)>, Result<(), Refusal>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (vec![json, auth], Ok(()), "the token"),
        (vec![auth], Ok(()), "the token, and no body"),
        (vec![auth, ("content-length", "0")], Ok(()), "the token, and an empty body"),
        (vec![json, ("authorization", lower.as_str())], Ok(()), "the scheme's case and blanks do not matter"),
        (vec![auth, ("content-length", "2")], Err(Refusal::NotJson), "a body of no kind"),
        (vec![auth, ("transfer-encoding", "chunked")], Err(Refusal::NotJson), "a body of no kind and length"),
        (vec![json, ("authorization", wrong.as_str())], Err(Refusal::WrongToken), "a longer one"),
        (vec![json, ("authorization", "Bearer ")], Err(Refusal::WrongToken), "an empty one"),
        (vec![json, ("authorization", basic.as_str())], Err(Refusal::NoToken), "another scheme"),
        (vec![json, ("authorization", basic.as_str()), session], Err(Refusal::NoToken), "no falling back"),
        (vec![json], Err(Refusal::NoToken), "nothing"),
        (vec![json, session], Ok(()), "a session"),
        (vec![json, ("cookie", stale.as_str())], Err(Refusal::SessionOver), "one that is not open"),
        (vec![json, ("cookie", other_port.as_str())], Err(Refusal::NoToken), "that of another agent"),
        (vec![session], Err(Refusal::NotJson), "a session without JSON"),
        (vec![session, ("content-type", "text/plain")], Err(Refusal::NotJson), "what a form can send"),
        (
            vec![session, ("content-type", "application/x-www-form-urlencoded")],
            Err(Refusal::NotJson),
            "a form",
        ),
        (vec![json, session, ("sec-fetch-site", "same-origin")], Ok(()), "a browser's own page"),
        (vec![json, session, ("sec-fetch-site", "same-site")], Err(Refusal::OtherSite), "another port"),
        (vec![json, session, ("sec-fetch-site", "cross-site")], Err(Refusal::OtherSite), "another site"),
        (vec![json, auth, ("sec-fetch-site", "cross-site")], Err(Refusal::OtherSite), "whatever it knows"),
        (vec![json, session, ("origin", "http://127.0.0.1:8181")], Ok(()), "the same origin"),
        (vec![json, session, ("origin", "https://127.0.0.1:8181")], Ok(()), "behind something that does TLS"),
        (vec![json, session, ("origin", "http://127.0.0.1:9999")], Err(Refusal::OtherSite), "another port"),
        (vec![json, session, ("origin", "http://attacker.example")], Err(Refusal::OtherSite), "another site"),
        (vec![json, session, ("origin", "null")], Err(Refusal::OtherSite), "a sandboxed frame"),
    ];
    for (mut headers, expected, why) in cases {
        headers.push(("host", "127.0.0.1:8181"));
        for uri in ["/v1/replica", "/v1/reload", "/anything"] {
            assert_eq!(judged(&gate, "POST", uri, &headers), expected, "{why}: {headers:?}");
        }
    }
}

#[test]
fn a_login_needs_no_session_but_comes_from_here_too() {
    let gate = gate(Some(TOKEN));
    let host = ("host", "127.0.0.1:8181");
    let json = ("content-type", "application/json");
    assert_eq!(judged(&gate, "POST", SESSION_PATH, &[host, json]), Ok(()));
    assert_eq!(judged(&gate, "POST", SESSION_PATH, &[host]), Err(Refusal::NotJson));
    assert_eq!(judged(&gate, "DELETE", SESSION_PATH, &[host]), Ok(()));
    let foreign = ("origin", "http://attacker.example");
    for method in ["POST", "DELETE"] {
        assert_eq!(judged(&gate, method, SESSION_PATH, &[host, json, foreign]), Err(Refusal::OtherSite));
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_tokens_are_answered_late_and_never_keep_the_right_one_out() {
    let gate = std::sync::Arc::new(gate(Some(TOKEN)));
    let begin = tokio::time::Instant::now();
    let guess = || {
        let gate = std::sync::Arc::clone(&gate);
        tokio::spawn(async move { (gate.try_token(b"guess", None).await, begin.elapsed()) })
    };
    let guesses: Vec<_> = std::iter::repeat_with(guess).take(3 * FEW).collect();
    tokio::task::yield_now().await;
    assert_eq!(gate.try_token(TOKEN.as_bytes(), None).await, Ok(()));
    assert_eq!(begin.elapsed(), Duration::ZERO, "the right one does not wait for wrong ones");
    let mut answers = Vec::new();
    for guess in guesses {
        answers.push(guess.await.expect("no panic"));
    }
    let (few, many) = answers.split_at(FEW);
    assert!(
        few.iter().all(|answer| *answer == (Err(Refusal::WrongToken), FAILED_LOGIN_PAUSE)),
        "{answers:?}"
    );
    assert!(many.iter().all(|answer| *answer == (Err(Refusal::ManyWrongTokens), MANY_FAILED_LOGINS_PAUSE)));
    let counts = gate.refusals.counts_without_connections().refused;
    assert_eq!((counts["wrong_token"], counts["many_wrong_tokens"]), (FEW as u64, 2 * FEW as u64));
}
