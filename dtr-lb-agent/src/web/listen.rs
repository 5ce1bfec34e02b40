//! Connections: how many, and how long each may keep the agent waiting.
//!
//! A client that is slow or does nothing costs a place among a few hundred for some seconds, and never the main loop
//! anything.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tracing::{debug, warn};

use super::gate::Peer;

/// How much a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; others wait in the kernel's queue.
    pub(super) connections: usize,
    /// From when a request could begin to the end of its headers; so a connection without one ends, too.
    pub(super) headers: Duration,
    /// From the end of the headers to the beginning of the answer, the body's arrival included.
    pub(super) answer: Duration,
    /// How long what was sent may stay unacknowledged, or unread behind a closed window.
    pub(super) unread: Duration,
    /// Of the headers, in bytes; hyper takes no less.
    pub(super) header_bytes: usize,
    /// Of a request's body, in bytes.
    pub(super) body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            headers: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            unread: Duration::from_secs(20),
            header_bytes: 16 << 10,
            body_bytes: 64 << 10,
        }
    }
}

/// The pause after the kernel could not give a connection: no file descriptors, say.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves until it is dropped; then its connections end.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    let mut failing = false;
    loop {
        // Closed never: it is ours.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // So that what has ended is forgotten.
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let router = router.clone().layer(Extension(Peer(peer)));
                open.spawn(async move {
                    connection(stream, peer, router, limits).await;
                    drop(place);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "no HTTP connection can be taken for now");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits) {
    let milliseconds = u32::try_from(limits.unread.as_millis()).unwrap_or(u32::MAX);
    let set = setsockopt(&stream, TcpUserTimeout, &milliseconds).map_err(std::io::Error::from);
    if let Err(error) = set.and_then(|()| stream.set_nodelay(true)) {
        debug!(%peer, %error, "an HTTP connection could not be set up");
        return;
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        debug!(%peer, %error, "an HTTP connection ended early");
    }
}
