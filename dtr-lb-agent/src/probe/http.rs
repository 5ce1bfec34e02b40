//! The HTTP and HTTPS probe: one GET on one fresh connection.
//!
//! The client is a general one, so most of its setup turns things off: no pool, no proxy, no redirect, no retry,
//! no DNS, no decompression. A status that redirects is an answer like any other.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    task::Poll,
    time::Duration,
};

use reqwest::{
    Client, Response, Url,
    header::{CONNECTION, HOST, HeaderMap, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use super::{Failure, Phase, ProberError, tls};
use crate::config::{BodyPattern, Probe, Scheme, StatusSet, Verify};

/// The most of a body that a probe reads, in bytes. A health page is short; a probe is not to pull an image layer.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// The client's own limit on connecting ends this much before the probe's, so that of the two it is the one seen
/// to run out: only by that is a probe known to have hung while connecting.
const CONNECT_MARGIN: Duration = Duration::from_millis(10);

/// One replica's URL, and what counts as a good answer from it.
#[derive(Debug)]
pub(super) struct HttpProbe {
    client: Client,
    url: Url,
    status: StatusSet,
    body: Option<BodyPattern>,
    timeout: Duration,
}

impl HttpProbe {
    pub(super) fn new(address: IpAddr, probe: &Probe) -> Result<Self, ProberError> {
        let host = probe.host.as_deref();
        let url = url(address, probe)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(host) = host {
            headers.insert(HOST, host_header(host)?);
        }
        let tls = match probe.scheme {
            Scheme::Https => tls::client_config(&probe.verify, host.and_then(|host| host.parse().ok()))?,
            // Not used, but the client asks for one: the one that reads no file.
            Scheme::Http | Scheme::Tcp | Scheme::None => tls::client_config(&Verify::No, None)?,
        };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("dtr-lb/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            // Off already, unless another crate in the build turns the client's features on.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(probe.timeout - CONNECT_MARGIN.min(probe.timeout / 4));
        if let Some(name) = url.domain() {
            builder = builder.resolve(name, SocketAddr::new(address, probe.port));
        }
        Ok(Self {
            client: builder.build().map_err(ProberError::Client)?,
            url,
            status: probe.status.clone(),
            body: probe.body.clone(),
            timeout: probe.timeout,
        })
    }

    /// Asks once. Gives the status, if one came, and what is wrong, if anything is.
    pub(super) async fn ask(&self) -> (Option<u16>, Option<Failure>) {
        let mut sending = pin!(self.client.get(self.url.clone()).send());
        // Connecting begins with the first poll, and with it the client's limit on it. Set after that, the
        // deadline is always the later of the two, however busy this host is.
        let begun = futures::poll!(sending.as_mut());
        let deadline = Instant::now() + self.timeout;
        let sent = match begun {
            Poll::Ready(sent) => Ok(sent),
            Poll::Pending => timeout_at(deadline, sending).await,
        };
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return (None, Some(Failure::from_client(&error, self.timeout))),
            Err(_elapsed) => return (None, Some(self.timed_out(Phase::Waiting))),
        };
        let status = response.status().as_u16();
        (Some(status), self.judge(status, response, deadline).await.err())
    }

    async fn judge(&self, got: u16, response: Response, deadline: Instant) -> Result<(), Failure> {
        if !self.status.contains(got) {
            return Err(Failure::Status { got, expected: self.status.to_string() });
        }
        let Some(pattern) = &self.body else { return Ok(()) };
        let body = match timeout_at(deadline, self.read_body(response)).await {
            Ok(body) => body?,
            Err(_elapsed) => return Err(self.timed_out(Phase::Reading)),
        };
        if !pattern.is_match(&body) {
            return Err(Failure::BodyMismatch { pattern: pattern.as_str().to_owned() });
        }
        Ok(())
    }

    async fn read_body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let too_long = Failure::BodyTooLong { limit: BODY_LIMIT };
        if response.content_length().is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(too_long);
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => return Err(too_long),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) => return Err(Failure::from_client(&error, self.timeout)),
            }
        }
    }

    fn timed_out(&self, phase: Phase) -> Failure {
        Failure::Timeout { after: self.timeout, phase }
    }
}

/// The URL to ask for. A configured name stands in it, since the client takes the TLS server name from there, and
/// is resolved to `address` without DNS. A configured address does not: the client would connect to it.
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

/// The host as configured, without the probe's port: clients ask for the VIP's port, which may be another.
fn host_header(host: &str) -> Result<HeaderValue, ProberError> {
    let text = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|_invalid| ProberError::Host { host: host.to_owned() })
}
