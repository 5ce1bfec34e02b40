//! Why a probe cannot even be set up. These are mistakes in the config or on this host, not in a replica.

use std::{io, path::PathBuf};

/// A [`super::Prober`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// The file named by `verify` cannot be opened or read.
    #[error("cannot read the probe's CA file {}: {source}; check the path and its permissions", path.display())]
    CaRead {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file named by `verify` is not PEM, or a certificate in it is damaged.
    #[error(
        "the probe's CA file {} is not usable: {reason}; it must hold CA certificates in PEM form",
        path.display()
    )]
    CaInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// `verify = true`, and this host trusts nobody.
    #[error(
        "the probe is to verify certificates, but this host's CA certificates are not usable: {0}; \
         install the ca-certificates package, or name a CA file in `verify`"
    )]
    SystemRoots(#[source] rustls::Error),
    /// `host` cannot be sent as a TLS server name or in a Host header.
    #[error("the probe's host {host:?} is neither a DNS name nor an IP address")]
    Host {
        /// The host as configured.
        host: String,
    },
    /// Scheme, host, port and path do not make a URL.
    #[error("the probe's URL {url:?} is not valid: {reason}; check its host and path")]
    Url {
        /// The URL that was tried.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS for probes: {0}; this is a fault in dtr-lb, please report it")]
    Tls(#[source] rustls::Error),
}
