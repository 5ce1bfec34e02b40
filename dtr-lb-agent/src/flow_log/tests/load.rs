//! What many connections cost: a measurement, not a test of every day.

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};

use super::*;

const PER_SECOND: u64 = 50_000;
const SECONDS: u64 = 10;

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the kernel tells");
    let of = |time: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or_default())
    };
    of(usage.user_time()) + of(usage.system_time())
}

/// `cargo test -p dtr-lb-agent --lib -- --ignored --nocapture fifty_thousand`: nothing is lost, the queue does not grow, and what
/// it took is printed.
#[test]
#[ignore = "a measurement of ten seconds"]
#[expect(clippy::print_stderr, reason = "the figures")]
fn fifty_thousand_records_a_second_are_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("flows.log");
    let log = start(to_file(&path));
    let (began, before) = (Instant::now(), processor_time());
    let mut longest = 0;
    // A hundred batches a second, each when it is due.
    for batch in 0..100 * SECONDS {
        let due = began + Duration::from_millis(10 * batch);
        sleep(due.saturating_duration_since(Instant::now()));
        let ports = (0..PER_SECOND / 100).map(|port| of_port(port as u16, FlowEnd::Closed));
        log.offer(ports.collect());
        longest = longest.max(log.0.counts.queued.load(Relaxed));
    }
    wait_for("all lines", || log.counts().lines == PER_SECOND * SECONDS);
    let (took, spent) = (began.elapsed(), processor_time().saturating_sub(before));
    let size = fs::metadata(&path).expect("it is there").len();
    let per_second = size as f64 / took.as_secs_f64() / 1e6;
    let share = 100.0 * spent.as_secs_f64() / took.as_secs_f64();
    eprintln!(
        "{PER_SECOND} a second for {took:.1?}: {per_second:.1} MB/s, {share:.0} % of a processor with making the records, \
         {longest} waited at most"
    );
    assert_eq!(log.counts(), FlowLogCounts { lines: PER_SECOND * SECONDS, ..FlowLogCounts::default() });
    assert!(took < Duration::from_secs(SECONDS + 1), "it fell behind: {took:?}");
}
