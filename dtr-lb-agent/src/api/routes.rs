//! The paths and methods of the API.

use axum::{
    Json, Router,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    healthz, look, metrics,
    request::{
        Answer, Detached, Ordered, Refusal, RefusalKind, Reloaded, ReplicaOrder, Request, WouldReload,
    },
    trace,
};
use crate::{history::History, status::Status};

pub(super) type Requests = State<mpsc::Sender<Request>>;

/// All of it, for the socket: who may open that may also end the balancing. What changes something is a POST.
pub fn router(requests: mpsc::Sender<Request>, history: History) -> Router {
    let own = Router::new()
        .route("/v1/detach", post(detach))
        .route("/v1/reload", get(would_reload))
        .merge(trace::routes())
        .with_state(requests.clone());
    open_routes(requests, history).merge(own)
}

/// What is also served over HTTP: all but `detach`, but what a reload would change, which reads files each time, and but a
/// trace, which shows what clients send and costs each packet some time. The history is read without the main loop.
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

/// What a refusal looks like.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.kind {
            RefusalKind::BadRequest => StatusCode::BAD_REQUEST,
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::BadConfig => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            RefusalKind::Ending => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(ErrorBody { error: self.message })).into_response()
    }
}

async fn status(State(requests): Requests) -> Result<Json<Status>, Refusal> {
    ask(&requests, Request::Status).await
}

async fn detach(State(requests): Requests) -> Result<Json<Detached>, Refusal> {
    ask(&requests, Request::Detach).await
}

async fn reload(State(requests): Requests) -> Result<Json<Reloaded>, Refusal> {
    ask(&requests, Request::Reload).await
}

async fn would_reload(State(requests): Requests) -> Result<Json<WouldReload>, Refusal> {
    ask(&requests, Request::WouldReload).await
}

async fn replica(
    State(requests): Requests,
    order: Result<Json<ReplicaOrder>, JsonRejection>,
) -> Result<Json<Ordered>, Refusal> {
    let Json(order) = order.map_err(|error| Refusal::new(RefusalKind::BadRequest, error.body_text()))?;
    ask(&requests, |answer| Request::Replica(order, answer)).await
}

/// Puts a request to the main loop and waits for its answer.
pub(super) async fn ask<T>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(Answer<T>) -> Request,
) -> Result<Json<T>, Refusal> {
    let (answer, answered) = oneshot::channel();
    let ending = || Refusal::new(RefusalKind::Ending, "the agent is ending");
    requests.send(request(answer)).await.map_err(|_| ending())?;
    answered.await.map_err(|_| ending())?.map(Json)
}
