//! `GET /v1/history`: the last ten minutes; `?service=NAME` for one service.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::history::History;

#[derive(Debug, Deserialize)]
struct Which {
    service: Option<String>,
}

pub(super) fn routes(history: History) -> Router {
    Router::new().route("/v1/history", get(answer)).with_state(history)
}

async fn answer(State(history): State<History>, Query(which): Query<Which>) -> Response {
    // With a thousand replicas this is millions of numbers: not on a thread that others wait for.
    let made = spawn_blocking(move || serde_json::to_vec(&history.answer(which.service.as_deref())));
    match made.await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(Err(error)) => failed(&error.to_string()),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(error: &str) -> Response {
    let error = format!("the history could not be put into words: {error}");
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error }))).into_response()
}
