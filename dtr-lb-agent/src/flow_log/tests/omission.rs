//! What is left out.

use super::{
    super::omission::{FAILED_PER_SECOND, FailedLimit, Repeats, is_sampled},
    *,
};

#[test]
fn a_sample_is_one_of_so_many_and_the_same_ones_everywhere() {
    let sampled = |sample: u32| -> Vec<u16> {
        let is = |port: &u16| is_sampled(&of_port(*port, FlowEnd::Closed), sample);
        (10_000..60_000).filter(is).collect()
    };
    assert_eq!(sampled(1).len(), 50_000);
    for sample in [2, 10, 100] {
        let (kept, expected) = (sampled(sample).len(), 50_000 / sample as usize);
        // Four standard deviations of a fair choice.
        let width = 4.0 * (expected as f64).sqrt();
        assert!((kept as f64 - expected as f64).abs() < width, "one of {sample}: {kept}");
    }
    // By addresses and ports alone: another host has another replica, NAT port and time for it.
    let other = |port| FlowRecord {
        replica: Some("replica-2".into()),
        nat: None,
        time: Timestamp::UNIX_EPOCH,
        ..of_port(port, FlowEnd::Idle)
    };
    for port in 10_000..11_000 {
        assert_eq!(is_sampled(&other(port), 10), is_sampled(&of_port(port, FlowEnd::Closed), 10));
    }
    // Another version of this program, too: these are all of them.
    assert_eq!(sampled(10_000)[..], SAMPLE_OF_10_000);
}

/// Known numbers: whoever changes the hash changes which lines two versions have in common.
const SAMPLE_OF_10_000: [u16; 11] =
    [20_596, 23_049, 30_106, 31_440, 32_630, 34_626, 35_754, 35_765, 47_245, 55_666, 57_469];

#[tokio::test]
async fn those_that_failed_are_in_every_sample() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("flows.log");
    let log = start(Settings { sample: 1_000_000, ..to_file(&path) });
    let ends = [FlowEnd::Closed, FlowEnd::Unanswered, FlowEnd::Failed(Verdict::DroppedDenied)];
    log.offer((1..=100).flat_map(|port| ends.map(|end| of_port(port, end))).collect());
    log.flush().await;
    let lines = read(&path);
    assert_eq!(lines.len(), 200);
    assert!(lines.iter().all(|line| line["event"] == "fail"));
    assert_eq!(log.counts(), FlowLogCounts { lines: 200, ..FlowLogCounts::default() });
}

#[test]
fn a_second_has_so_many_failures_and_tells_of_the_rest() {
    let (mut limit, begun) = (FailedLimit::default(), Instant::now());
    let at = |milliseconds| begun + Duration::from_millis(milliseconds);
    assert_eq!(limit.omitted(at(0)), None);
    let taken = (0..FAILED_PER_SECOND + 7).filter(|_| limit.takes(at(0))).count();
    assert_eq!(taken, FAILED_PER_SECOND as usize);
    assert_eq!((limit.omitted(at(999)), limit.is_due()), (None, true));
    assert!(!limit.takes(at(999)));
    assert_eq!(limit.omitted(at(1000)), Some(8));
    assert_eq!((limit.omitted(at(1000)), limit.is_due()), (None, false));
    assert!(limit.takes(at(1000)));
    assert_eq!(limit.omitted(at(2500)), None, "nothing was left out");
    assert!(limit.takes(at(2500)) && limit.takes(at(3499)));
}

#[tokio::test]
async fn what_is_left_out_of_a_flood_is_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("flows.log");
    let log = start(to_file(&path));
    log.offer((0..3000).map(|port| of_port(port, FlowEnd::Abandoned)).collect());
    // The second's line comes without anything that follows.
    wait_for("the line", || read(&path).last().is_some_and(|line| line["event"] == "omitted"));
    let lines = read(&path);
    let last = lines.last().expect("lines");
    assert_eq!(last["count"], 2000);
    let time: Timestamp = last["time"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    assert!(time.duration_since(Timestamp::now()).abs() < jiff::SignedDuration::from_secs(20));
    assert_eq!(last.as_object().map(serde_json::Map::len), Some(3), "{last}");
    assert_eq!(lines.len(), FAILED_PER_SECOND as usize + 1);
    log.flush().await;
    assert_eq!((log.counts().omitted, log.counts().lines), (2000, 1001));
}

#[tokio::test]
async fn what_was_left_out_is_told_before_the_log_goes_elsewhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (directory.path().join("1"), directory.path().join("2"));
    let log = start(to_file(&first));
    log.offer((0..1500).map(|port| of_port(port, FlowEnd::Refused)).collect());
    log.apply(to_file(&second));
    log.flush().await;
    assert_eq!(read(&first).last().map(|line| line["count"].clone()), Some(500.into()));
    assert_eq!(read(&second), Vec::<Value>::new());
}

/// A client that resets its own connection and talks on has it end as often as it likes.
#[test]
fn a_connection_that_is_reset_again_and_again_has_two_lines_a_minute() {
    let (mut repeats, now) = (Repeats::default(), Instant::now());
    let own = of_port(1, FlowEnd::ClientReset);
    let too_many: Vec<_> = (0..4).map(|_| repeats.is_too_many(&own, now)).collect();
    assert_eq!(too_many, [false, false, true, true]);
    let others = [of_port(2, FlowEnd::ClientReset), of_port(1, FlowEnd::Closed)];
    assert!(others.iter().all(|other| !repeats.is_too_many(other, now)));
    assert!(!repeats.is_too_many(&own, now + Duration::from_secs(60)), "another minute");
}
