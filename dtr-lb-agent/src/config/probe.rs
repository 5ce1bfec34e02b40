//! `[service.probe]`: how the health of a service's replicas is asked for.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use super::choice::choice;
use super::field::{self, Field, Table};
use super::host_name;
use super::preset::Preset;
use super::problems::Problems;
use super::raw::{BoolOrText, RawProbe};
use super::status_set::StatusSet;

/// How one service's replicas are probed.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What is spoken. Unwritten: see [`Preset::scheme`].
    pub scheme: Scheme,
    /// The port that is probed; the service's `replica_port` unless written.
    pub port: u16,
    /// What is asked for, from `/` on.
    pub path: String,
    /// The Host header and TLS server name; `None`: the replica's address. The top-level `host` unless written.
    pub host: Option<String>,
    /// Whether the certificate has to be trusted.
    pub verify: Verify,
    /// The status codes of a healthy replica.
    pub status: StatusSet,
    /// What the body of a healthy replica matches.
    pub body: Option<BodyPattern>,
    /// From one probe to the next while the replica is surely up or down.
    pub interval: Duration,
    /// From one probe to the next while it is between the two; never above `interval`.
    pub fast_interval: Duration,
    /// A probe without a whole answer after this long has failed.
    pub timeout: Duration,
    /// So many good probes in a row make a replica up; at least 1.
    pub rise: u32,
    /// So many failed probes in a row make it down; at least 1.
    pub fall: u32,
    /// By which part of itself an interval is varied, so that probes do not march in step; 0.0 to 0.5.
    pub jitter: f64,
}

choice! {
    /// What a probe speaks.
    pub enum Scheme {
        /// A GET in clear.
        Http = "http",
        /// A GET over TLS.
        Https = "https",
        /// A connection that is accepted is enough.
        Tcp = "tcp",
        /// No probe: the replica counts as up.
        None = "none",
    }
}

/// Whether an HTTPS probe trusts what it connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// Whatever certificate: replicas usually sign their own.
    No,
    /// One that the host's CA store vouches for.
    Yes,
    /// One that a CA in this file vouches for; it existed when the config was read.
    Ca(PathBuf),
}

/// A regular expression that a body has to match somewhere. Equal if written the same.
#[derive(Debug, Clone)]
pub struct BodyPattern(Regex);

impl BodyPattern {
    /// One that this program brings.
    pub(super) fn of(pattern: &'static str) -> Self {
        Self(Regex::new(pattern).expect("a pattern of ours is one; the tests make each"))
    }

    /// Does it match? The body is bytes: nothing promises that it is UTF-8.
    #[must_use]
    pub fn is_match(&self, body: &[u8]) -> bool {
        self.0.is_match(body)
    }

    /// As written in the config.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for BodyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for BodyPattern {}

const INTERVAL: Duration = Duration::from_secs(2);
const FAST_INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(2);
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(60 * 60);
const RISE: u32 = 2;
const FALL: u32 = 3;
const JITTER: f64 = 0.1;

impl Probe {
    /// The probe of a service that has no `[service.probe]`.
    #[must_use]
    pub fn default_for(preset: Preset, service: &str, replica_port: u16, host: Option<String>) -> Self {
        let scheme = preset.scheme(service, replica_port);
        Self {
            scheme,
            port: replica_port,
            path: preset.path().to_owned(),
            host,
            verify: Verify::No,
            status: preset.status(scheme),
            body: preset.body(scheme),
            interval: INTERVAL,
            fast_interval: FAST_INTERVAL,
            timeout: TIMEOUT,
            rise: RISE,
            fall: FALL,
            jitter: JITTER,
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
    let path = table.field("path", &raw.path);
    let path =
        path.map_or_else(|| Some(asked.preset.path().to_owned()), |field| request_path(&field, problems));
    let host = table
        .field("host", &raw.host)
        .map_or_else(|| asked.host.cloned(), |field| host_name::probe_host(&field, problems).map(Some));
    let verify = table.field("verify", &raw.verify);
    let verify = verify.map_or(Some(Verify::No), |field| verify_of(&field, problems));
    let status = table.field("status", &raw.status);
    let status = status.map_or_else(
        || scheme.map(|scheme| asked.preset.status(scheme)),
        |field| StatusSet::read(&field, problems),
    );
    let body = table.field("body", &raw.body);
    let body = body.map_or_else(
        || scheme.map(|scheme| asked.preset.body(scheme)),
        |field| body_pattern(&field, problems).map(Some),
    );
    let timing = timing(table, raw, problems);
    let timeout = table.field("timeout", &raw.timeout);
    let timeout =
        timeout.map_or(Some(TIMEOUT), |field| field::duration(&field, SHORTEST..=LONGEST, problems));
    let rise = table.field("rise", &raw.rise);
    let rise = rise.map_or(Some(RISE), |field| field::whole_number(&field, 1..=1000, problems));
    let fall = table.field("fall", &raw.fall);
    let fall = fall.map_or(Some(FALL), |field| field::whole_number(&field, 1..=1000, problems));
    let jitter = table.field("jitter", &raw.jitter);
    let jitter = jitter.map_or(Some(JITTER), |field| percentage(&field, problems));

    let (interval, fast_interval) = timing?;
    Some(Probe {
        scheme: scheme?,
        port: port?,
        path: path?,
        host: host?,
        verify: verify?,
        status: status?,
        body: body?,
        interval,
        fast_interval,
        timeout: timeout?,
        rise: rise?,
        fall: fall?,
        jitter: jitter?,
    })
}

fn scheme(table: &Table, raw: &RawProbe, asked: &Asked<'_>, problems: &mut Problems<'_>) -> Option<Scheme> {
    if let Some(field) = table.field("scheme", &raw.scheme) {
        return field::choice(&field, problems);
    }
    let port = asked.port?;
    let scheme = asked.preset.scheme(asked.service?, port);
    let about_http = raw.path.is_some()
        || raw.host.is_some()
        || raw.status.is_some()
        || raw.body.is_some()
        || raw.verify.is_some();
    if scheme == Scheme::Tcp && about_http {
        // The default would silently ask less than the operator wrote down.
        let what = format!(
            "unwritten, so it is \"tcp\" for replica_port {port}, and the other keys here need \"http\" or \"https\"; \
             write which"
        );
        problems.missing(table, "scheme", what);
        return None;
    }
    Some(scheme)
}

/// `interval` and `fast_interval`. The second, unwritten, is never above the first.
fn timing(table: &Table, raw: &RawProbe, problems: &mut Problems<'_>) -> Option<(Duration, Duration)> {
    let interval = table.field("interval", &raw.interval);
    let interval =
        interval.map_or(Some(INTERVAL), |field| field::duration(&field, SHORTEST..=LONGEST, problems));
    let Some(field) = table.field("fast_interval", &raw.fast_interval) else {
        return interval.map(|interval| (interval, FAST_INTERVAL.min(interval)));
    };
    let fast = field::duration(&field, SHORTEST..=LONGEST, problems)?;
    let interval = interval?;
    if fast > interval {
        problems
            .refuse(&field, format!("above `interval`, which is {}", humantime::format_duration(interval)));
        return None;
    }
    Some((interval, fast))
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

fn verify_of(field: &Field<'_, BoolOrText>, problems: &mut Problems<'_>) -> Option<Verify> {
    let path = match field.value {
        BoolOrText::Bool(false) => return Some(Verify::No),
        BoolOrText::Bool(true) => return Some(Verify::Yes),
        BoolOrText::Text(path) => PathBuf::from(path),
    };
    let what = if !path.is_absolute() {
        "not an absolute path".to_owned()
    } else if path.is_dir() {
        "a directory".to_owned()
    } else {
        // Opening it finds a missing file and one that this user may not read.
        match File::open(&path) {
            Ok(_) => return Some(Verify::Ca(path)),
            Err(error) => format!("cannot read this CA file: {error}"),
        }
    };
    problems.refuse(field, what);
    None
}

fn body_pattern(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<BodyPattern> {
    match Regex::new(field.value) {
        Ok(regex) => Some(BodyPattern(regex)),
        Err(error) => {
            // Several lines, with a drawing of where; the last one says what.
            let whole = error.to_string();
            let last = whole.lines().last().unwrap_or_default();
            let what = last.strip_prefix("error: ").unwrap_or(last).trim();
            problems.refuse(field, format!("not a regular expression: {what}"));
            None
        }
    }
}

fn percentage(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<f64> {
    let number = field.value.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let Some(number) = number else {
        problems.refuse(field, "not a percentage");
        return None;
    };
    // Also false for NaN, which `parse` accepts.
    if !(0.0..=50.0).contains(&number) {
        problems.refuse(field, "out of range: it is 0% to 50%");
        return None;
    }
    Some(number / 100.0)
}
