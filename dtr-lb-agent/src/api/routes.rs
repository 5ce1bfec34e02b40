//! The paths and methods of the API.

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    routing::{get, post},
};
use tokio::sync::mpsc;

use super::{
    ask::{Requests, ask},
    asker::Asker,
    follow, healthz, look, metrics,
    request::{Detached, Ordered, Refusal, RefusalKind, Reloaded, ReplicaOrder, Request, WouldReload},
    trace,
};
use crate::{events::Events, history::History, status::Status};

/// All of it, for the socket: who may open that may also end the balancing. What changes something is a POST.
pub fn router(requests: mpsc::Sender<Request>, history: History, events: Events) -> Router {
    let own = Router::new()
        .route("/v1/detach", post(detach))
        .route("/v1/reload", get(would_reload))
        .merge(trace::routes())
        .merge(follow::routes())
        .with_state(requests.clone());
    open_routes(requests, history, events).merge(own)
}

/// What is also served over HTTP: all but `detach`, but what a reload would change, which reads files each time, and but a
/// trace, which shows what clients send and costs each packet some time, and the flow log, whose lines never end. History and
/// events are read without the main loop.
pub fn open_routes(requests: mpsc::Sender<Request>, history: History, events: Events) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/replica", post(replica))
        .route("/v1/undo", post(undo))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(healthz::healthz))
        .merge(look::routes())
        .with_state(requests)
        .merge(super::history::routes(history))
        .merge(super::events::routes(events))
        .merge(super::verdicts::routes())
}

async fn status(State(requests): State<Requests>) -> Result<Json<Status>, Refusal> {
    ask(&requests, Request::Status).await
}

async fn detach(State(requests): State<Requests>, Asker(by): Asker) -> Result<Json<Detached>, Refusal> {
    ask(&requests, |answer| Request::Detach(by, answer)).await
}

async fn reload(State(requests): State<Requests>, Asker(by): Asker) -> Result<Json<Reloaded>, Refusal> {
    ask(&requests, |answer| Request::Reload(by, answer)).await
}

async fn would_reload(State(requests): State<Requests>) -> Result<Json<WouldReload>, Refusal> {
    ask(&requests, Request::WouldReload).await
}

async fn replica(
    State(requests): State<Requests>,
    Asker(by): Asker,
    order: Result<Json<ReplicaOrder>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    let Json(order) = order.map_err(|error| Refusal::new(RefusalKind::BadRequest, error.body_text()))?;
    ask(&requests, |answer| Request::Replica(order, by, answer)).await
}

async fn undo(State(requests): State<Requests>, Asker(by): Asker) -> Result<Json<Ordered>, Refusal> {
    ask(&requests, |answer| Request::Undo(by, answer)).await
}
