//! Opens what a probe speaks on: a TCP connection, with TLS on it or without.

use std::{fmt, net::IpAddr, pin::Pin, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{Failure, Phase, ProberError, bounded::Bounded, connector::Connector, tls::TlsConfigs};
use crate::config::{Probe, Scheme};

/// The most that a probe takes from a connection, in bytes, TLS and all: the longest head and body, and the longest chain of
/// certificates, fit in.
const ANSWER_LIMIT: usize = 256 * 1024;

/// The most pieces of an answer, as each takes the processor some time: 64 KiB in packets of 16 bytes of data.
pub(super) const PIECES_LIMIT: usize = 4096;

/// A connection, with TLS on it or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// Opens streams to one replica, one at a time.
pub(super) struct Opener {
    connector: Connector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl Opener {
    pub(super) fn new(
        connector: Connector,
        probe: &Probe,
        configs: &mut TlsConfigs,
    ) -> Result<Self, ProberError> {
        let tls = match probe.scheme {
            Scheme::Https | Scheme::Tls => {
                let config = configs.of(&probe.verify, &probe.alpn)?;
                let name = server_name(probe.host.as_deref(), connector.asked())?;
                Some((TlsConnector::from(config), name))
            }
            Scheme::Http | Scheme::Tcp | Scheme::None => None,
        };
        Ok(Self { connector, tls, timeout: probe.timeout })
    }

    pub(super) fn connector(&mut self) -> &mut Connector {
        &mut self.connector
    }

    /// Opens one by `deadline`.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Pin<Box<dyn Stream>>, Failure> {
        let connected = timeout_at(deadline, self.connector.connect(self.timeout)).await;
        let stream = connected.map_err(|_elapsed| self.timed_out(Phase::Connecting))??;
        let stream = Bounded::new(stream, ANSWER_LIMIT);
        let Some((tls, name)) = &self.tls else { return Ok(Box::pin(stream)) };
        let stream = timeout_at(deadline, tls.connect(name.clone(), stream)).await;
        let stream = stream.map_err(|_elapsed| self.timed_out(Phase::Handshake))?;
        Ok(Box::pin(stream.map_err(|error| Failure::from_io(&error, self.timeout))?))
    }

    fn timed_out(&self, phase: Phase) -> Failure {
        Failure::Timeout { after: self.timeout, phase }
    }
}

/// Whom a certificate must be valid for: the configured name or address, or the address that is asked.
fn server_name(host: Option<&str>, asked: IpAddr) -> Result<ServerName<'static>, ProberError> {
    let Some(host) = host else { return Ok(asked.into()) };
    ServerName::try_from(host.to_owned()).map_err(|_invalid| ProberError::Host { host: host.to_owned() })
}
