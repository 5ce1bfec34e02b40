//! Who may do what over HTTP: every request passes here first.
//!
//! 1. The request must be for this host: by an address, as `localhost`, or by a name that the config or the host knows. A page
//!    of somebody else's whose name was made to lead here (DNS rebinding) asks by that name.
//! 2. To read is open. All else needs the admin token, or a session that was opened by it.
//! 3. What a browser says comes from another site, or another port of this one, changes nothing, whatever cookie it
//!    brings: `Sec-Fetch-Site` and `Origin` are the browser's word (Fetch standard), and a page cannot set them.
//! 4. What changes things is JSON, which a form of another site cannot send.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, Uri, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::sleep;

use super::{
    access::Access,
    admission::Caller,
    failed_logins::FailedLogins,
    refusal::Refusal,
    refusal_counters::{Reason, RefusalCounters},
    source::Source,
};
use crate::events::By;

/// Where a session is opened, looked at and closed.
pub(super) const SESSION_PATH: &str = "/v1/session";

/// What an event calls who has shown the token with the request, or logged in by it before.
const ADMIN_TOKEN: &str = "admin token";
const SESSION: &str = "dashboard session";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long the answer to a wrong token takes.
pub(super) const FAILED_LOGIN_PAUSE: Duration = Duration::from_secs(1);
/// And while many others of its source wait for theirs.
const MANY_FAILED_LOGINS_PAUSE: Duration = Duration::from_secs(5);

/// What a request is measured by.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) access: Access,
    /// The name of the session's cookie. Cookies are shared by all ports of a host, so the port is in it.
    pub(super) cookie: String,
    failed_logins: FailedLogins,
    refusals: RefusalCounters,
}

/// What a request has shown, or must still show, once it is known to come from no other site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof<'a> {
    None,
    /// It has an open session.
    Session,
    Token(&'a [u8]),
}

impl Gate {
    pub(super) fn new(access: Access, port: u16, refusals: RefusalCounters) -> Self {
        Self {
            access,
            cookie: format!("dtr-lb-session-{port}"),
            failed_logins: FailedLogins::default(),
            refusals,
        }
    }

    /// Whether this is the token. It is compared before anything is limited, so that wrong ones, from wherever and however
    /// many, never keep the right one out. A wrong one is answered late, and later if many of its source wait.
    pub(super) async fn try_token(&self, given: &[u8], caller: Option<&Caller>) -> Result<(), Refusal> {
        if self.access.is_token(given) {
            return Ok(());
        }
        let (source, now) = (caller.map_or(Source::Local, |caller| caller.place.source()), Instant::now());
        if let Some(caller) = caller {
            // A connection that only waits for this makes room for others.
            caller.place.delayed();
        }
        let pending = self.failed_logins.hold_reply(source);
        let (pause, reason, refusal) = if pending.is_one_of_few() {
            (FAILED_LOGIN_PAUSE, Reason::WrongToken, Refusal::WrongToken)
        } else {
            (MANY_FAILED_LOGINS_PAUSE, Reason::ManyWrongTokens, Refusal::ManyWrongTokens)
        };
        self.refusals.count(reason, source, now);
        self.failed_logins.log(source, now);
        sleep(pause).await;
        Err(refusal)
    }

    /// The session that the request names, open or not.
    pub(super) fn session_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let cookies = headers.get_all(header::COOKIE).iter();
        let pairs = cookies.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let mut found = pairs.filter_map(|pair| {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|byte| *byte == b'=')?;
            (&pair[..at] == self.cookie.as_bytes()).then(|| &pair[at + 1..])
        });
        found.next()
    }

    /// Whether the request brings a session that is open.
    pub(super) fn has_session(&self, headers: &HeaderMap, now: Instant) -> bool {
        self.session_in(headers).is_some_and(|name| self.access.is_session(name, now))
    }

    /// All but the token, which takes time.
    fn judge<'a>(&self, parts: &'a Parts, now: Instant) -> Result<Proof<'a>, Refusal> {
        let Parts { method, uri, headers, .. } = parts;
        let host = self.asked_for(uri, headers)?;
        if [Method::GET, Method::HEAD].contains(method) {
            return Ok(Proof::None);
        }
        same_origin(headers, host)?;
        if !self.access.can_change() {
            return Err(Refusal::ReadOnly);
        }
        if uri.path() == SESSION_PATH {
            return if method == Method::POST {
                is_json(headers).map(|()| Proof::None)
            } else {
                Ok(Proof::None)
            };
        }
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            let token = bearer(given.as_bytes()).ok_or(Refusal::NoToken)?;
            if has_body(headers) {
                is_json(headers)?;
            }
            return Ok(Proof::Token(token));
        }
        is_json(headers)?;
        match self.session_in(headers) {
            Some(name) if self.access.is_session(name, now) => Ok(Proof::Session),
            Some(_) => Err(Refusal::SessionOver),
            None => Err(Refusal::NoToken),
        }
    }

    /// The host and port by which the request asks for this one; an error if that is none of its names. A request without any
    /// (HTTP/1.0) is no browser's.
    fn asked_for<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, Refusal> {
        let mut lines = headers.get_all(header::HOST).iter();
        let (first, second) = (lines.next(), lines.next());
        if second.is_some() {
            return Err(Refusal::OtherHost);
        }
        let named = first.map(|line| line.to_str().map_err(|_| Refusal::OtherHost)).transpose()?;
        for name in named.into_iter().chain(uri.authority().map(Authority::as_str)) {
            if !self.is_ours(name) {
                return Err(Refusal::OtherHost);
            }
        }
        Ok(named)
    }

    fn is_ours(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = bare.strip_suffix('.').unwrap_or(bare);
        // Who asks by an address got that from no name server.
        !authority.as_str().contains('@')
            && (bare.parse::<IpAddr>().is_ok()
                || name.eq_ignore_ascii_case("localhost")
                || self.access.is_name(name))
    }
}

/// The middleware.
pub(super) async fn pass(State(gate): State<std::sync::Arc<Gate>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let judged = match gate.judge(&parts, Instant::now()) {
        Ok(Proof::None) => Ok(None),
        Ok(Proof::Session) => Ok(Some(SESSION)),
        Ok(Proof::Token(given)) => {
            gate.try_token(given, parts.extensions.get()).await.map(|()| Some(ADMIN_TOKEN))
        }
        Err(refusal) => Err(refusal),
    };
    match judged {
        Ok(proof) => {
            if let (Some(proof), Some(caller)) = (proof, parts.extensions.get::<Caller>()) {
                let address = SocketAddr::new(caller.peer.ip().to_canonical(), caller.peer.port());
                parts.extensions.insert(By::Http { token: proof.to_owned(), address });
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses what a browser sends for a page that is not this agent's own. What says neither is no browser.
fn same_origin(headers: &HeaderMap, host: Option<&str>) -> Result<(), Refusal> {
    let all = |name: &HeaderName, good: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().all(|line| line.to_str().is_ok_and(good))
    };
    // `none`: typed by the user. `same-site` is another port of this host.
    let from_here = all(&SEC_FETCH_SITE, &|site| ["same-origin", "none"].contains(&site));
    let own = all(&header::ORIGIN, &|origin| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        matches!((authority, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
    });
    if from_here && own { Ok(()) } else { Err(Refusal::OtherSite) }
}

fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let written = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = written.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Refusal::NotJson) }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// The token after `Bearer` (RFC 6750 section 2.1; the scheme's case does not matter, RFC 9110 section 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = authorization.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests;
