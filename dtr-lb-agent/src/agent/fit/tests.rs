//! Servers that answer one path, and when it is asked.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;
use crate::config::{Config, HostFacts};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers `path` with 200 and this body, and everything else with `other`. What it was asked comes by the receiver.
async fn server(
    path: &'static str,
    body: &'static str,
    other: &'static str,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind((LOCAL, 0)).await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    let (sender, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let line =
                String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            let (status, body) =
                if line.starts_with(&format!("GET {path} ")) { ("200 OK", body) } else { (other, "") };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            drop(stream.write_all(answer.as_bytes()).await);
            drop(sender.send(line));
        }
    });
    (address, asked)
}

fn service(port: u16, scheme: &str) -> Service {
    let text = format!(
        "vip = '192.0.2.10'\ninterfaces = ['eth0']\n[[replica]]\naddress = '192.0.2.11'\n\
         [[service]]\nname = 'a'\nport = {port}\nprobe.scheme = '{scheme}'\n"
    );
    let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
    Config::parse(&text, "test.toml", &[], &host).expect("a valid config").services.remove(0)
}

#[tokio::test]
async fn the_question_that_is_answered_is_found() {
    let missing = Symptom::Status(404);
    for (path, body, other, scheme, symptom, expected) in [
        ("/_ping", "{}", "404 Not Found", "http", missing, Some("preset = \"msr\"")),
        (
            "/api/v2.0/health",
            r#"{"status":"healthy"}"#,
            "404 Not Found",
            "http",
            missing,
            Some("preset = \"harbor\""),
        ),
        ("/api/v2.0/health", r#"{"status":"unhealthy"}"#, "404 Not Found", "http", missing, None),
        ("/", "", "404 Not Found", "http", missing, None),
        ("/", "", "302 Found", "http", missing, None),
        ("/", "", "401 Unauthorized", "http", Symptom::Status(401), None),
        ("/", "", "401 Unauthorized", "http", missing, Some("`/v2/` answers 401: preset = \"registry\"")),
        ("/health", "", "404 Not Found", "https", Symptom::Clear, Some("service.probe.scheme = \"http\"")),
    ] {
        let (address, _asked) = server(path, body, other).await;
        let probe = service(address.port(), scheme).probe;
        let found = first_that_fits(&probe, symptom, LOCAL).await;
        match expected {
            Some(words) => {
                assert!(found.as_deref().is_some_and(|found| found.contains(words)), "{path}: {found:?}");
            }
            None => assert_eq!(found, None, "{path} {other}"),
        }
    }
}

#[tokio::test]
async fn it_is_asked_once_for_a_service_and_a_health_check() {
    let (address, mut asked) = server("/_ping", "{}", "404 Not Found").await;
    let service = service(address.port(), "http");
    let (mut fits, begun) = (Fits::default(), Instant::now());
    let missing = Some(Symptom::Status(404));
    assert_eq!(fits.wants(&service, None, begun), None, "nothing is wrong");
    assert_eq!(fits.wants(&service, missing, begun), missing);
    fits.ask(&service, Symptom::Status(404), LOCAL, None, begun);
    let found = timeout(Duration::from_secs(10), fits.news()).await.expect("an answer").expect("a sender");
    fits.take(found);
    assert!(fits.hint("a").is_some_and(|hint| hint.contains("msr")), "{fits:?}");
    assert!(asked.recv().await.is_some_and(|line| line.starts_with("GET /_ping ")));
    assert!(asked.try_recv().is_err(), "no further question after one that fits");

    assert_eq!(fits.wants(&service, missing, begun + AGAIN / 2), None, "not so soon");
    assert!(fits.hint("a").is_some());
    assert_eq!(fits.wants(&service, Some(Symptom::Status(401)), begun + AGAIN / 2), None, "still not");
    assert_eq!(fits.hint("a"), None, "they fail in another way");
    assert_eq!(fits.wants(&service, missing, begun + AGAIN), missing);
    let mut other = service.clone();
    other.probe.path = "/_ping".into();
    assert_eq!(fits.wants(&other, missing, begun + AGAIN / 2), missing, "another health check");
    assert_eq!(fits.wants(&service, None, begun), None);
    assert_eq!(fits.hint("a"), None, "they fail no more");
    let late = Found { service: "a".into(), replica: LOCAL, probe: other.probe, hint: "late".into() };
    fits.take(late);
    assert_eq!(fits.hint("a"), None, "what was found for another health check");
}
