//! The paths and methods of the API.

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    routing::{get, post},
};
use tokio::sync::mpsc;

use super::{
    ask::{Requests, ask},
    follow, healthz, look, metrics,
    request::{Detached, Ordered, Refusal, RefusalKind, Reloaded, ReplicaOrder, Request, WouldReload},
    trace,
};
use crate::{history::History, status::Status};

/// All of it, for the socket: who may open that may also end the balancing. What changes something is a POST.
pub fn router(requests: mpsc::Sender<Request>, history: History) -> Router {
    let own = Router::new()
        .route("/v1/detach", post(detach))
        .route("/v1/reload", get(would_reload))
        .merge(trace::routes())
        .merge(follow::routes())
        .with_state(requests.clone());
    open_routes(requests, history).merge(own)
}

/// What is also served over HTTP: all but `detach`, but what a reload would change, which reads files each time, but a trace,
/// which shows what clients send and costs each packet some time, and but the flow log, whose lines never end. The history is read without the main loop.
pub fn open_routes(requests: mpsc::Sender<Request>, history: History) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/replica", post(replica))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(healthz::healthz))
        .merge(look::routes())
        .with_state(requests)
        .merge(super::history::routes(history))
        .merge(super::verdicts::routes())
}

async fn status(State(requests): State<Requests>) -> Result<Json<Status>, Refusal> {
    ask(&requests, Request::Status).await
}

async fn detach(State(requests): State<Requests>) -> Result<Json<Detached>, Refusal> {
    ask(&requests, Request::Detach).await
}

async fn reload(State(requests): State<Requests>) -> Result<Json<Reloaded>, Refusal> {
    ask(&requests, Request::Reload).await
}

async fn would_reload(State(requests): State<Requests>) -> Result<Json<WouldReload>, Refusal> {
    ask(&requests, Request::WouldReload).await
}

async fn replica(
    State(requests): State<Requests>,
    order: Result<Json<ReplicaOrder>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    let Json(order) = order.map_err(|error| Refusal::new(RefusalKind::BadRequest, error.body_text()))?;
    ask(&requests, |answer| Request::Replica(order, answer)).await
}
