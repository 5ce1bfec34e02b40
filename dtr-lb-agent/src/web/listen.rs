//! Connections: each is taken at once, has a place among a bounded number, and a limit of time for each part of a request.
//!
//! None waits in the kernel's queue: behind connections that send nothing it would wait until they time out. `admission` says
//! who has a place; hyper holds the limits of headers and bytes. A client that is slow costs such a place and never the main
//! loop anything.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::Service as _, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::sleep,
};
use tracing::{debug, warn};

use super::{
    admission::{Admission, Caller, Rooms},
    exchange::{AnswerBody, Stream},
    places::Phase,
    refusal::{HEADERS_SECONDS, Refusal},
    refuse::Farewells,
};

/// How much clients may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rooms: Rooms,
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
            rooms: Rooms::default(),
            headers: Duration::from_secs(HEADERS_SECONDS),
            answer: Duration::from_secs(20),
            unread: Duration::from_secs(20),
            header_bytes: 16 << 10,
            body_bytes: 64 << 10,
        }
    }
}

/// Connections that the kernel completes before they are taken. A burst that fills it makes the next client send its SYN again,
/// after a second.
const BACKLOG: u32 = 1024;

/// The pause after the kernel could not give a connection: no file descriptors, say.
const PAUSE: Duration = Duration::from_millis(200);

/// The address is free for the next agent as soon as this one is gone, whatever is left of its connections.
pub(super) fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until it is dropped; then its connections end.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, admission: Arc<Admission>) {
    let farewells = Arc::new(Farewells::default());
    let mut open = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // So that what has ended is forgotten.
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let farewells = Arc::clone(&farewells);
                match admission.admit(peer) {
                    Ok((place, pushed_out)) => {
                        let connection = Connection { caller: Caller { peer, place }, pushed_out, farewells };
                        open.spawn(connection.serve(stream, router.clone(), limits));
                    }
                    Err(refusal) => {
                        open.spawn(async move { farewells.refuse(stream, false, refusal).await });
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(
                        %error,
                        "accepting an HTTP connection failed, retrying every {PAUSE:?}; if the error is `Too many open files`, \
                         raise LimitNOFILE= in the agent's systemd unit"
                    );
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// One that has a place.
struct Connection {
    caller: Caller,
    /// Hears when the place is gone.
    pushed_out: oneshot::Receiver<Phase>,
    farewells: Arc<Farewells>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router, limits: Limits) {
        let Self { caller, pushed_out, farewells } = self;
        let peer = caller.peer;
        let milliseconds = u32::try_from(limits.unread.as_millis()).unwrap_or(u32::MAX);
        let set = setsockopt(&stream, TcpUserTimeout, &milliseconds).map_err(io::Error::from);
        if let Err(error) = set.and_then(|()| stream.set_nodelay(true)) {
            debug!(%peer, %error, "an HTTP connection could not be set up");
            return;
        }
        let place = Arc::clone(&caller.place);
        let routes = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let place = Arc::clone(&caller.place);
            place.asked(hyper::body::Body::is_end_stream(request.body()));
            request.extensions_mut().insert(caller.clone());
            let answer = routes.call(request.map(Body::new));
            async move {
                Ok::<_, std::convert::Infallible>(answer.await?.map(|body| AnswerBody::new(body, place)))
            }
        });
        let mut served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.headers)
            .max_buf_size(limits.header_bytes)
            .serve_connection(TokioIo::new(Stream::new(stream, Arc::clone(&place))), service);
        let refusal = tokio::select! {
            ended = &mut served => match ended {
                Ok(()) => None,
                Err(error) => {
                    debug!(%peer, %error, "an HTTP connection ended early");
                    (error.is_timeout() && place.timed_out()).then_some(Refusal::HeadersTimeout)
                }
            },
            Ok(phase) = pushed_out => farewell(phase),
        };
        if let Some(refusal) = refusal {
            let stream = served.into_parts().io.into_inner().into_tcp();
            let heard = place.has_heard();
            // The farewell has its own bound.
            drop(place);
            farewells.refuse(stream, heard, refusal).await;
        }
    }
}

/// What a client is told whose connection has to go. Between requests it is nothing, as browsers do not wait for anything; and
/// in the midst of an answer nothing else can be said.
const fn farewell(phase: Phase) -> Option<Refusal> {
    match phase {
        Phase::HalfSent => Some(Refusal::PushedOut),
        // The answer that is held back: it may be the only wrong token of its source.
        Phase::Delayed => Some(Refusal::WrongToken),
        Phase::Idle | Phase::Answering => None,
    }
}
