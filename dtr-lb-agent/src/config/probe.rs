//! `[service.probe]`: how the health of a service's replicas is asked for.

mod fits;
mod http;
mod steps;
mod timing;
mod tls;

use std::time::Duration;

use hyper::Method;

use super::choice::choice;
use super::field::{self, Field, Table};
use super::host_name;
use super::pattern::Pattern;
use super::preset::Preset;
use super::problems::Problems;
use super::raw::RawProbe;
use super::status_set::StatusSet;

pub use self::http::{Header, HeaderPattern};
pub use self::steps::Step;
use self::timing::Timing;
pub use self::tls::Verify;

/// How one service's replicas are probed.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What is spoken. Unwritten: see [`Preset::scheme`].
    pub scheme: Scheme,
    /// The port that is probed; the service's `replica_port` unless written.
    pub port: u16,
    /// How it is asked for.
    pub method: Method,
    /// What is asked for, from `/` on.
    pub path: String,
    /// The Host header and TLS server name; `None`: the replica's address. The top-level `host` unless written.
    pub host: Option<String>,
    /// What is sent beside the headers that every probe sends, or in place of these.
    pub headers: Vec<Header>,
    /// What is sent as a body.
    pub request_body: Option<String>,
    /// Whether the certificate has to be trusted.
    pub verify: Verify,
    /// The protocols that TLS offers (ALPN), the preferred one first; none: it does not speak of protocols.
    pub alpn: Vec<String>,
    /// The status codes of a healthy replica.
    pub status: StatusSet,
    /// What the body of a healthy replica matches.
    pub body: Option<Pattern>,
    /// What it does not match.
    pub reject_body: Option<Pattern>,
    /// Headers that a healthy replica sends, and what one value of each matches.
    pub expect_headers: Vec<HeaderPattern>,
    /// What no value of these headers matches.
    pub reject_headers: Vec<HeaderPattern>,
    /// What is said once a connection of `tcp` or `tls` is open.
    pub steps: Vec<Step>,
    /// From one probe to the next while the replica is surely up.
    pub interval: Duration,
    /// From one probe to the next while it is between up and down; never above `interval`.
    pub fast_interval: Duration,
    /// From one probe to the next while it is surely down.
    pub down_interval: Duration,
    /// A probe without a whole answer after this long has failed.
    pub timeout: Duration,
    /// So many good probes in a row make a replica up; at least 1.
    pub rise: u32,
    /// So many failed probes in a row make it down; at least 1.
    pub fall: u32,
    /// By which part of itself an interval is varied, so that probes do not march in step; 0.0 to 0.5.
    pub jitter: f64,
    /// The port at which the replica itself says which share it wants; `None`: it is not asked.
    pub agent_port: Option<u16>,
}

choice! {
    /// What a probe speaks.
    pub enum Scheme {
        /// A request in clear.
        Http = "http",
        /// A request over TLS.
        Https = "https",
        /// A connection that is accepted is enough, unless there are steps.
        Tcp = "tcp",
        /// A TLS handshake is enough, unless there are steps.
        Tls = "tls",
        /// No probe: the replica counts as up.
        None = "none",
    }
}

impl Probe {
    /// The probe of a service that has no `[service.probe]`.
    #[must_use]
    pub fn default_for(preset: Preset, service: &str, replica_port: u16, host: Option<String>) -> Self {
        let timing = Timing::default();
        let scheme = preset.scheme(service, replica_port);
        Self {
            scheme,
            port: replica_port,
            method: Method::GET,
            path: preset.path().to_owned(),
            host,
            headers: Vec::new(),
            request_body: None,
            verify: Verify::No,
            alpn: Vec::new(),
            status: preset.status(scheme),
            body: preset.body(scheme),
            reject_body: None,
            expect_headers: Vec::new(),
            reject_headers: Vec::new(),
            steps: Vec::new(),
            interval: timing.interval,
            fast_interval: timing.fast_interval,
            down_interval: timing.down_interval,
            timeout: timing.timeout,
            rise: timing.rise,
            fall: timing.fall,
            jitter: timing.jitter,
            agent_port: None,
        }
    }
}

/// What the service around a probe says about it; `None` where that itself is wrong.
pub(super) struct Asked<'a> {
    pub(super) preset: Preset,
    pub(super) service: Option<&'a str>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<&'a Option<String>>,
}

pub(super) fn read(
    table: &Table,
    raw: Option<&RawProbe>,
    asked: &Asked<'_>,
    problems: &mut Problems<'_>,
) -> Option<Probe> {
    let unwritten = RawProbe::default();
    let raw = raw.unwrap_or(&unwritten);

    let scheme = scheme(table, raw, asked, problems);
    let port = table.field("port", &raw.port);
    let port = port.map_or(asked.port, |field| field::port(&field, problems));
    let method = table.field("method", &raw.method);
    let method = method.map_or(Some(Method::GET), |field| http::method(&field, problems));
    let path = table.field("path", &raw.path);
    let path =
        path.map_or_else(|| Some(asked.preset.path().to_owned()), |field| request_path(&field, problems));
    let host = table
        .field("host", &raw.host)
        .map_or_else(|| asked.host.cloned(), |field| host_name::probe_host(&field, problems).map(Some));
    let headers = table.field("headers", &raw.headers);
    let headers = headers.map_or_else(|| Some(Vec::new()), |field| http::headers(&field, problems));
    let request_body = table.field("request_body", &raw.request_body);
    let request_body =
        request_body.map_or(Some(None), |field| http::request_body(&field, problems).map(Some));
    let verify = table.field("verify", &raw.verify);
    let verify = verify.map_or(Some(Verify::No), |field| tls::verify(&field, problems));
    let alpn = table.field("alpn", &raw.alpn);
    let alpn = alpn.map_or_else(|| Some(Vec::new()), |field| tls::alpn(&field, scheme, problems));
    let status = table.field("status", &raw.status);
    let status = status.map_or_else(
        || scheme.map(|scheme| asked.preset.status(scheme)),
        |field| StatusSet::read(&field, problems),
    );
    let body = table.field("body", &raw.body);
    let body = body.map_or_else(
        || scheme.map(|scheme| asked.preset.body(scheme).filter(|_| method != Some(Method::HEAD))),
        |field| body_pattern(&field, method.as_ref(), problems).map(Some),
    );
    let reject_body = table.field("reject_body", &raw.reject_body);
    let reject_body =
        reject_body.map_or(Some(None), |field| body_pattern(&field, method.as_ref(), problems).map(Some));
    let expect_headers = table.field("expect_headers", &raw.expect_headers);
    let expect_headers =
        expect_headers.map_or_else(|| Some(Vec::new()), |field| http::header_patterns(&field, problems));
    let reject_headers = table.field("reject_headers", &raw.reject_headers);
    let reject_headers =
        reject_headers.map_or_else(|| Some(Vec::new()), |field| http::header_patterns(&field, problems));
    let steps = steps::read(table, &raw.steps, problems);
    let timing = timing::read(table, raw, problems);
    let agent_port = table.field("agent_port", &raw.agent_port);
    let agent_port = agent_port.map_or(Some(0), |field| field::whole_number(&field, 0..=u16::MAX, problems));

    let Timing { interval, fast_interval, down_interval, timeout, rise, fall, jitter } = timing?;
    Some(Probe {
        scheme: scheme?,
        port: port?,
        method: method?,
        path: path?,
        host: host?,
        headers: headers?,
        request_body: request_body?,
        verify: verify?,
        alpn: alpn?,
        status: status?,
        body: body?,
        reject_body: reject_body?,
        expect_headers: expect_headers?,
        reject_headers: reject_headers?,
        steps: steps?,
        interval,
        fast_interval,
        down_interval,
        timeout,
        rise,
        fall,
        jitter,
        agent_port: agent_port.map(|port| (port != 0).then_some(port))?,
    })
}

fn scheme(table: &Table, raw: &RawProbe, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<Scheme> {
    if let Some(field) = table.field("scheme", &raw.scheme) {
        let scheme = field::choice(&field, problems)?;
        fits::written(table, raw, scheme, problems);
        return Some(scheme);
    }
    let port = asked.port?;
    let scheme = asked.preset.scheme(asked.service?, port);
    fits::unwritten(table, raw, scheme, port, problems).then_some(scheme)
}

/// What can stand in a request line without another meaning.
fn request_path(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<String> {
    let what = if !field.value.starts_with('/') {
        "does not begin with \"/\""
    } else if !field.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        "has a space, a control or a non-ASCII character in it; write it percent-encoded, as in %20"
    } else {
        return Some(field.value.clone());
    };
    problems.refuse(field, what);
    None
}

/// A pattern for the body of an answer to a request that has one.
fn body_pattern(
    field: &Field<'_, String>,
    method: Option<&Method>,
    problems: &mut Problems<'_>,
) -> Option<Pattern> {
    if method == Some(&Method::HEAD) {
        problems.refuse(field, "the answer to a HEAD has no body; write another `method`");
        return None;
    }
    Pattern::read(field, problems)
}
