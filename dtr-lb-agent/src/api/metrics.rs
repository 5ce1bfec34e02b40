//! `GET /metrics`: for Prometheus.

use axum::{Json, extract::State, http::header, response::IntoResponse};

use super::{
    ask::{Requests, ask},
    request::{Refusal, Request},
};
use crate::metrics::{self, Process};

/// The page is made here, so that the main loop has no part in it.
pub(super) async fn metrics(State(requests): State<Requests>) -> Result<impl IntoResponse, Refusal> {
    let Json(snapshot) = ask(&requests, Request::Metrics).await?;
    let page = metrics::page(&snapshot, Process::read().as_ref()).map_err(Refusal::failed)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page))
}
