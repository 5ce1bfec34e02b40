//! `GET /v1/events`: what changed, when, why and by whom. Read without the main loop.

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::task::spawn_blocking;

use super::{ask::bad_request, request::Refusal};
use crate::events::{self, Events, MOST};

pub(super) fn routes(events: Events) -> Router {
    Router::new().route("/v1/events", get(list)).with_state(events)
}

async fn list(
    State(events): State<Events>,
    query: Result<Query<events::Query>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|rejection| bad_request(rejection.body_text()))?;
    if let Some(limit) = query.limit.filter(|limit| *limit > MOST) {
        return Err(bad_request(format!("limit is {MOST} at most, not {limit}")));
    }
    // They may be some megabytes: not on a thread that others wait for.
    let made = spawn_blocking(move || events.list_as_json(&query));
    let text = made.await.map_err(Refusal::failed)?.map_err(Refusal::failed)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
