//! `GET /v1/trace`: a stream of lines, each a JSON object, for as long as the trace lasts. Hanging up ends it.
//!
//! For the socket only: it shows what clients send, and it makes each packet cost more while it lasts.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Refusal, RefusalKind, Request,
    look::{self, Look, Requests, bad_request},
};
use crate::{
    agent::TraceRequest,
    trace::{self, Line, Names, Order},
};

pub(super) fn routes() -> Router<Requests> {
    Router::new().route("/v1/trace", get(begin))
}

async fn begin(
    State(requests): State<Requests>,
    query: Result<Query<trace::Query>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|rejection| bad_request(rejection.body_text()))?;
    let Look { reader, directory, .. } = look::ask(&requests).await?;
    let order = Order::new(&query, &directory).map_err(bad_request)?;
    let (answer, answered) = oneshot::channel();
    let request = TraceRequest { filter: order.filter, limit: order.limit, answer };
    requests.send(Request::Trace(request)).await.map_err(|_| ending())?;
    let tracing = answered.await.map_err(|_| ending())?.map_err(Refusal::failed)?;
    let lines = trace::stream(tracing, order, Names::new(directory, reader));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body(lines)).into_response())
}

fn ending() -> Refusal {
    Refusal::new(RefusalKind::Ending, "the agent is ending")
}

fn body(lines: mpsc::Receiver<Line>) -> Body {
    let texts = futures::stream::unfold(lines, |mut lines| async {
        let line = lines.recv().await?;
        // What is made of text and numbers can be written.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        Some((Ok::<_, Infallible>(text), lines))
    });
    Body::from_stream(texts)
}
