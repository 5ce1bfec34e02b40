//! Too many connections, requests and wrong tokens, over real sockets. All of 127.0.0.0/8 is this host, so that clients can
//! come from many addresses; 127.0.0.1 alone counts as loopback here.

use std::{future::pending, net::Ipv4Addr};

use reqwest::Response;
use tokio::{net::TcpSocket, task::JoinSet};

use super::*;
use crate::{
    agent::descriptors,
    web::{
        admission::Rooms,
        places::{Patience, Room},
    },
};

/// Loopback, by the rule above.
const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const FOURTH: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// What a check of health waits for at most, as a rule.
const AT_ONCE: Duration = Duration::from_secs(1);

const HALF: &str = "GET /healthz HTTP/1.1\r\nHost: ";

/// The limits as they are, but that none of time runs out: what makes room here is not that.
fn patient() -> Limits {
    let minute = Duration::from_secs(60);
    let rooms = Rooms { is_local: |address| address == IpAddr::V4(LOCAL), ..Rooms::default() };
    Limits { rooms, headers: minute, answer: minute, ..Limits::default() }
}

fn with(connections: Room, requests: Room) -> Limits {
    let limits = patient();
    // An incomplete request makes room from its first moment, so that tests need not wait.
    let patience = Patience { fresh: Duration::ZERO, ..limits.rooms.patience };
    Limits { rooms: Rooms { connections, requests, patience, ..limits.rooms }, ..limits }
}

const fn room(local: usize, others: usize, source: usize) -> Room {
    Room { local, others, source }
}

fn open(limits: Limits) -> (Web, SocketAddr) {
    // The clients' ends are in this process, too.
    descriptors::raise().expect("a higher limit of open files");
    let api = api()
        .route("/healthz", get(|| async { Json(json!({ "ok": true })) }))
        .route("/v1/never", get(pending::<()>))
        // More than the kernel buffers for a connection.
        .route("/v1/large", get(|| async { "x".repeat(64 << 20) }));
    let address = "127.0.0.1:0".parse().expect("an address");
    Web::open_with(address, rules(Some(TOKEN)), api, RefusalCounters::default(), limits).expect("it opens")
}

async fn connect(from: Ipv4Addr, at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("127.0.0.0/8 is this host");
    timeout(LIMIT, socket.connect(at)).await.expect("in time").expect("a connection")
}

async fn send(from: Ipv4Addr, at: SocketAddr, text: &str) -> TcpStream {
    let mut stream = connect(from, at).await;
    stream.write_all(text.as_bytes()).await.expect("it takes it");
    stream
}

async fn half_sent(from: Ipv4Addr, at: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(send(from, at, HALF).await);
    }
    streams
}

/// All that comes until the connection is closed, by a reset or in order.
async fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let _ = timeout(LIMIT, stream.read_to_end(&mut all)).await.expect("the connection is left open");
    String::from_utf8(all).expect("text")
}

/// Asks by a connection of its own.
async fn ask(from: Ipv4Addr, at: SocketAddr, path: &str) -> Response {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().timeout(LIMIT).no_proxy().local_address(IpAddr::V4(from)).build();
    client.expect("a client").get(format!("http://{at}{path}")).send().await.expect("an answer")
}

/// Sends a request and leaves its answer alone.
async fn leave_unanswered(from: Ipv4Addr, at: SocketAddr, path: &str) -> TcpStream {
    send(from, at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n")).await
}

#[track_caller]
fn refused(web: &Web, reason: &str) -> u64 {
    web.counts().refused[reason]
}

async fn until(web: &Web, what: &str, holds: impl Fn(&HttpCounts) -> bool) {
    let begin = Instant::now();
    while !holds(&web.counts()) {
        assert!(begin.elapsed() < LIMIT, "{what}: {:?}", web.counts());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn is_healthy_at_once(from: Ipv4Addr, at: SocketAddr, why: &str) {
    let begin = Instant::now();
    assert_eq!(ask(from, at, "/healthz").await.status(), 200, "{why}");
    assert!(begin.elapsed() < AT_ONCE, "{why}: {:?}", begin.elapsed());
}

#[tokio::test]
async fn healthz_answers_at_once_while_peers_have_400_half_sent_requests_each() {
    for attackers in [1, 4] {
        let (web, at) = open(patient());
        let mut held = Vec::new();
        for subnet in 0..attackers {
            held.push(half_sent(Ipv4Addr::new(127, 1, subnet, 1), at, 400).await);
        }
        for from in [OTHER, LOCAL, Ipv4Addr::new(127, 1, 0, 1)] {
            is_healthy_at_once(from, at, &format!("{from} beside {attackers}")).await;
        }
        let most = patient().rooms.connections.source * usize::from(attackers);
        until(&web, "one peer has its part", |counts| counts.connections["half_sent"] <= most as u64).await;
        assert!(refused(&web, "half_sent") >= (400 * u64::from(attackers)) - most as u64);
    }
}

#[tokio::test]
async fn of_2000_connections_of_many_peers_no_more_stay_open_than_there_are_places() {
    let (web, at) = open(patient());
    let most = patient().rooms.connections.others;
    let mut readers = JoinSet::new();
    for number in 0..2000_u16 {
        let [_, last] = (number % 200).to_be_bytes();
        let stream = send(Ipv4Addr::new(127, 2, 1, last), at, HALF).await;
        readers.spawn(rest_of(stream));
        assert!(web.counts().connections.values().sum::<u64>() <= most as u64);
    }
    is_healthy_at_once(OTHER, at, "beside 200 peers").await;
    for _ in most..2000 {
        timeout(LIMIT, readers.join_next())
            .await
            .expect("they are closed")
            .expect("one is open")
            .expect("no panic");
    }
    is_healthy_at_once(LOCAL, at, "beside those that are left").await;
}

/// Reads without a limit of time, and keeps nothing.
async fn rest_of(mut stream: TcpStream) {
    let mut some = vec![0; 1 << 20];
    while stream.read(&mut some).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn the_oldest_half_sent_request_makes_room_and_is_told_why() {
    let (web, at) = open(with(room(1, 3, 3), room(1, 3, 3)));
    let mut kept = leave_unanswered(OTHER, at, "/v1/status").await;
    until(&web, "it is answered", |counts| counts.connections["idle"] == 1).await;
    let body = format!(
        "POST /v1/session HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\nContent-Length: 99"
    );
    let first = send(ATTACKER, at, &format!("{body}\r\n\r\n{{")).await;
    until(&web, "a body that never ends", |counts| counts.connections["half_sent"] == 1).await;
    let second = send(ATTACKER, at, HALF).await;
    until(&web, "headers that never end", |counts| counts.connections["half_sent"] == 2).await;
    let mut newcomers = Vec::new();
    for (number, pushed_out) in [(1, first), (2, second)] {
        newcomers.push(leave_unanswered(THIRD, at, "/v1/status").await);
        let told = rest(pushed_out).await;
        assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("still incomplete"), "{told}");
        assert!(told.contains("Retry-After: 1\r\n"), "{told}");
        assert_eq!(refused(&web, "half_sent"), number);
        until(&web, "they are answered", |counts| counts.connections["idle"] == 1 + number).await;
    }
    // The connection between two requests was left alone.
    kept.write_all(format!("GET /v1/status HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())
        .await
        .expect("it is open");
    assert_eq!(rest(kept).await.matches(" 200 OK").count(), 2);
}

#[tokio::test]
async fn a_connection_between_two_requests_makes_room_where_no_request_is_half_sent() {
    let (web, at) = open(with(room(1, 2, 2), room(1, 2, 2)));
    let oldest = leave_unanswered(OTHER, at, "/v1/status").await;
    until(&web, "it is answered", |counts| counts.connections["idle"] == 1).await;
    let _other = leave_unanswered(OTHER, at, "/v1/status").await;
    until(&web, "it is answered", |counts| counts.connections["idle"] == 2).await;
    assert_eq!(ask(THIRD, at, "/v1/status").await.status(), 200);
    let told = rest(oldest).await;
    assert!(
        told.starts_with("HTTP/1.1 200 OK") && told.ends_with('}'),
        "nothing comes after its answer: {told}"
    );
    assert_eq!(refused(&web, "idle"), 1);
}

async fn error(answer: Response) -> (StatusCode, String) {
    let status = answer.status();
    assert_eq!(answer.headers().get("retry-after").and_then(|value| value.to_str().ok()), Some("1"));
    let body: Value = answer.json().await.expect("JSON");
    (status, body["error"].as_str().expect("a reason").to_owned())
}

#[tokio::test]
async fn one_peer_cannot_take_all_requests_and_none_can_take_those_of_loopback_or_healthz() {
    let (web, at) = open(with(room(9, 9, 9), room(1, 3, 2)));
    let first = leave_unanswered(ATTACKER, at, "/v1/never").await;
    let _second = leave_unanswered(ATTACKER, at, "/v1/never").await;
    until(&web, "two are asked", |counts| counts.connections["answering"] == 2).await;
    let (status, words) = error(ask(ATTACKER, at, "/v1/status").await).await;
    assert!(status == 429 && words.contains("of this address"), "{status} {words}");
    assert_eq!(ask(OTHER, at, "/v1/status").await.status(), 200, "another peer has its own");

    let _third = leave_unanswered(OTHER, at, "/v1/never").await;
    until(&web, "three are asked", |counts| counts.connections["answering"] == 3).await;
    let _fourth = leave_unanswered(THIRD, at, "/v1/never").await;
    assert_eq!(rest(first).await, "", "it makes room for a peer that has none");
    until(&web, "it is asked", |counts| counts.connections["answering"] == 3).await;
    let (status, words) = error(ask(FOURTH, at, "/v1/status").await).await;
    assert!(status == 503 && words.contains("too many"), "{status} {words}");
    assert_eq!((refused(&web, "source_requests"), refused(&web, "requests")), (1, 1));
    assert_eq!(refused(&web, "most_places"), 1);

    for from in [ATTACKER, OTHER, THIRD, FOURTH, LOCAL] {
        is_healthy_at_once(from, at, "healthz needs no place").await;
        assert_eq!(ask(from, at, "/").await.status(), 200, "nor does the dashboard");
    }
    assert_eq!(ask(LOCAL, at, "/v1/status").await.status(), 200, "loopback has its own");
}

#[tokio::test]
async fn where_no_connection_can_make_room_a_new_one_is_told_why() {
    let (web, at) = open(with(room(1, 2, 1), room(9, 9, 9)));
    let _first = leave_unanswered(ATTACKER, at, "/v1/never").await;
    let _second = leave_unanswered(OTHER, at, "/v1/never").await;
    until(&web, "two are asked", |counts| counts.connections["answering"] == 2).await;
    let (status, words) = error(ask(ATTACKER, at, "/healthz").await).await;
    assert!(status == 429 && words.contains("of this address"), "{status} {words}");
    let (status, words) = error(ask(THIRD, at, "/healthz").await).await;
    assert!(status == 503 && words.contains("too many"), "{status} {words}");
    assert_eq!((refused(&web, "source_connections"), refused(&web, "connections")), (1, 1));
    is_healthy_at_once(LOCAL, at, "loopback has places of its own").await;
}

#[tokio::test]
async fn who_does_not_read_an_answer_keeps_the_place_only_for_so_long() {
    let limits = with(room(1, 1, 1), room(1, 1, 1));
    let (web, at) = open(limits);
    let _unread = leave_unanswered(ATTACKER, at, "/v1/large").await;
    until(&web, "it is asked", |counts| counts.connections["answering"] == 1).await;
    assert_eq!(ask(ATTACKER, at, "/healthz").await.status(), 429, "it still has time");

    let patience = Patience { slow: Duration::ZERO, ..limits.rooms.patience };
    let (web, at) = open(Limits { rooms: Rooms { patience, ..limits.rooms }, ..limits });
    let _unread = leave_unanswered(ATTACKER, at, "/v1/large").await;
    until(&web, "it is asked", |counts| counts.connections["answering"] == 1).await;
    assert_eq!(ask(OTHER, at, "/healthz").await.status(), 200);
    assert_eq!(refused(&web, "slow_reader"), 1);
}

#[tokio::test]
async fn who_has_the_next_request_sent_before_an_answer_is_read_keeps_the_place_only_for_so_long() {
    let limits = with(room(1, 1, 1), room(1, 1, 1));
    // Longer than one of the answers takes: 64 MiB over loopback.
    let patience = Patience { slow: Duration::from_secs(2), ..limits.rooms.patience };
    let (web, at) = open(Limits { rooms: Rooms { patience, ..limits.rooms }, ..limits });
    // More than can be answered in `LIMIT`, and few enough for the kernel's buffers.
    let requests = format!("GET /v1/large HTTP/1.1\r\nHost: {at}\r\n\r\n").repeat(1000);
    let mut clients = JoinSet::new();
    clients.spawn(rest_of(send(ATTACKER, at, &requests).await));
    until(&web, "it is asked", |counts| counts.connections["answering"] == 1).await;
    let begin = Instant::now();
    while ask(ATTACKER, at, "/healthz").await.status() != 200 {
        assert!(begin.elapsed() < LIMIT, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counts = web.counts();
    assert_eq!((counts.refused["slow_reader"], counts.refused["idle"]), (1, 0));
}

#[tokio::test]
async fn the_place_of_a_request_is_held_until_its_answer_has_been_sent() {
    let (web, at) = open(with(room(9, 9, 9), room(1, 1, 1)));
    // hyper reads the next headers before the answer is sent if it drops the rest of a body: one that is longer than what it
    // reads at first.
    let body = ".".repeat(9000);
    let both = format!(
        "GET /v1/large HTTP/1.1\r\nHost: {at}\r\nContent-Length: {}\r\n\r\n{body}\
         POST /v1/session HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{",
        body.len()
    );
    let mut unread = send(ATTACKER, at, &both).await;
    until(&web, "it is asked", |counts| counts.connections["answering"] == 1).await;
    for _ in 0..3 {
        is_healthy_at_once(OTHER, at, "it has read what there is").await;
        assert_eq!(ask(OTHER, at, "/v1/status").await.status(), 503, "the answer is held");
    }
    assert_eq!(web.counts().connections["answering"], 1);
    let mut some = vec![0; 1 << 20];
    while web.counts().connections["half_sent"] == 0 {
        let count = timeout(LIMIT, unread.read(&mut some)).await.expect("it comes").expect("it is open");
        assert!(count > 0, "the second request is incomplete");
    }
    assert_eq!(ask(OTHER, at, "/v1/status").await.status(), 200);
}

#[tokio::test]
async fn a_connection_whose_only_wrong_token_makes_room_is_told_just_that() {
    let (web, at) = open(with(room(1, 1, 1), room(1, 1, 1)));
    let request = format!(
        "POST /v1/replica HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer guess\r\nContent-Length: 0\r\n\r\n"
    );
    let guess = send(ATTACKER, at, &request).await;
    until(&web, "it is looked at", |counts| counts.connections["delayed"] == 1).await;
    assert_eq!(ask(OTHER, at, "/v1/status").await.status(), 200);
    let told = rest(guess).await;
    assert!(told.starts_with("HTTP/1.1 401 ") && told.contains("\r\nWWW-Authenticate: Bearer"), "{told}");
    assert!(told.contains("that is not the admin token: it is in the file"), "{told}");
}

#[tokio::test]
async fn the_right_token_is_let_in_whatever_wrong_ones_are_tried_from_the_same_address() {
    const GUESSES: u64 = 100;
    let (web, at) = open(patient());
    let request = |path: &str, token: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut guesses = Vec::new();
    for number in 0..GUESSES / 2 {
        let by_header = request("/v1/replica", &format!("guess-{number:012}"), "{}");
        let by_login = request("/v1/session", "", &format!("{{\"token\": \"guess-{number:012}\"}}"));
        guesses.push(send(ATTACKER, at, &by_header).await);
        guesses.push(send(ATTACKER, at, &by_login).await);
    }
    until(&web, "all are looked at", |counts| {
        counts.refused["wrong_token"] + counts.refused["many_wrong_tokens"] == GUESSES
    })
    .await;
    for from in [ATTACKER, OTHER, LOCAL] {
        let begin = Instant::now();
        let right = send(from, at, &request("/v1/replica", TOKEN, "{\"action\": \"drain\"}")).await;
        let answer = rest(right).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("{\"did\":\"drain\"}"),
            "{from}: {answer}"
        );
        let login = send(from, at, &request("/v1/session", "", &format!("{{\"token\": \"{TOKEN}\"}}"))).await;
        let answer = rest(login).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("set-cookie"), "{from}: {answer}");
        assert!(begin.elapsed() < AT_ONCE, "{from}: {:?}", begin.elapsed());
    }
    assert!(refused(&web, "delayed") > 0, "the place of a wrong one was free for them");
    drop(guesses);
}
