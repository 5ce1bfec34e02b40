//! Places for connections and requests: `places` decides, this holds what it decides about.
//!
//! A connection reports how far its request is, and hears when it has to go. Requests to the API need a place of their own,
//! as each costs the main loop work and its answer memory. Without one are answered: `/healthz`, which has to answer
//! whatever else goes on; the dashboard's files, which are in memory anyway; and the login, whose token comes first.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::sync::oneshot;

use super::{
    places::{Full, Patience, Phase, PlaceId, Places, PushedOut, Room},
    refusal::Refusal,
    refusal_counters::{HttpCounts, Reason, RefusalCounters},
    refuse,
    source::Source,
};

/// Never without a place.
const HEALTHZ: &str = "/healthz";

/// How many places there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rooms {
    pub(super) connections: Room,
    pub(super) requests: Room,
    pub(super) patience: Patience,
    /// Which addresses are this host's own: loopback, but for tests, which have no other addresses.
    pub(super) is_local: fn(IpAddr) -> bool,
}

/// A browser opens six.
const CONNECTIONS: Room = Room { local: 64, others: 192, source: 32 };

/// Connections that there are at most, with those that are being refused.
pub(crate) const MOST_CONNECTIONS: u64 = (CONNECTIONS.local + CONNECTIONS.others + refuse::WAITING) as u64;

impl Default for Rooms {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            requests: Room { local: 16, others: 48, source: 16 },
            patience: Patience {
                fresh: Duration::from_millis(250),
                slow: Duration::from_secs(20),
                pause: Duration::from_secs(1),
            },
            is_local: |address| address.is_loopback(),
        }
    }
}

/// All places of one listening socket.
#[derive(Debug)]
pub(super) struct Admission {
    places: Mutex<Places<oneshot::Sender<Phase>>>,
    refusals: RefusalCounters,
    is_local: fn(IpAddr) -> bool,
}

/// The place of a connection, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    id: PlaceId,
    source: Source,
    /// Something was received since the last answer.
    heard: AtomicBool,
}

/// Who sent a request, and the place of its connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    pub(super) place: Arc<Place>,
}

impl Admission {
    pub(super) fn new(rooms: Rooms, refusals: RefusalCounters) -> Self {
        let Rooms { connections, requests, patience, is_local } = rooms;
        Self { places: Mutex::new(Places::new(connections, requests, patience)), refusals, is_local }
    }

    /// A place for a new connection. The receiver hears when it has to go, and in which phase it was.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
    ) -> Result<(Arc<Place>, oneshot::Receiver<Phase>), Refusal> {
        let (source, now) = (Source::of(peer.ip(), self.is_local), Instant::now());
        let (sender, receiver) = oneshot::channel();
        let admitted = self.lock().admit(source, sender, now);
        match admitted {
            Ok((id, pushed_out)) => {
                self.end(pushed_out, now);
                let place = Place { admission: Arc::clone(self), id, source, heard: AtomicBool::new(false) };
                Ok((Arc::new(place), receiver))
            }
            Err(full) => {
                let (reason, refusal) = match full {
                    Full::Source => (Reason::SourceConnections, Refusal::SourceBusy),
                    Full::Others => (Reason::Connections, Refusal::Busy),
                };
                self.refusals.count(reason, source, now);
                Err(refusal)
            }
        }
    }

    pub(super) fn counts(&self) -> HttpCounts {
        let places = self.lock();
        self.refusals.counts(|phase| places.count(phase))
    }

    /// Tells a connection that its place is gone.
    fn end(&self, pushed_out: Option<PushedOut<oneshot::Sender<Phase>>>, now: Instant) {
        let Some(PushedOut { source, phase, turn, handle }) = pushed_out else { return };
        self.refusals.count(Reason::pushed_out(turn), source, now);
        // It may be ending by itself.
        let _ = handle.send(phase);
    }

    fn lock(&self) -> MutexGuard<'_, Places<oneshot::Sender<Phase>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) const fn source(&self) -> Source {
        self.source
    }

    /// Bytes have come.
    pub(super) fn received(&self) {
        self.heard.store(true, Ordering::Relaxed);
        let mut places = self.admission.lock();
        if places.phase(self.id) == Some(Phase::Idle) {
            places.enter(self.id, Phase::HalfSent, Instant::now());
        }
    }

    /// The headers of a request have come, and with `complete` all of it.
    pub(super) fn asked(&self, complete: bool) {
        self.enter(if complete { Phase::Answering } else { Phase::HalfSent });
    }

    /// The answer is held back, because of a wrong token.
    pub(super) fn delayed(&self) {
        self.enter(Phase::Delayed);
    }

    /// All of the answer is with hyper.
    pub(super) fn answered(&self) {
        self.admission.lock().answered(self.id);
    }

    /// What was buffered is with the kernel.
    pub(super) fn flushed(&self) {
        let phase = self.admission.lock().flushed(self.id, Instant::now());
        // In any other phase the next request has been heard.
        if phase == Some(Phase::Idle) {
            self.heard.store(false, Ordering::Relaxed);
        }
    }

    /// Whether something has come since the last answer.
    pub(super) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The time for headers is over. Whether they had begun, which is counted.
    pub(super) fn timed_out(&self) -> bool {
        let begun = self.has_heard();
        if begun {
            self.admission.refusals.count(Reason::HeadersTimeout, self.source, Instant::now());
        }
        begun
    }

    /// Takes one of the places of requests until the answer has been sent.
    ///
    /// # Errors
    /// There is none.
    fn answer(&self) -> Result<(), Refusal> {
        let now = Instant::now();
        let answering = self.admission.lock().answer(self.id, now);
        match answering {
            Ok(pushed_out) => {
                self.admission.end(pushed_out, now);
                Ok(())
            }
            Err(full) => {
                let (reason, refusal) = match full {
                    Full::Source => (Reason::SourceRequests, Refusal::SourceBusy),
                    Full::Others => (Reason::Requests, Refusal::Busy),
                };
                self.admission.refusals.count(reason, self.source, now);
                Err(refusal)
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.admission.lock().enter(self.id, phase, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.lock().leave(self.id);
    }
}

/// The middleware of the API's routes. A request without a caller came by no network.
pub(super) async fn take_place(caller: Option<Extension<Caller>>, request: Request, next: Next) -> Response {
    if request.uri().path() != HEALTHZ
        && let Some(Extension(Caller { place, .. })) = caller
        && let Err(refusal) = place.answer()
    {
        return refusal.into_response();
    }
    next.run(request).await
}
