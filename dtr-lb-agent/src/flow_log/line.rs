//! The lines of the flow log, each a JSON object: what the file, the journal and those who follow get.

use std::{borrow::Cow, net::SocketAddr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FlowRecord;
use crate::flows::mode;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum FlowLogLine<'a> {
    Flow(LoggedFlow<'a>),
    Note(Note<'a>),
}

/// A connection that has ended (`"event": "end"`) or never began (`"event": "fail"`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedFlow<'a> {
    /// When it ended or failed.
    pub time: Timestamp,
    pub event: Cow<'a, str>,
    pub service: Cow<'a, str>,
    pub replica: Option<Cow<'a, str>>,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub nat: Option<SocketAddr>,
    pub mode: Cow<'a, str>,
    pub start: Timestamp,
    /// Milliseconds, as are the next two.
    pub duration_ms: f64,
    pub connect_ms: Option<f64>,
    pub client_rtt_ms: Option<f64>,
    pub packets_to_replica: u64,
    pub bytes_to_replica: u64,
    pub packets_to_client: u64,
    pub bytes_to_client: u64,
    pub attempts: Option<u32>,
    pub end: Cow<'a, str>,
}

/// Lines that are not there: `"event": "omitted"` where more failed in a second than are written, `"event": "lost"` where who
/// follows was too slow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note<'a> {
    pub event: Cow<'a, str>,
    pub time: Timestamp,
    pub count: u64,
}

impl<'a> From<&'a FlowRecord> for LoggedFlow<'a> {
    fn from(record: &'a FlowRecord) -> Self {
        let FlowRecord {
            time,
            service,
            replica,
            client,
            vip,
            nat,
            mode: of_mode,
            start,
            duration,
            connect,
            client_rtt,
            to_replica,
            to_client,
            attempts,
            end,
        } = record;
        Self {
            time: to_the_microsecond(*time),
            event: end.event().into(),
            service: Cow::Borrowed(service),
            replica: replica.as_deref().map(Cow::Borrowed),
            client: *client,
            vip: *vip,
            nat: *nat,
            mode: mode(*of_mode).into(),
            start: to_the_microsecond(*start),
            duration_ms: milliseconds(*duration),
            connect_ms: connect.map(milliseconds),
            client_rtt_ms: client_rtt.map(milliseconds),
            packets_to_replica: to_replica.packets,
            bytes_to_replica: to_replica.bytes,
            packets_to_client: to_client.packets,
            bytes_to_client: to_client.bytes,
            attempts: *attempts,
            end: end.word().into(),
        }
    }
}

impl Note<'static> {
    pub(super) fn omitted(time: Timestamp, count: u64) -> Self {
        Self { event: "omitted".into(), time: to_the_microsecond(time), count }
    }

    pub(super) fn lost(time: Timestamp, count: u64) -> Self {
        Self { event: "lost".into(), time: to_the_microsecond(time), count }
    }
}

/// The clock of the datapath says no more than that.
fn to_the_microsecond(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// Whole microseconds, so that there are three decimals at most.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Appends a line with its end to `text`.
pub(super) fn append(text: &mut Vec<u8>, line: &impl Serialize) {
    // What is made of text and numbers can be written, and memory takes it.
    if serde_json::to_writer(&mut *text, line).is_ok() {
        text.push(b'\n');
    }
}
