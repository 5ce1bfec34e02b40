//! The agent's API: HTTP with JSON bodies, for the command line and for scripts
//! (`curl --unix-socket /run/dtr-lb/dtr-lb.sock http://agent/v1/status`).
//!
//! It decides nothing: a request is put to the agent's main loop, which answers from its own state. `socket` is where it
//! is served, `client` the other end.

mod client;
mod healthz;
mod metrics;
mod socket;

use std::path::PathBuf;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use client::{ClientError, ask_detach, ask_healthz, ask_status};
pub use socket::{Api, ApiError};

use crate::{metrics::Snapshot, status::Status};

/// What the main loop is asked.
#[derive(Debug)]
pub enum Request {
    Status(oneshot::Sender<Result<Status, String>>),
    Metrics(oneshot::Sender<Result<Snapshot, String>>),
    /// Remove the datapath, answer, and end.
    Detach(oneshot::Sender<Result<Detached, String>>),
}

/// What became of the datapath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Where it was pinned.
    pub bpffs: PathBuf,
    /// Whether there was one.
    pub removed: bool,
}

/// All routes of the API.
fn router(requests: mpsc::Sender<Request>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/detach", post(detach))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(healthz::healthz))
        .with_state(requests)
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

async fn status(State(requests): State<mpsc::Sender<Request>>) -> Answer<Status> {
    ask(&requests, Request::Status).await
}

async fn detach(State(requests): State<mpsc::Sender<Request>>) -> Answer<Detached> {
    ask(&requests, Request::Detach).await
}

/// Puts a request to the main loop and waits for its answer.
async fn ask<T>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Request,
) -> Answer<T> {
    let (answer, answered) = oneshot::channel();
    let ending = || (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending".to_owned());
    requests.send(request(answer)).await.map_err(|_| ending())?;
    let answer = answered.await.map_err(|_| ending())?;
    answer.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}
