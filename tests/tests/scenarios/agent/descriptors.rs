//! An agent without file descriptors: it takes no replica for dead, says once what is wrong, and recovers by itself.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::until;

use crate::{Place, Stage};

/// Each probe of the lab's two services of three replicas comes every 0.2 s: `fall` of them would be long over.
const LONG_ENOUGH: usize = 3;

pub(super) fn exhausted(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let pid = stage.balancer.process().pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).context("the agent's limits")?;
    let line =
        limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of open files")?;
    let words: Vec<_> = line.split_whitespace().collect();
    ensure!(words[3] == words[4], "the soft limit was not raised to the hard one: {line}");

    let client = stage.lab.client();
    let load = client.background_load(stage.http(), Duration::from_millis(5), Duration::from_secs(5))?;
    // No socket can be opened any more; those that are open go on.
    set_limit(pid, "3:")?;
    let cannot = |stage: &Stage| stage.balancer.log_lines(&["replicas cannot be probed", "LimitNOFILE"]);
    ensure!(
        until(Duration::from_secs(5), || cannot(&stage).is_ok_and(|lines| !lines.is_empty())),
        "nothing is told: {}",
        stage.balancer.process().log_tail(20)
    );
    // The log is how probes can be counted while nobody gets through to the agent: these rounds take as long as probes do.
    std::thread::sleep(Duration::from_millis(500) * u32::try_from(LONG_ENOUGH)?);
    set_limit(pid, &format!("{}:", words[4]))?;
    let again = |stage: &Stage| stage.balancer.log_lines(&["all replicas can be probed again"]);
    ensure!(
        until(Duration::from_secs(10), || again(&stage).is_ok_and(|lines| lines.len() == 1)),
        "it does not recover: {}",
        stage.balancer.process().log_tail(20)
    );
    let told = cannot(&stage)?;
    ensure!(told.len() == 1, "told {} times: {told:#?}", told.len());
    let down = stage.balancer.log_lines(&["replica is down"])?;
    ensure!(down.is_empty(), "replicas are blamed: {down:#?}");
    let status = stage.balancer.status(&stage.lab)?;
    let mut replicas = status.services.iter().flat_map(|service| &service.replicas);
    ensure!(replicas.all(|replica| replica.state == "up"), "not all are up: {status:?}");
    let failed: Vec<_> = load.stop().into_iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(failed.is_empty(), "{} requests failed, the first: {:?}", failed.len(), failed[0]);
    Ok(())
}

/// `soft:hard`, as `prlimit` has it; what is left out stays.
fn set_limit(pid: i32, limit: &str) -> Result<()> {
    let output = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={limit}")])
        .output()
        .context("starting prlimit")?;
    ensure!(output.status.success(), "prlimit: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
