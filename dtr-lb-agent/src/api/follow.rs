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

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use reqwest::{Response, StatusCode};
    use tokio::{
        net::TcpListener,
        sync::mpsc,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{
        api::{open_routes, router},
        directory::Directory,
        events::Events,
        flow_log::{
            FlowEnd, FlowLog, FlowLogLine, FlowRecord,
            tests::{NOWHERE, record},
        },
        history::History,
    };

    const LIMIT: Duration = Duration::from_secs(10);

    async fn serve(router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn get(address: SocketAddr, what: &str) -> Response {
        // An error says that it is known already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.get(format!("http://{address}{what}")).send().await.expect("an answer")
    }

    /// The API of an agent of which there is no more than the flow log.
    async fn agent(log: &FlowLog) -> SocketAddr {
        let (sender, mut requests) = mpsc::channel(1);
        let log = log.clone();
        tokio::spawn(async move {
            // One question, so that nobody holds the log afterwards.
            if let Some(Request::Follow(answer)) = requests.recv().await {
                let directory = Directory::default();
                drop(answer.send(Ok(Follow { subscription: log.subscribe(), directory })));
            }
        });
        serve(router(sender, History::default(), Events::default())).await
    }

    #[tokio::test]
    async fn it_is_on_the_socket_and_not_on_http() {
        let requests = || mpsc::channel(1).0;
        let on_the_socket = serve(router(requests(), History::default(), Events::default())).await;
        // Nobody answers requests: the route is there if it says so.
        assert_eq!(get(on_the_socket, "/v1/flows/follow").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        let on_http = serve(open_routes(requests(), History::default(), Events::default())).await;
        assert_eq!(get(on_http, "/v1/flows/follow").await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn lines_come_as_connections_end_until_the_agent_does() {
        let log = FlowLog::start(NOWHERE).expect("a thread");
        let mut response = get(agent(&log).await, "/v1/flows/follow?client=192.0.2.0/24").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(log.is_wanted(), "there is no log, but somebody follows");
        let other = FlowRecord { client: "198.51.100.1:1".parse().expect("an end"), ..record(FlowEnd::Idle) };
        log.offer(vec![other, record(FlowEnd::Refused)]);
        let chunk = timeout(LIMIT, response.chunk()).await.expect("a line comes").expect("it goes on");
        let lines: Vec<FlowLogLine<'_>> = chunk
            .expect("a line")
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
            .collect();
        assert_eq!(lines, [FlowLogLine::Flow((&record(FlowEnd::Refused)).into())]);
        drop(log);
        assert_eq!(timeout(LIMIT, response.chunk()).await.expect("it ends").expect("as it should"), None);
    }

    #[tokio::test]
    async fn who_hangs_up_follows_no_longer() {
        let log = FlowLog::start(NOWHERE).expect("a thread");
        let response = get(agent(&log).await, "/v1/flows/follow").await;
        assert!(log.is_wanted());
        drop(response);
        let gone = async {
            while log.is_wanted() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, gone).await.expect("that is noticed without a line");
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_refused() {
        let log = FlowLog::start(NOWHERE).expect("a thread");
        let response = get(agent(&log).await, "/v1/flows/follow?service=web").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(response.text().await.expect("words").contains("no service is called `web`"));
        assert!(!log.is_wanted());
    }
}
