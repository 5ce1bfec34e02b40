//! `GET /v1/flows/follow`: a line, a JSON object, for each connection that ends or fails, until who asked hangs up or the agent ends.
//!
//! For the socket only: who reads slowly keeps a connection for ever, of which the HTTP side has few.

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;

use super::{
    ask::{Requests, ask, bad_request},
    request::{Follow, Refusal, Request},
};
use crate::flow_log::{FollowFilter, FollowQuery, Subscription};

pub(super) fn routes() -> Router<Requests> {
    Router::new().route("/v1/flows/follow", get(begin))
}

async fn begin(
    State(requests): State<Requests>,
    query: Result<Query<FollowQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|rejection| bad_request(rejection.body_text()))?;
    let Json(Follow { subscription, directory }) = ask(&requests, Request::Follow).await?;
    let filter = FollowFilter::new(&query, &directory).map_err(bad_request)?;
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body(subscription, filter)).into_response())
}

fn body(subscription: Subscription, filter: FollowFilter) -> Body {
    let lines = futures::stream::unfold((subscription, filter), |(mut subscription, filter)| async {
        loop {
            let followed = subscription.next().await?;
            if let Some(line) = filter.line(&followed, Timestamp::now()) {
                return Some((Ok::<_, Infallible>(line), (subscription, filter)));
            }
        }
    });
    Body::from_stream(lines)
}
