//! The HTTP and HTTPS probe: one request on one fresh connection.
//!
//! A status that redirects is an answer like any other, and nothing is tried a second time.

use std::{future::Future, net::IpAddr, pin::pin, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use super::{
    Failure, Phase, ProberError,
    connector::Connector,
    stream::{Opener, PIECES_LIMIT},
    tls::TlsConfigs,
};
use crate::config::{HeaderPattern, Pattern, Probe, Scheme, StatusSet};

/// The most of a body that a probe reads, in bytes. A health page is short; a probe is not to pull an image layer.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// The most of an answer's head that a probe reads, in bytes: servers refuse heads of requests that are a quarter of it.
const HEAD_LIMIT: usize = 64 * 1024;

/// One replica's URL, and what counts as a good answer from it.
#[derive(Debug)]
pub(super) struct HttpProbe {
    opener: Opener,
    request: Request<Full<Bytes>>,
    status: StatusSet,
    expect_headers: Vec<HeaderPattern>,
    reject_headers: Vec<HeaderPattern>,
    body: Option<Pattern>,
    reject_body: Option<Pattern>,
    timeout: Duration,
}

impl HttpProbe {
    pub(super) fn new(
        connector: Connector,
        probe: &Probe,
        configs: &mut TlsConfigs,
    ) -> Result<Self, ProberError> {
        let url = url(connector.asked(), probe)?;
        Ok(Self {
            opener: Opener::new(connector, probe, configs)?,
            request: request(&url, probe)?,
            status: probe.status.clone(),
            expect_headers: probe.expect_headers.clone(),
            reject_headers: probe.reject_headers.clone(),
            body: probe.body.clone(),
            reject_body: probe.reject_body.clone(),
            timeout: probe.timeout,
        })
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        self.opener.connector()
    }

    /// Asks once. Gives the status, if one came, and what is wrong, if anything is.
    pub(super) async fn ask(&self) -> (Option<u16>, Option<Failure>) {
        let deadline = Instant::now() + self.timeout;
        let stream = match self.opener.open(deadline).await {
            Ok(stream) => stream,
            Err(failure) => return (None, Some(failure)),
        };
        let opened = http1::Builder::new().max_buf_size(HEAD_LIMIT).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = match opened {
            Ok(both) => both,
            Err(error) => return (None, Some(Failure::from_http(&error, self.timeout))),
        };
        beside(connection, self.exchange(sender, deadline)).await
    }

    async fn exchange(
        &self,
        mut sender: http1::SendRequest<Full<Bytes>>,
        deadline: Instant,
    ) -> (Option<u16>, Option<Failure>) {
        let response = match timeout_at(deadline, sender.send_request(self.request.clone())).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return (None, Some(Failure::from_http(&error, self.timeout))),
            Err(_elapsed) => return (None, Some(self.timed_out(Phase::Waiting))),
        };
        let status = response.status().as_u16();
        (Some(status), self.judge(status, response, deadline).await.err())
    }

    async fn judge(&self, got: u16, response: Response<Incoming>, deadline: Instant) -> Result<(), Failure> {
        if !self.status.contains(got) {
            return Err(Failure::Status { got, expected: self.status.to_string() });
        }
        self.judge_headers(response.headers())?;
        let read = timeout_at(deadline, self.read_body(response.into_body())).await;
        let body = match read.unwrap_or_else(|_elapsed| Err(self.timed_out(Phase::Reading))) {
            Ok(body) => body,
            // Where the body does not matter, it does not matter how long it is, either.
            Err(
                Failure::BodyTooLong { .. } | Failure::TooManyPieces { .. } | Failure::AnswerTooLong { .. },
            ) if self.body.is_none() && self.reject_body.is_none() => {
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        if let Some(pattern) = self.body.as_ref().filter(|pattern| !pattern.is_match(&body)) {
            return Err(Failure::BodyMismatch { pattern: pattern.to_string() });
        }
        if let Some(pattern) = self.reject_body.as_ref().filter(|pattern| pattern.is_match(&body)) {
            return Err(Failure::BodyRejected { pattern: pattern.to_string() });
        }
        Ok(())
    }

    fn judge_headers(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let matches = |expected: &HeaderPattern| {
            headers.get_all(&expected.name).iter().any(|value| expected.pattern.is_match(value.as_bytes()))
        };
        let named = |header: &HeaderPattern| (header.name.to_string(), header.pattern.to_string());
        if let Some(missed) = self.expect_headers.iter().find(|expected| !matches(expected)) {
            let (name, pattern) = named(missed);
            return Err(if headers.contains_key(&missed.name) {
                Failure::HeaderMismatch { name, pattern }
            } else {
                Failure::HeaderMissing { name }
            });
        }
        match self.reject_headers.iter().find(|rejected| matches(rejected)) {
            Some(found) => {
                let (name, pattern) = named(found);
                Err(Failure::HeaderRejected { name, pattern })
            }
            None => Ok(()),
        }
    }

    /// The whole body: one that ends before its announced end is a failure, whether or not anybody looks at it.
    async fn read_body(&self, mut incoming: Incoming) -> Result<Vec<u8>, Failure> {
        let too_long = Failure::BodyTooLong { limit: BODY_LIMIT };
        let announced = incoming.size_hint().exact();
        if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(too_long);
        }
        let mut body = Vec::new();
        let mut pieces = 0;
        while let Some(frame) = incoming.frame().await {
            pieces += 1;
            if pieces > PIECES_LIMIT {
                return Err(Failure::TooManyPieces { limit: PIECES_LIMIT });
            }
            let frame = frame.map_err(|error| match Failure::from_http(&error, self.timeout) {
                Failure::Closed => Failure::CutShort { came: body.len(), announced },
                other => other,
            })?;
            // What is no data is a trailer.
            let Ok(chunk) = frame.into_data() else { continue };
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(too_long);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn timed_out(&self, phase: Phase) -> Failure {
        Failure::Timeout { after: self.timeout, phase }
    }
}

/// Lets a connection work until the answer is there. What goes wrong on the connection, the answer says.
async fn beside<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        _ended = connection => {}
    }
    answer.await
}

/// The URL to ask for. A configured name stands in it; a configured address does not: it is no place to connect to.
fn url(address: IpAddr, probe: &Probe) -> Result<Url, ProberError> {
    let scheme = match probe.scheme {
        Scheme::Https => "https",
        Scheme::Http | Scheme::Tcp | Scheme::Tls | Scheme::None => "http",
    };
    let name = probe.host.as_deref().filter(|host| host.parse::<IpAddr>().is_err());
    let authority = match (name, address) {
        (Some(name), _) => name.to_owned(),
        (None, IpAddr::V4(address)) => address.to_string(),
        (None, IpAddr::V6(address)) => format!("[{address}]"),
    };
    let text = format!("{scheme}://{authority}:{}{}", probe.port, probe.path);
    let invalid = |reason: String| ProberError::Url { url: text.clone(), reason };
    // Without it the path would run into the port, or worse, make a user name of what comes before it.
    if !probe.path.starts_with('/') {
        return Err(invalid("the path does not start with '/'".to_owned()));
    }
    let url = Url::parse(&text).map_err(|error| invalid(error.to_string()))?;
    // URLs read some names as addresses (`10.1` is 10.0.0.1), and what follows `@` or `/` as another part.
    match name {
        Some(name) if !url.domain().is_some_and(|domain| domain.eq_ignore_ascii_case(name)) => {
            Err(ProberError::Host { host: name.to_owned() })
        }
        _ => Ok(url),
    }
}

fn request(url: &Url, probe: &Probe) -> Result<Request<Full<Bytes>>, ProberError> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let body = Bytes::from(probe.request_body.clone().unwrap_or_default());
    let mut request = Request::builder()
        .method(probe.method.clone())
        .uri(target)
        .header(HOST, host_header(url, probe.host.as_deref())?)
        .body(Full::new(body))
        .map_err(|error| ProberError::Url { url: url.to_string(), reason: error.to_string() })?;
    let headers = request.headers_mut();
    for header in &probe.headers {
        headers.append(header.name.clone(), header.value.clone());
    }
    let version = HeaderValue::from_static(concat!("dtr-lb/", env!("CARGO_PKG_VERSION")));
    headers.entry(USER_AGENT).or_insert(version);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// The host as configured, without the probe's port: clients ask for the VIP's port, which may be another. Where none is
/// configured, who is asked.
fn host_header(url: &Url, host: Option<&str>) -> Result<HeaderValue, ProberError> {
    let text = match host.map(|host| (host, host.parse())) {
        Some((_, Ok(IpAddr::V6(address)))) => format!("[{address}]"),
        Some((host, Ok(IpAddr::V4(_)) | Err(_))) => host.to_owned(),
        None => match (url.host_str().unwrap_or_default(), url.port()) {
            (asked, Some(port)) => format!("{asked}:{port}"),
            (asked, None) => asked.to_owned(),
        },
    };
    HeaderValue::from_str(&text).map_err(|_invalid| ProberError::Host { host: text })
}
