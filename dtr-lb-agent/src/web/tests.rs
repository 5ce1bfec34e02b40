//! The HTTP side over real connections, with an API of its own that says when it was reached.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use axum::{
    Json,
    routing::{get, post},
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;

mod overload;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LIMIT: Duration = Duration::from_secs(20);

fn api() -> Router {
    Router::new().route("/v1/status", get(|| async { Json(json!({ "services": [] })) })).route(
        "/v1/replica",
        post(|Json(body): Json<Value>| async move { Json(json!({ "did": body["action"] })) }),
    )
}

fn rules(token: Option<&str>) -> Rules {
    Rules { names: Vec::new(), token: token.map(AdminToken::of) }
}

fn open(token: Option<&str>, limits: Limits) -> (Web, SocketAddr) {
    let address = "127.0.0.1:0".parse().expect("an address");
    Web::open_with(address, rules(token), api(), RefusalCounters::default(), limits).expect("it opens")
}

fn client() -> Client {
    // An error says that it is known already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(LIMIT).no_proxy().build().expect("a client")
}

async fn post_json(
    at: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (StatusCode, Value, Option<String>) {
    let mut request = client().request(Method::POST, format!("http://{at}{path}")).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let cookie = answer.headers().get("set-cookie").map(|cookie| cookie.to_str().expect("text").to_owned());
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)), cookie)
}

#[tokio::test]
async fn every_answer_forbids_framing_sniffing_and_foreign_scripts() {
    let (_web, at) = open(None, Limits::default());
    for (path, status) in
        [("/", 200), ("/assets/app.js", 200), ("/v1/status", 200), ("/nothing", 404), ("/v1/replica", 405)]
    {
        let answer = client().get(format!("http://{at}{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(header("content-security-policy").starts_with("default-src 'self';"), "{path}");
        assert!(!header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        assert!(!header("cache-control").is_empty(), "{path}");
        assert!(answer.headers().get("access-control-allow-origin").is_none(), "{path}");
    }
}

#[tokio::test]
async fn the_dashboards_files_are_all_there_and_are_sent_once() {
    let (_web, at) = open(None, Limits::default());
    let page =
        client().get(format!("http://{at}/")).send().await.expect("an answer").text().await.expect("text");
    let mut wanted = vec!["/assets/uplot-license.txt".to_owned()];
    wanted.extend(page.split('"').filter(|word| word.starts_with("/assets/")).map(str::to_owned));
    assert!(wanted.len() > 5, "{wanted:?}");
    assert!(
        !page.contains("<script>") && !page.contains(" style=") && !page.contains(" onclick="),
        "nothing is inline"
    );
    let mut seen = 0;
    while let Some(path) = wanted.get(seen).cloned() {
        seen += 1;
        let answer = client().get(format!("http://{at}{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let tag = answer.headers()["etag"].clone();
        let text = answer.text().await.expect("text");
        assert!(!text.is_empty(), "{path}");
        let again = client().get(format!("http://{at}{path}")).header("if-none-match", tag).send().await;
        assert_eq!(again.expect("an answer").status(), 304, "{path}");
        // What modules import is there, too.
        if path.ends_with(".js") && !path.contains("uplot") {
            let imported = text.lines().filter_map(|line| line.split_once("from \"./")?.1.split('"').next());
            for name in imported.map(|name| format!("/assets/{name}")) {
                if !wanted.contains(&name) {
                    wanted.push(name);
                }
            }
        }
    }
}

#[tokio::test]
async fn without_a_token_a_post_is_refused_with_the_reason() {
    let (_web, at) = open(None, Limits::default());
    let (status, body, _) = post_json(at, "/v1/replica", &[], &json!({ "action": "drain" })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body["error"].as_str().is_some_and(|words| words.contains("agent.admin_token_file")), "{body}");
    let session: Value = client()
        .get(format!("http://{at}/v1/session"))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(session, json!({ "token_configured": false, "admin": false }));
}

#[tokio::test]
async fn a_login_opens_a_session_that_lets_change_things_until_it_is_closed() {
    let (_web, at) = open(Some(TOKEN), Limits::default());
    let drain = json!({ "action": "drain" });
    let begin = Instant::now();
    let (status, body, cookie) =
        post_json(at, "/v1/session", &[], &json!({ "token": "0123456789abcdef0" })).await;
    assert_eq!((status, cookie), (StatusCode::UNAUTHORIZED, None), "{body}");
    assert!(begin.elapsed() >= gate::FAILED_LOGIN_PAUSE, "a wrong token is answered late");
    assert!(
        body["error"].as_str().is_some_and(|words| words.contains("agent.admin_token_file")),
        "where it is: {body}"
    );
    for nonsense in [json!({}), json!({ "token": 5 }), json!(["x", 1]), json!(null)] {
        assert_eq!(
            post_json(at, "/v1/session", &[], &nonsense).await.0,
            StatusCode::BAD_REQUEST,
            "{nonsense}"
        );
    }

    let (status, _, cookie) =
        post_json(at, "/v1/session", &[], &json!({ "token": format!(" {TOKEN}\n") })).await;
    let cookie = cookie.expect("a cookie");
    assert_eq!(status, StatusCode::OK);
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN),
        "{cookie}"
    );
    let (name, other) = (cookie.split(';').next().expect("a name"), "dtr-lb-session-1=00");
    let both = format!("{other}; {name}");
    let (status, body, _) = post_json(at, "/v1/replica", &[("cookie", &both)], &drain).await;
    assert_eq!((status, body), (StatusCode::OK, json!({ "did": "drain" })));
    let (status, _, _) = post_json(at, "/v1/replica", &[("cookie", other)], &drain).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);

    let closed = client().delete(format!("http://{at}/v1/session")).header("cookie", name).send().await;
    assert_eq!(closed.expect("an answer").status(), StatusCode::OK);
    let (status, body, _) = post_json(at, "/v1/replica", &[("cookie", name)], &drain).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body["error"].as_str().is_some_and(|words| words.contains("session is over")), "{body}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let (_web, at) = open(Some(TOKEN), Limits::default());
    let auth = format!("Bearer {TOKEN}");
    let large = json!({ "action": "x".repeat(64 << 10) });
    let (status, _, _) = post_json(at, "/v1/replica", &[("authorization", &auth)], &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let fits = json!({ "action": "x".repeat(60 << 10) });
    assert_eq!(post_json(at, "/v1/replica", &[("authorization", &auth)], &fits).await.0, StatusCode::OK);
}

/// Sends this and nothing else, and returns what came before the agent closed the connection.
async fn until_closed(at: SocketAddr, sent: &str) -> (String, Duration) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    stream.write_all(sent.as_bytes()).await.expect("it takes it");
    let mut answer = String::new();
    let read = timeout(LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("the connection is left open").expect("it is closed in order");
    (answer, begin.elapsed())
}

#[tokio::test]
async fn a_client_that_hangs_is_hung_up_on() {
    let short = Duration::from_millis(200);
    let limits = Limits { headers: short, answer: short, ..Limits::default() };
    let (web, at) = open(Some(TOKEN), limits);
    let auth = format!("Host: {at}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let cases = [
        (String::new(), "", "says nothing"),
        (
            "GET /v1/status HTTP/1.1\r\nHost: 127".to_owned(),
            "the headers of the request did not arrive within 5 seconds: send it again",
            "never ends its headers",
        ),
        (format!("GET /v1/status HTTP/1.1\r\nHost: {at}\r\n\r\n"), "200 OK", "asks once and stays"),
        (
            format!("POST /v1/replica HTTP/1.1\r\n{auth}Content-Length: 10\r\n\r\n{{"),
            "408",
            "never ends its body",
        ),
    ];
    for (sent, answer, why) in cases {
        let (got, took) = until_closed(at, &sent).await;
        assert!(got.contains(answer) && (took >= short), "a client that {why}: {took:?} {got}");
        assert!(!answer.is_empty() || got.is_empty(), "a client that {why} is told nothing: {got}");
    }
    assert_eq!(web.counts().refused["headers_timeout"], 1, "of headers that had begun");
}

#[tokio::test]
async fn an_address_that_cannot_be_had_says_what_to_do() {
    let (_web, at) = open(None, Limits::default());
    let error =
        Web::open(at, rules(None), api(), RefusalCounters::default()).expect_err("it is taken").to_string();
    assert!(
        error.contains(&at.to_string()) && error.contains("agent.http") && error.contains("in use"),
        "{error}"
    );
    let nobodys = SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 8181);
    let error = Web::open(nobodys, rules(None), api(), RefusalCounters::default())
        .expect_err("it is nobody's")
        .to_string();
    assert!(error.contains("192.0.2.1") && error.contains("no address of this host"), "{error}");
}

#[tokio::test]
async fn when_it_is_dropped_its_connections_end_and_its_port_is_free() {
    let (web, at) = open(None, Limits::default());
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    stream
        .write_all(format!("GET /v1/status HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())
        .await
        .expect("it takes it");
    let mut first = [0; 12];
    timeout(LIMIT, stream.read_exact(&mut first)).await.expect("in time").expect("an answer");
    drop(web);
    let mut rest = Vec::new();
    // In order or by a reset.
    let _ = timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("it ends");
    let begin = Instant::now();
    while let Err(error) = Web::open(at, rules(None), api(), RefusalCounters::default()).map(drop) {
        assert!(begin.elapsed() < LIMIT, "{error}");
        tokio::task::yield_now().await;
    }
}
