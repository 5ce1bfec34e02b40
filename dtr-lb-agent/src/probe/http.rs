//! The HTTP and HTTPS probe: one GET on one fresh connection.
//!
//! A status that redirects is an answer like any other, and nothing is tried a second time.

use std::{
    fmt,
    future::Future,
    net::IpAddr,
    pin::{Pin, pin},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Body as _, Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{Failure, Phase, ProberError, bounded::Bounded, connector::Connector, tls::TlsConfigs};
use crate::config::{BodyPattern, Probe, Scheme, StatusSet};

/// The most of a body that a probe reads, in bytes. A health page is short; a probe is not to pull an image layer.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// The most of an answer's head that a probe reads, in bytes: servers refuse heads of requests that are a quarter of it.
const HEAD_LIMIT: usize = 64 * 1024;

/// The most that a probe takes from a connection, in bytes, TLS and all: the longest head and body, and the longest chain of
/// certificates, fit in.
const ANSWER_LIMIT: usize = 256 * 1024;

/// The most pieces of a body, as each takes the processor some time: 64 KiB in packets of 16 bytes of data.
const PIECES_LIMIT: usize = 4096;

/// One replica's URL, and what counts as a good answer from it.
pub(super) struct HttpProbe {
    connector: Connector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    request: Request<Empty<Bytes>>,
    status: StatusSet,
    body: Option<BodyPattern>,
    timeout: Duration,
}

impl fmt::Debug for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProbe").field("connector", &self.connector).finish_non_exhaustive()
    }
}

/// A connection, with TLS on it or without.
trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl HttpProbe {
    pub(super) fn new(
        connector: Connector,
        probe: &Probe,
        configs: &mut TlsConfigs,
    ) -> Result<Self, ProberError> {
        let host = probe.host.as_deref();
        let url = url(connector.asked(), probe)?;
        let tls = match probe.scheme {
            Scheme::Https => {
                let config = configs.of(&probe.verify)?;
                Some((TlsConnector::from(config), server_name(&url, host, connector.asked())?))
            }
            Scheme::Http | Scheme::Tcp | Scheme::None => None,
        };
        Ok(Self {
            connector,
            tls,
            request: request(&url, host)?,
            status: probe.status.clone(),
            body: probe.body.clone(),
            timeout: probe.timeout,
        })
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        &mut self.connector
    }

    /// Asks once. Gives the status, if one came, and what is wrong, if anything is.
    pub(super) async fn ask(&self) -> (Option<u16>, Option<Failure>) {
        let deadline = Instant::now() + self.timeout;
        let stream = match timeout_at(deadline, self.open()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(failure)) => return (None, Some(failure)),
            Err(_elapsed) => return (None, Some(self.timed_out(Phase::Connecting))),
        };
        let opened = http1::Builder::new().max_buf_size(HEAD_LIMIT).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = match opened {
            Ok(both) => both,
            Err(error) => return (None, Some(Failure::from_http(&error, self.timeout))),
        };
        beside(connection, self.exchange(sender, deadline)).await
    }

    async fn open(&self) -> Result<Pin<Box<dyn Stream>>, Failure> {
        let stream = Bounded::new(self.connector.connect(self.timeout).await?, ANSWER_LIMIT);
        let Some((connector, name)) = &self.tls else { return Ok(Box::pin(stream)) };
        let stream = connector.connect(name.clone(), stream).await;
        Ok(Box::pin(stream.map_err(|error| Failure::from_io(&error, self.timeout))?))
    }

    async fn exchange(
        &self,
        mut sender: http1::SendRequest<Empty<Bytes>>,
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
        let Some(pattern) = &self.body else { return Ok(()) };
        let body = match timeout_at(deadline, self.read_body(response.into_body())).await {
            Ok(body) => body?,
            Err(_elapsed) => return Err(self.timed_out(Phase::Reading)),
        };
        if !pattern.is_match(&body) {
            return Err(Failure::BodyMismatch { pattern: pattern.as_str().to_owned() });
        }
        Ok(())
    }

    async fn read_body(&self, mut incoming: Incoming) -> Result<Vec<u8>, Failure> {
        let too_long = Failure::BodyTooLong { limit: BODY_LIMIT };
        if incoming.size_hint().exact().is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(too_long);
        }
        let mut body = Vec::new();
        let mut pieces = 0;
        while let Some(frame) = incoming.frame().await {
            pieces += 1;
            if pieces > PIECES_LIMIT {
                return Err(Failure::TooManyPieces { limit: PIECES_LIMIT });
            }
            let frame = frame.map_err(|error| Failure::from_http(&error, self.timeout))?;
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
        Scheme::Http | Scheme::Tcp | Scheme::None => "http",
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

/// Whom a certificate must be valid for: the configured name or address, or the address that is asked.
fn server_name(url: &Url, host: Option<&str>, asked: IpAddr) -> Result<ServerName<'static>, ProberError> {
    match url.domain() {
        Some(name) => ServerName::try_from(name.to_owned())
            .map_err(|_invalid| ProberError::Host { host: name.to_owned() }),
        None => Ok(host.and_then(|host| host.parse().ok()).unwrap_or(asked).into()),
    }
}

fn request(url: &Url, host: Option<&str>) -> Result<Request<Empty<Bytes>>, ProberError> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Request::get(target)
        .header(HOST, host_header(url, host)?)
        .header(USER_AGENT, concat!("dtr-lb/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| ProberError::Url { url: url.to_string(), reason: error.to_string() })
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
