//! `GET /healthz`, `GET /healthz?service=NAME`: whether this balancer is able to serve, by status 200 or 503, with the
//! reasons as JSON.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
};
use reqwest::Url;
use tokio::time::timeout;

use super::{
    ask::{Requests, ask},
    request::Request,
};
use crate::healthz::Healthz;

/// How long the main loop may take to answer: less than a second has to be left of the second or two that checks wait.
const ANSWER_LIMIT: Duration = Duration::from_millis(900);

pub(super) async fn healthz(
    State(requests): State<Requests>,
    RawQuery(query): RawQuery,
) -> (StatusCode, Json<Healthz>) {
    let named = match services(query.as_deref().unwrap_or_default()) {
        Ok(named) => named,
        Err(reason) => return (StatusCode::BAD_REQUEST, Json(Healthz::unknown(reason))),
    };
    let healthz = match timeout(ANSWER_LIMIT, ask(&requests, Request::Status)).await {
        Ok(Ok(Json(status))) => Healthz::of(&status, &named),
        Ok(Err(refusal)) => Healthz::unknown(refusal.message),
        Err(_elapsed) => Healthz::unknown(format!(
            "the agent's main loop has not answered within {} ms",
            ANSWER_LIMIT.as_millis()
        )),
    };
    let status = if healthz.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(healthz))
}

/// The values of `service` in a query.
fn services(query: &str) -> Result<Vec<String>, String> {
    let mut url = Url::parse("http://agent/").map_err(|error| error.to_string())?;
    url.set_query(Some(query));
    let mut services = Vec::new();
    for (key, value) in url.query_pairs() {
        match &*key {
            "service" => services.push(value.into_owned()),
            _ => return Err(format!("unknown key `{key}` in the query; write `?service=NAME`, or no query")),
        }
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        api::{Answer, Refusal},
        status::{Status, tests::plain},
    };

    #[test]
    fn services_are_named_in_the_query_and_nothing_else_is() {
        assert_eq!(services(""), Ok(vec![]));
        assert_eq!(services("service=http&service=a%20b%26c"), Ok(vec!["http".into(), "a b&c".into()]));
        let error = services("servcie=http").expect_err("it is misspelt");
        assert!(error.contains("`servcie`") && error.contains("?service=NAME"), "{error}");
    }

    async fn asked(answer: impl FnOnce(Answer<Status>)) -> (StatusCode, Healthz) {
        let (sender, mut requests) = mpsc::channel(1);
        let asked = tokio::spawn(healthz(State(sender), RawQuery(Some("service=http".into()))));
        let Some(Request::Status(sender)) = requests.recv().await else { panic!("another request") };
        answer(sender);
        let (status, Json(healthz)) = asked.await.expect("no panic");
        (status, healthz)
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_says_it() {
        let (status, healthz) = asked(|sender| drop(sender.send(Ok(plain())))).await;
        assert_eq!((status, healthz.ok), (StatusCode::OK, true));
        let mut down = plain();
        down.services[0].state = "down".into();
        let (status, healthz) = asked(|sender| drop(sender.send(Ok(down)))).await;
        assert_eq!((status, healthz.ok), (StatusCode::SERVICE_UNAVAILABLE, false));
        assert!(healthz.reasons[0].contains("`http`"), "{healthz:?}");
        let (status, healthz) = asked(|sender| drop(sender.send(Err(Refusal::failed("no map"))))).await;
        assert_eq!((status, healthz.reasons), (StatusCode::SERVICE_UNAVAILABLE, vec!["no map".to_owned()]));
        let (status, healthz) = asked(drop).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(healthz.reasons[0].contains("ending"), "{healthz:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_main_loop_that_hangs_is_no_health() {
        let mut kept = None;
        let (status, healthz) = asked(|sender| kept = Some(sender)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(healthz.reasons[0].contains("main loop has not answered"), "{healthz:?}");
    }
}
