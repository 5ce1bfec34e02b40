//! The TCP probe, and what any probe makes of a port that does not take connections.

use std::time::Duration;

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use super::{ClosedPort, LOOPBACK, SHORT, ask, probe, said};
use crate::{
    config::Scheme,
    probe::{Failure, Phase},
};

#[tokio::test]
async fn a_listening_port_passes_and_the_connection_is_closed() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.expect("bind to loopback");
    let port = listener.local_addr().expect("address").port();
    let outcome = ask(probe(Scheme::Tcp, port)).await;
    assert!(outcome.ok(), "{}", said(&outcome));
    assert_eq!(outcome.status, None);
    let (stream, _from) = listener.accept().await.expect("the probe's connection");
    stream.readable().await.expect("the end of the connection");
    assert_eq!(stream.try_read(&mut [0; 1]).expect("a clean end"), 0, "nothing was sent");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let closed = ClosedPort::new();
    for scheme in [Scheme::Tcp, Scheme::Http, Scheme::Https] {
        let outcome = ask(probe(scheme, closed.port())).await;
        assert_eq!(outcome.error, Some(Failure::Refused), "{scheme:?}");
        assert_eq!(outcome.status, None);
        assert_eq!(said(&outcome), "connection refused");
    }
}

#[tokio::test]
async fn a_port_that_takes_no_connection_times_out() {
    let (listener, _waiting) = full_listener().await;
    for scheme in [Scheme::Tcp, Scheme::Http, Scheme::Https] {
        let mut probe = probe(scheme, listener.local_addr().expect("address").port());
        probe.timeout = SHORT;
        let outcome = ask(probe).await;
        let expected = Failure::Timeout { after: SHORT, phase: Phase::Connecting };
        assert_eq!(outcome.error, Some(expected), "{scheme:?}");
        assert_eq!(said(&outcome), "no answer within 100ms (connecting)");
    }
}

#[tokio::test]
async fn a_syn_that_is_lost_is_followed_by_another_within_a_second() {
    let (listener, waiting) = full_listener().await;
    let mut probe = probe(Scheme::Tcp, listener.local_addr().expect("address").port());
    probe.timeout = Duration::from_secs(2);
    // The first SYN is dropped, as the queue is full; then there is room. TCP itself would wait for a second.
    let room = async {
        sleep(SHORT).await;
        for _ in &waiting {
            listener.accept().await.expect("one that waits");
        }
    };
    let (outcome, ()) = tokio::join!(ask(probe), room);
    assert!(outcome.ok(), "{}", said(&outcome));
    assert!(outcome.took < Duration::from_millis(900), "it took {:?}", outcome.took);
}

#[tokio::test]
async fn a_probe_configured_away_passes_without_a_connection() {
    let closed = ClosedPort::new();
    let outcome = ask(probe(Scheme::None, closed.port())).await;
    assert!(outcome.ok());
    assert_eq!(outcome.status, None);
}

/// A listener whose queue is full, so that it is silent to whoever connects next, and the connections in it.
async fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((LOOPBACK, 0).into()).expect("bind to loopback");
    let listener = socket.listen(1).expect("listen");
    let address = listener.local_addr().expect("address");
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(stream.expect("a connection"));
        assert!(waiting.len() < 64, "the queue does not fill");
    }
    (listener, waiting)
}
