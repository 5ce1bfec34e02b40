//! `GET /v1/trace`: a stream of lines, each a JSON object, for as long as the trace lasts. Hanging up ends it.
//!
//! For the socket only: it shows what clients send, and it makes each packet cost more while it lasts.

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    ask::{Requests, ask, bad_request, ending},
    request::{Look, Refusal, Request},
};
use crate::trace::{self, Line, Names, Order, TraceRequest};

pub(super) fn routes() -> Router<Requests> {
    Router::new().route("/v1/trace", get(begin))
}

async fn begin(
    State(requests): State<Requests>,
    query: Result<Query<trace::Query>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|rejection| bad_request(rejection.body_text()))?;
    let Json(Look { reader, directory, .. }) = ask(&requests, Request::Look).await?;
    let order = Order::new(&query, &directory).map_err(bad_request)?;
    let (answer, answered) = oneshot::channel();
    let request = TraceRequest { filter: order.filter, limit: order.limit, answer };
    requests.send(Request::Trace(request)).await.map_err(|_| ending())?;
    let tracing = answered.await.map_err(|_| ending())?.map_err(Refusal::failed)?;
    let lines = trace::stream(tracing, order, Names::new(directory, reader));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body(lines)).into_response())
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use reqwest::StatusCode;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        api::{open_routes, router},
        events::Events,
        history::History,
    };

    async fn status(router: Router) -> StatusCode {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        // An error says that it is known already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer =
            client.get(format!("http://{address}/v1/trace?count=0")).send().await.expect("an answer");
        server.abort();
        answer.status()
    }

    #[tokio::test]
    async fn it_is_on_the_socket_and_not_on_http() {
        let requests = || mpsc::channel(1).0;
        // Nobody answers requests: the route is there if it says so.
        let there = status(router(requests(), History::default(), Events::default())).await;
        assert_eq!(there, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            status(open_routes(requests(), History::default(), Events::default())).await,
            StatusCode::NOT_FOUND
        );
        assert_eq!(status(Router::new().route("/", get(|| async {}))).await, StatusCode::NOT_FOUND);
    }
}
