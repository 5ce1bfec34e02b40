//! `[service.probe]`: how the health of a service's replicas is asked for.

mod fits;
mod http;
mod keys;
mod steps;
mod tls;

use hyper::Method;

use super::choice::choice;
use super::node::{Field, Table};
use super::preset::Preset;
use super::problems::Problems;

pub use self::http::{Header, HeaderPattern};
pub use self::keys::Probe;
pub(super) use self::keys::WrittenProbe;
pub use self::steps::Step;
pub use self::tls::Verify;

choice! {
    /// What a probe speaks.
    pub enum Scheme {
        /// A request in clear.
        Http = "http",
        /// A request over TLS.
        Https = "https",
        /// A connection that is accepted is enough, unless there are `steps`.
        Tcp = "tcp",
        /// A TLS handshake is enough, unless there are `steps`.
        Tls = "tls",
        /// No probe: the replicas count as up.
        None = "none",
    }
}

impl Probe {
    /// The probe of a service that has no `[service.probe]`.
    #[must_use]
    pub fn default_for(preset: Preset, service: &str, replica_port: u16, host: Option<String>) -> Self {
        let host = Some(host);
        let asked = Asked {
            preset: Some(preset),
            service: Some(service),
            port: Some(replica_port),
            host: host.as_ref(),
        };
        read(&Table::unwritten(), &asked, &mut Problems::none()).expect("unwritten, each key has a default")
    }
}

/// What the service around a probe says about it; `None` where that itself is wrong.
pub(super) struct Asked<'a> {
    pub(super) preset: Option<Preset>,
    pub(super) service: Option<&'a str>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<&'a Option<String>>,
}

pub(super) fn read(table: &Table<'_>, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<Probe> {
    let mut written = WrittenProbe::read(table, problems);
    scheme(table, &mut written.scheme, asked, problems);
    let scheme = written.scheme.value;
    written.port.or(|| asked.port);
    written.host.or(|| asked.host.cloned());
    written.path.or(|| Some(asked.preset?.path().to_owned()));
    written.status.or(|| Some(asked.preset?.status(scheme?)));
    if scheme == Some(Scheme::Https) {
        tls::refuse_beyond_http1(&written.alpn, problems);
    }
    bodies(&mut written, asked.preset, problems);
    times(&mut written, problems);
    written.finish()
}

/// What is spoken, and whether the other keys go with it.
fn scheme(table: &Table<'_>, scheme: &mut Field<'_, Scheme>, asked: &Asked<'_>, problems: &mut Problems<'_>) {
    if scheme.node.is_some() {
        if let Some(scheme) = scheme.value {
            fits::written(table, scheme, problems);
        }
        return;
    }
    scheme.or(|| {
        let port = asked.port?;
        let scheme = asked.preset?.scheme(asked.service?, port);
        fits::unwritten(table, scheme, port, problems).then_some(scheme)
    });
}

/// The patterns for the body of an answer, to a request that has one.
fn bodies(written: &mut WrittenProbe<'_>, preset: Option<Preset>, problems: &mut Problems<'_>) {
    let head = written.method.value == Some(Method::HEAD);
    let scheme = written.scheme.value;
    written.body.or(|| Some(preset?.body(scheme?).filter(|_| !head)));
    for body in [&mut written.body, &mut written.reject_body] {
        if head && body.node.is_some() && body.value.is_some() {
            body.refuse("the answer to a HEAD has no body; write another `method`", problems);
        }
    }
}

/// The intervals that depend on `interval`.
fn times(written: &mut WrittenProbe<'_>, problems: &mut Problems<'_>) {
    let Some(interval) = written.interval.value else { return };
    written.down_interval.or(|| Some(interval));
    written.fast_interval.or(|| Some(keys::FAST_INTERVAL.min(interval)));
    if written.fast_interval.value.is_some_and(|fast| fast > interval) {
        let what = format!("above `interval`, which is {}", super::takes::time(&interval));
        written.fast_interval.refuse(what, problems);
    }
}
