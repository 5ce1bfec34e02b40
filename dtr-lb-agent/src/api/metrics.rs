//! `GET /metrics`: for Prometheus.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use tokio::sync::mpsc;

use super::{Request, ask};
use crate::metrics::{self, Process};

/// The page is made here, so that the main loop has no part in it.
pub(super) async fn metrics(
    State(requests): State<mpsc::Sender<Request>>,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    let Json(snapshot) = ask(&requests, Request::Metrics).await?;
    let page = metrics::page(&snapshot, Process::read().as_ref())
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page))
}
