//! What a request is refused for, in words for whoever sent it.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// How long a client has for the headers of a request.
pub(super) const HEADERS_SECONDS: u64 = 5;

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "this agent is not asked for by that name: use an address of the host, or add the name to agent.http_names and reload"
    )]
    OtherHost,
    #[error("a page of another site, or of another port, may not change anything here")]
    OtherSite,
    #[error(
        "read-only: no admin token is configured (agent.admin_token_file); `dtr-lb` on the host can do it"
    )]
    ReadOnly,
    #[error(
        "this needs the admin token: send it as `Authorization: Bearer TOKEN`, or log in at the dashboard"
    )]
    NoToken,
    #[error("that is not the admin token: it is in the file that agent.admin_token_file names")]
    WrongToken,
    #[error(
        "that is not the admin token, and many wrong ones come from this address, so answers take longer: it is in the file that \
         agent.admin_token_file names"
    )]
    ManyWrongTokens,
    #[error("the session is over: log in again")]
    SessionOver,
    #[error("what changes things must be JSON: send it with `Content-Type: application/json`")]
    NotJson,
    #[error("a login is {{\"token\": \"...\"}}")]
    NotALogin,
    #[error("there is nothing at this address; `/` is the dashboard")]
    NothingHere,
    #[error("this address does not take that method")]
    Method,
    #[error("too many connections or requests of this address at once: try again in a second")]
    SourceBusy,
    #[error("too many connections or requests at once: try again in a second, or use `dtr-lb` on the host")]
    Busy,
    #[error(
        "the request was still incomplete when another client needed its place: send it again, in one go"
    )]
    PushedOut,
    #[error(
        "the headers of the request did not arrive within {HEADERS_SECONDS} seconds: send it again, in one go"
    )]
    HeadersTimeout,
}

impl Refusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherSite | Self::ReadOnly => StatusCode::FORBIDDEN,
            Self::NoToken | Self::WrongToken | Self::SessionOver => StatusCode::UNAUTHORIZED,
            Self::ManyWrongTokens | Self::SourceBusy => StatusCode::TOO_MANY_REQUESTS,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotALogin => StatusCode::BAD_REQUEST,
            Self::NothingHere => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Busy | Self::PushedOut => StatusCode::SERVICE_UNAVAILABLE,
            Self::HeadersTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// In how many seconds to try again, where that helps (RFC 9110 section 10.2.3).
    const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::SourceBusy | Self::Busy | Self::PushedOut => Some("1"),
            Self::OtherHost
            | Self::OtherSite
            | Self::ReadOnly
            | Self::NoToken
            | Self::WrongToken
            | Self::ManyWrongTokens
            | Self::SessionOver
            | Self::NotJson
            | Self::NotALogin
            | Self::NothingHere
            | Self::Method
            | Self::HeadersTimeout => None,
        }
    }

    /// What a 401 has to say (RFC 9110 section 15.5.2). No browser has a dialogue for this scheme.
    fn challenge(self) -> Option<&'static str> {
        (self.status() == StatusCode::UNAUTHORIZED).then_some("Bearer realm=\"dtr-lb\"")
    }

    fn body(self) -> serde_json::Value {
        json!({ "error": self.to_string() })
    }

    /// The whole answer, for a connection that no server serves.
    pub(super) fn to_http(self) -> String {
        let (status, body) = (self.status(), self.body().to_string());
        let retry = self.retry_after().map(|seconds| format!("Retry-After: {seconds}\r\n"));
        let challenge = self.challenge().map(|scheme| format!("WWW-Authenticate: {scheme}\r\n"));
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}{}\
             Connection: close\r\n\r\n{body}",
            body.len(),
            retry.unwrap_or_default(),
            challenge.unwrap_or_default()
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if let Some(challenge) = self.challenge() {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(seconds));
        }
        response
    }
}
