//! No file descriptor left. The limit is the process's, so this is played in one of its own: this test program, started
//! again for the one test that is ignored otherwise.

use std::{fs::File, process::Command};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc::channel;

use super::{
    SHORT, probe, prober, said,
    server::{Script, Server},
};
use crate::{
    config::Scheme,
    control::{ReplicaHealth, RiseFall},
    probe::{Certainty, Failure, spawn},
};

const PLAYED: &str = "probe::tests::descriptors::played_in_a_process_of_its_own";

#[test]
fn without_a_descriptor_no_replica_is_to_blame_and_probes_recover_by_themselves() {
    let own = std::env::current_exe().expect("this program's path");
    let output = Command::new(own)
        .args(["--exact", PLAYED, "--ignored", "--test-threads=1"])
        .output()
        .expect("this program starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "lowers its process's limit of open files: another test plays it"]
async fn played_in_a_process_of_its_own() {
    let server = Server::plain(Script::http("200 OK", "")).await;
    let mut probe = probe(Scheme::Http, server.port());
    (probe.interval, probe.fast_interval, probe.timeout) = (SHORT / 10, SHORT / 10, SHORT);
    let (rise, fall) = (probe.rise, probe.fall);
    let (sink, mut reports) = channel(1);
    let _task = spawn(0, prober(probe).expect("a valid probe"), Certainty::InDoubt, sink);
    let mut next = async || reports.recv().await.expect("the task runs");
    while !next().await.outcome.ok() {}
    let mut health = RiseFall::new(rise, fall);
    health.observe(true, 1, false);

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 64.min(hard), hard).expect("it may be lowered");
    let mut taken = Vec::new();
    let mut failed = 0;
    // More than `fall`.
    while failed < 20 {
        // Again, as connections that were under way give theirs back.
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        let report = next().await;
        if let Some(Failure::Local { reason }) = &report.outcome.error {
            assert!(reason.contains("LimitNOFILE"), "{reason}");
            failed += 1;
        } else {
            health.observe(report.outcome.ok(), report.in_a_row, report.opposite);
            assert_eq!(health.health(), ReplicaHealth::Up, "{}", said(&report.outcome));
        }
    }
    drop(taken);
    while !next().await.outcome.ok() {}
}
