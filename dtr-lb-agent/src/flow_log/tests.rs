//! The log with real files and its thread. What is waited for comes by a flush, or within [`LIMIT`].

mod files;
mod follow;
mod journal;
mod lines;
mod load;
mod omission;

use std::{
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use dtr_lb_common::{
    abi::{Mode, Traffic},
    verdict::Verdict,
};
use jiff::Timestamp;
use serde_json::Value;

use super::*;

/// A look at the file's path comes once a second, and so does another try.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn record(end: FlowEnd) -> FlowRecord {
    FlowRecord {
        time: "2026-11-26T12:00:02.5Z".parse().expect("a time"),
        service: "https".into(),
        replica: Some("replica-1".into()),
        client: "192.0.2.7:40000".parse().expect("an end"),
        vip: "10.0.0.10:443".parse().expect("an end"),
        nat: Some("10.0.0.2:15609".parse().expect("an end")),
        mode: Mode::NAT,
        start: "2026-11-26T12:00:00Z".parse().expect("a time"),
        duration: Duration::from_micros(2_500_000),
        connect: Some(Duration::from_micros(412)),
        client_rtt: Some(Duration::from_micros(20_001)),
        to_replica: Traffic { packets: 7, bytes: 900 },
        to_client: Traffic { packets: 9, bytes: 45_000 },
        attempts: Some(1),
        end,
    }
}

/// Of this port of the client.
fn of_port(port: u16, end: FlowEnd) -> FlowRecord {
    FlowRecord { client: format!("192.0.2.7:{port}").parse().expect("an end"), ..record(end) }
}

fn to_file(path: &Path) -> Settings {
    Settings { target: Some(FlowLogTarget::File(path.into())), sample: 1 }
}

pub(crate) const NOWHERE: Settings = Settings { target: None, sample: 1 };

fn start(settings: Settings) -> FlowLog {
    FlowLog::start(settings).expect("a thread")
}

/// What a file has, each line read; none if it is not there.
fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < limit, "not within {LIMIT:?}: {what}");
        sleep(PAUSE);
    }
}
