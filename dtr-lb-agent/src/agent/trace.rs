//! A trace, as the main loop sees it: one at a time, loaded on a thread of its own, put into the links, and taken out when
//! whoever traces has gone, or at the latest when its time is over.

use std::{future::pending, time::Duration};

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{
    datapath::{Datapath, DatapathError, TraceError, TraceReader, TraceVariant},
    trace::{TraceRequest, Tracing},
};

/// How much longer than its own limit a trace may last: one whose reader has stopped reading does not end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// Until it is tried again to put the plain programs back.
const AGAIN: Duration = Duration::from_secs(1);

type Loaded = Result<(TraceVariant, TraceReader), DatapathError>;

/// The trace under way, if there is one.
#[derive(Default)]
pub(super) enum Tracer {
    #[default]
    Idle,
    Loading {
        loading: JoinHandle<Loaded>,
        request: TraceRequest,
    },
    Running {
        /// Ends when the other end, which is with whoever traces, is dropped.
        held: oneshot::Receiver<()>,
        until: Instant,
        /// Dropped, it tells whoever traces that it is over.
        _ended: oneshot::Sender<()>,
    },
    /// The plain programs could not be put back.
    Stuck {
        again: Instant,
    },
}

/// What happened to it.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum TraceNews {
    Loaded(Loaded),
    Over,
}

impl Tracer {
    /// Begins to load one, unless there is one.
    pub(super) fn request(&mut self, request: TraceRequest, datapath: &Datapath) {
        let loader = match self {
            Self::Idle => datapath.trace_loader(),
            Self::Loading { .. } | Self::Running { .. } | Self::Stuck { .. } => Err(TraceError::Busy),
        };
        match loader {
            Ok(loader) => {
                let filter = request.filter;
                // Registering the ring needs the runtime, which such a thread has.
                let loading = tokio::task::spawn_blocking(move || loader.load(&filter));
                *self = Self::Loading { loading, request };
            }
            // Who asked may have gone.
            Err(error) => drop(request.answer.send(Err(error))),
        }
    }

    /// Waits for news. May be dropped and called again.
    pub(super) async fn news(&mut self) -> TraceNews {
        match self {
            Self::Idle => pending().await,
            Self::Loading { loading, .. } => TraceNews::Loaded(loading.await.unwrap_or_else(|error| {
                Err(DatapathError::Object {
                    reason: format!("loading the programs of a trace failed: {error}"),
                })
            })),
            Self::Running { held, until, .. } => {
                tokio::select! {
                    _ = held => {}
                    () = sleep_until(*until) => {}
                }
                TraceNews::Over
            }
            Self::Stuck { again } => {
                sleep_until(*again).await;
                TraceNews::Over
            }
        }
    }

    pub(super) fn take(&mut self, news: TraceNews, datapath: &mut Datapath) {
        match (std::mem::take(self), news) {
            (Self::Loading { request, .. }, TraceNews::Loaded(loaded)) => {
                // Who asked may have gone meanwhile; then the plain programs have never been away.
                if !request.answer.is_closed() {
                    *self = begin(request, loaded, datapath);
                }
            }
            (Self::Running { .. } | Self::Stuck { .. }, TraceNews::Over) => self.end(datapath),
            (_, TraceNews::Loaded(_) | TraceNews::Over) => {}
        }
    }

    /// Puts the plain programs back.
    pub(super) fn end(&mut self, datapath: &mut Datapath) {
        if !datapath.traces() {
            *self = Self::Idle;
            return;
        }
        *self = match datapath.stop_trace() {
            Ok(()) => {
                info!("the trace is over: the plain programs are attached again");
                Self::Idle
            }
            Err(error) => {
                warn!(
                    %error,
                    "the programs of a trace that is over could not be replaced, which costs each packet some time; it is tried \
                     again each second, and an agent's start does it, too"
                );
                Self::Stuck { again: Instant::now() + AGAIN }
            }
        };
    }
}

fn begin(request: TraceRequest, loaded: Loaded, datapath: &mut Datapath) -> Tracer {
    let TraceRequest { filter: _, limit, answer } = request;
    let started = loaded.map_err(TraceError::from).and_then(|(variant, reader)| {
        datapath.start_trace(variant)?;
        Ok(reader)
    });
    let reader = match started {
        Ok(reader) => reader,
        Err(error) => {
            // Who asked may have gone.
            let _ = answer.send(Err(error));
            return Tracer::Idle;
        }
    };
    let (hold, held) = oneshot::channel();
    let (told, ended) = oneshot::channel();
    let attached = datapath.attached();
    let interfaces: Vec<_> = attached.iter().flat_map(|attached| &attached.interfaces).collect();
    let interfaces: Vec<_> = interfaces.iter().map(|interface| interface.name.clone()).collect();
    let hook = attached.map_or("none", |attached| attached.hook.name());
    info!(
        hook,
        interfaces = interfaces.join(","),
        seconds = limit.as_secs(),
        "a trace begins: the programs are replaced by ones that tell of packets"
    );
    // If whoever asked has gone, `hold` has, too, and the trace ends at once.
    let _ = answer.send(Ok(Tracing { reader, hook, interfaces, hold, ended }));
    Tracer::Running { held, until: Instant::now() + limit + GRACE, _ended: told }
}
