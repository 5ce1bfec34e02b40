//! The keys of `[service.probe]`.

use std::time::Duration;

use hyper::Method;

use super::super::host_name::PROBE_HOST;
use super::super::key::{depends, is, table};
use super::super::pattern::{PATTERN, Pattern};
use super::super::status_set::{STATUSES, StatusSet};
use super::super::takes::{HOUR, Maybe, PORT, Text, Time, Whole, millis, word};
use super::Scheme;
use super::fits::{CONVERSATION, HTTP, NAMED, TLS};
use super::http::{HEADERS, Header, HeaderPattern, METHOD, PATH, PATTERNS, REQUEST_BODY};
use super::steps::{Step, Steps};
use super::tls::{PROTOCOLS, Trust, Verify};

/// What `fast_interval` is unwritten, where `interval` is not shorter.
pub(super) const FAST_INTERVAL: Duration = Duration::from_millis(500);

/// How often, and for how long.
const PAUSE: Time = millis(10, HOUR);

/// In a row.
const TIMES: Whole<u32> = Whole(1..=1000);

const JITTER: Text<f64> = Text {
    words: "a percentage in quotes, \"0%\" to \"50%\"",
    parse: |text| {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let number = number.ok_or_else(|| "not a percentage".to_owned())?;
        // Also false for NaN, which `parse` accepts.
        let inside = (0.0..=50.0).contains(&number);
        inside.then_some(number / 100.0).ok_or_else(|| "must be between 0% and 50%".to_owned())
    },
    show: |jitter| format!("{}%", jitter * 100.0),
};

table! {
    /// How one service's replicas are probed.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Probe, WrittenProbe {
        /// What is spoken with the replica.
        scheme: Scheme = word(), depends("by the service's `replica_port` and `name` and by [preset](#scheme)", "\"https\"");
        /// The port that is probed.
        port: u16 = PORT, depends("`replica_port`", "443");
        /// How it is asked for. The answer to a `HEAD` has no body, so `body` and `reject_body` do not go with it.
        method: Method = METHOD, is(Method::GET), with HTTP;
        /// What is asked for.
        path: String = PATH, depends("the [preset's](#presets): `\"/health\"` of `dtr`", "\"/health\""), with HTTP;
        /// The Host header and TLS server name.
        host: Option<String> = Maybe::written(PROBE_HOST), depends("the top-level `host`", "\"dtr.example.com\""), with NAMED;
        /// More headers of the request. They replace User-Agent and Accept; Host is `host`; Connection, Content-Length and
        /// Transfer-Encoding are refused.
        headers: Vec<Header> = HEADERS, is(Vec::new()).example("[\"Authorization: Basic cHJvYmU6c2VjcmV0\"]"), with HTTP;
        /// The body of the request, sent with its Content-Length.
        request_body: Option<String> = Maybe::written(REQUEST_BODY), is(None).example("'{\"probe\": true}'"), with HTTP;
        /// Which certificates are accepted: any (`false`), as replicas usually sign their own; those of the host's CAs (`true`); those
        /// of the CA in this file (PEM).
        verify: Verify = Trust, is(Verify::No), with TLS;
        /// The protocols that TLS offers (ALPN), the preferred one first. A replica that speaks none of them fails; one that knows
        /// no ALPN passes. Without any, TLS offers none.
        alpn: Vec<String> = PROTOCOLS, is(Vec::new()).example("[\"http/1.1\"]"), with TLS;
        /// The status codes of a healthy replica. A redirect is not followed.
        status: StatusSet = STATUSES, depends("the [preset's](#presets): `[\"200-399\"]` of `dtr`", "[\"200-399\"]"), with HTTP;
        /// A healthy replica's body must match it somewhere. Bodies over 64 KiB fail.
        body: Option<Pattern> = Maybe::written(PATTERN), depends(
            "the [preset's](#presets): none of `dtr`", "'\"Healthy\": *true'",
        ), with HTTP;
        /// A healthy replica's body must not match it. Bodies over 64 KiB fail.
        reject_body: Option<Pattern> = Maybe::written(PATTERN), is(None).example("'(?i)maintenance'"), with HTTP;
        /// Each of these headers must be in the answer, and one of its values must match. `"Name:"` asks only that it is there.
        expect_headers: Vec<HeaderPattern> = PATTERNS, is(Vec::new()).example("['Content-Type: ^application/json']"), with HTTP;
        /// No value of these headers may match.
        reject_headers: Vec<HeaderPattern> = PATTERNS, is(Vec::new()).example("['X-Mode: ^maintenance$']"), with HTTP;
        /// What is said on the connection once it is open, and what is expected, [step by step](#steps).
        steps: Vec<Step> = Steps, is(Vec::new()).example(
            "[{ send = \"PING\\r\\n\" }, { send_hex = \"0d0a\" }, { expect = '^\\+PONG' }, { reject = 'ERR' }]",
        ), with CONVERSATION;
        /// From the start of one probe to the start of the next, while the replica is surely up.
        interval: Duration = PAUSE, is(Duration::from_secs(2));
        /// The same while it is in doubt whether the replica is up. At most `interval`.
        fast_interval: Duration = PAUSE, depends("`\"500ms\"`, or `interval` if shorter", "\"500ms\"");
        /// The same while the replica is surely down.
        down_interval: Duration = PAUSE, depends("`interval`", "\"2s\"");
        /// A probe without a whole answer by then has failed.
        timeout: Duration = PAUSE, is(Duration::from_secs(2));
        /// Good probes in a row that make a replica up. The very first good probe after the start is enough.
        rise: u32 = TIMES, is(2);
        /// Failed probes in a row that make it down.
        fall: u32 = TIMES, is(3);
        /// By how much an interval varies, so that the probes do not all run at once.
        jitter: f64 = JITTER, is(0.1);
        /// The port at which each replica [says its share and state itself](#agent_port). 0: it is not asked.
        agent_port: Option<u16> = Maybe::unless("0", PORT), is(None);
    }
}
