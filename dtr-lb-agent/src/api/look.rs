//! `GET /v1/flows` and `GET /v1/explain`: looks at the datapath's tables, on threads of their own. The main loop only hands
//! over what it takes.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::get,
};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{
    ask::{Requests, ask, bad_request, ending},
    request::{Look, Refusal, Request},
};
use crate::{
    explain::{self, ExplainError, Explanation, Question},
    flows::{self, FlowsError, Listing},
    interface,
};

/// A walk through large tables keeps a processor busy for a second or more: so many at a time, the others wait.
static LOOKS: Semaphore = Semaphore::const_new(1);

pub(super) fn routes() -> Router<Requests> {
    Router::new().route("/v1/flows", get(list)).route("/v1/explain", get(tell))
}

async fn list(
    State(requests): State<Requests>,
    query: Result<Query<flows::Query>, QueryRejection>,
) -> Result<Json<Listing>, Refusal> {
    let Query(query) = query.map_err(|rejection| bad_request(rejection.body_text()))?;
    looking(&requests, move |Look { reader, directory, now }| {
        flows::list(&query, &reader, &directory, now).map_err(|error| match error {
            FlowsError::Unknown { .. } | FlowsError::State { .. } | FlowsError::Limit(_) => {
                bad_request(error)
            }
            FlowsError::Datapath(_) => Refusal::failed(error),
        })
    })
    .await
}

async fn tell(
    State(requests): State<Requests>,
    query: Result<Query<explain::Query>, QueryRejection>,
) -> Result<Json<Explanation>, Refusal> {
    let Query(query) = query.map_err(|rejection| bad_request(rejection.body_text()))?;
    let question = Question::new(&query.source, &query.destination).map_err(bad_request)?;
    looking(&requests, move |Look { reader, directory, now }| {
        let own = interface::host_addresses().map_err(Refusal::failed)?;
        explain::explain(&question, &reader, &directory, &own, now).map_err(|error| match error {
            ExplainError::Datapath(_) => Refusal::failed(error),
            ExplainError::Source(_)
            | ExplainError::Destination(_)
            | ExplainError::Families(..)
            | ExplainError::PortZero => bad_request(error),
        })
    })
    .await
}

async fn looking<T: Serialize + Send + 'static>(
    requests: &Requests,
    look: impl FnOnce(Look) -> Result<T, Refusal> + Send + 'static,
) -> Result<Json<T>, Refusal> {
    let _turn = LOOKS.acquire().await.map_err(|_| ending())?;
    let Json(asked) = ask(requests, Request::Look).await?;
    let found = tokio::task::spawn_blocking(move || look(asked)).await.map_err(Refusal::failed)?;
    found.map(Json)
}
