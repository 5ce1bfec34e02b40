//! The journal, by a stand-in: a datagram socket that takes what journald would. Whether journald takes it, no test here says.

use std::{collections::BTreeMap, fs, os::unix::net::UnixDatagram};

use super::{super::target::check_journal, *};

const TO_JOURNAL: Settings = Settings { target: Some(FlowLogTarget::Journal), sample: 1 };

fn stand_in(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("a socket");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    socket
}

/// The fields of the next entry.
fn entry(socket: &UnixDatagram) -> BTreeMap<String, String> {
    let mut bytes = vec![0; 1 << 16];
    let length = socket.recv(&mut bytes).expect("an entry");
    let text = String::from_utf8(bytes[..length].to_vec()).expect("text");
    assert!(text.ends_with('\n'), "{text}");
    let field = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.lines().map(|line| field(line).expect("KEY=VALUE")).collect()
}

#[tokio::test]
async fn an_entry_has_the_line_and_what_is_asked_for_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("journal");
    let journald = stand_in(&path);
    let log = FlowLog::start_with(TO_JOURNAL, path).expect("a thread");
    let nobody = FlowRecord { replica: None, ..record(FlowEnd::Failed(Verdict::DroppedDenied)) };
    log.offer(vec![record(FlowEnd::Closed), nobody]);
    let first = entry(&journald);
    let line: FlowLogLine<'_> = serde_json::from_str(&first["MESSAGE"]).expect("it is JSON");
    assert_eq!(line, FlowLogLine::Flow((&record(FlowEnd::Closed)).into()));
    let fields: Vec<_> =
        first.iter().filter(|(key, _)| *key != "MESSAGE").map(|(k, v)| (&**k, &**v)).collect();
    let expected = [
        ("DTR_LB_END", "closed"),
        ("DTR_LB_REPLICA", "replica-1"),
        ("DTR_LB_SERVICE", "https"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "dtr-lb"),
    ];
    assert_eq!(fields, expected);
    let second = entry(&journald);
    assert_eq!((second.get("DTR_LB_REPLICA"), &*second["DTR_LB_END"]), (None, "dropped_denied"));
    log.flush().await;
    assert_eq!(log.counts(), FlowLogCounts { lines: 2, ..FlowLogCounts::default() });
}

#[tokio::test]
async fn one_that_went_away_is_found_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("journal");
    let log = FlowLog::start_with(TO_JOURNAL, path.clone()).expect("a thread");
    log.offer(vec![record(FlowEnd::Closed)]);
    log.flush().await;
    assert_eq!(log.counts().not_written, 1, "there is none");
    for _ in 0..2 {
        let journald = stand_in(&path);
        let (before, mut port) = (log.counts().lines, 0);
        wait_for("an entry", || {
            port += 1;
            log.offer(vec![of_port(port, FlowEnd::Closed)]);
            log.counts().lines > before
        });
        assert_eq!(entry(&journald)["DTR_LB_END"], "closed");
        drop(journald);
        fs::remove_file(&path).expect("it is there");
    }
}

#[test]
fn a_journal_that_is_not_there_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("journal");
    let error = check_journal(&path).expect_err("nobody is there").to_string();
    assert!(error.contains("start systemd-journald, or set agent.flow_log to a file"), "{error}");
    let _journald = stand_in(&path);
    check_journal(&path).expect("somebody is there");
}
