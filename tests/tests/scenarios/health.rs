//! Replicas that fail and come back.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::{DOWN_WITHIN, UP_WITHIN},
    lab::until,
};

use crate::{BOTH_HOOKS, CROSSWISE, EVERYWHERE, Place, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // These are the choice of a replica; what happens to packets meanwhile is shown by those below that are played everywhere.
    ("a_sick_replica_gets_no_new_flow", CROSSWISE, sick),
    ("a_killed_replica_is_out_and_back", CROSSWISE, killed),
    ("a_cut_replica_is_out_and_back", CROSSWISE, cut),
    ("a_download_survives_changes_of_the_table", EVERYWHERE, download),
    ("refusals_are_not_noticed", EVERYWHERE, refusals_unnoticed),
    ("silence_costs_a_second_at_most", EVERYWHERE, silence_unnoticed),
    ("a_replica_that_refuses_is_out_before_its_probes", BOTH_HOOKS, passive),
    ("with_all_sick_the_service_fails_open", CROSSWISE, all_sick),
];

/// Connections that show that a replica gets none: with a third each, 300 would all miss it once in 10^52 runs.
const CONNECTIONS: usize = 300;

/// It answers 503 on `/health` and everything else: nothing may fail, and after `fall` probes nothing new goes there.
fn sick(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let load =
        stage.lab.client().background_load(stage.http(), Duration::from_millis(2), Duration::from_secs(3))?;
    let replica = &stage.lab.replicas()[0];
    replica.sicken()?;
    stage.wait_for_state("r1", "down", DOWN_WITHIN)?;
    let status = stage.balancer.replica(&stage.lab, "http", "r1")?;
    let error = status.last_probe.and_then(|probe| probe.error).context("no reason in the status")?;
    ensure!(error.contains("503"), "the reason is `{error}`");
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[0] == 0, "a sick replica got new flows: {shares:?}");
    replica.heal()?;
    stage.wait_for_state("r1", "up", UP_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[0] > 0, "a healed replica got no flow: {shares:?}");
    let failed: Vec<_> = load.stop().into_iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(failed.is_empty(), "{} requests failed, the first: {:?}", failed.len(), failed[0]);
    // Each change of state is told once: for two services down and up again.
    for state in ["down", "up"] {
        let lines = stage.balancer.log_lines(&["replica=\"r1\"", &format!("to=\"{state}\"")])?;
        let from_start = lines.iter().filter(|line| line.contains("starting")).count();
        ensure!(lines.len() - from_start == 2, "lines on r1 {state}: {lines:#?}");
    }
    Ok(())
}

/// Its processes are killed: connections are refused.
fn killed(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let replica = &stage.lab.replicas()[1];
    out_and_back(&stage, "r2", || Ok(replica.kill()?), || Ok(replica.start()?), "refused")
}

/// Its cable is cut: nothing answers at all.
fn cut(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let replica = &stage.lab.replicas()[2];
    out_and_back(&stage, "r3", || Ok(replica.cut()?), || Ok(replica.join()?), "")
}

fn out_and_back(
    stage: &Stage,
    name: &str,
    fail: impl FnOnce() -> Result<()>,
    recover: impl FnOnce() -> Result<()>,
    reason: &str,
) -> Result<()> {
    let place =
        stage.lab.replicas().iter().position(|replica| replica.name() == name).context("no such replica")?;
    fail()?;
    stage.wait_for_state(name, "down", DOWN_WITHIN)?;
    let status = stage.balancer.replica(&stage.lab, "https", name)?;
    let error = status.last_probe.and_then(|probe| probe.error).context("no reason in the status")?;
    ensure!(error.contains(reason), "the reason is `{error}`");
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[place] == 0, "{name} is down and answers: {shares:?}");
    recover()?;
    stage.wait_for_state(name, "up", UP_WITHIN + Duration::from_secs(2))?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[place] > 0, "{name} is back and got no flow: {shares:?}");
    Ok(())
}

/// A download of some seconds goes on while the table is rewritten again and again, without its own replica, too.
fn download(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let whole = std::fs::read(stage.lab.big_file())?;
    let client = stage.lab.client().clone();
    let url = stage.url("https", "slow/big?rate=3m");
    let download = thread::spawn(move || client.curl(&url, &["--max-time", "60"]));
    let mut serving = None;
    let flowing = until(Duration::from_secs(5), || {
        let Ok(status) = stage.balancer.status(&stage.lab) else { return false };
        let https = status.services.into_iter().filter(|service| service.name == "https");
        serving = https.flat_map(|service| service.replicas).find(|replica| replica.flows > 0);
        serving.is_some()
    });
    ensure!(flowing, "the download is in no replica's count of flows");
    let serving = serving.context("checked")?.name;
    let replica = stage.lab.replica(&serving).context("a replica of the lab")?;
    let others: Vec<_> = stage.lab.replicas().iter().filter(|other| other.name() != serving).collect();
    let begun = Instant::now();
    let mut changes = 0;
    while !download.is_finished() {
        for changing in [replica, others[0], others[1]] {
            changing.sicken()?;
            stage.wait_for_state(changing.name(), "down", DOWN_WITHIN)?;
            changing.heal()?;
            stage.wait_for_state(changing.name(), "up", UP_WITHIN)?;
            changes += 2;
            if download.is_finished() {
                break;
            }
        }
    }
    let outcome = download.join().map_err(|_| anyhow::anyhow!("the download's thread panicked"))??;
    ensure!(changes >= 2, "the download was over in {:?}, before the table changed", begun.elapsed());
    ensure!(outcome.is_ok(), "the download failed: {} {}", outcome.exit, outcome.stderr);
    ensure!(outcome.body == whole, "{} bytes of {}", outcome.body.len(), whole.len());
    Ok(())
}

/// All call themselves unhealthy and yet serve: by default they go on being used.
fn all_sick(place: Place) -> Result<()> {
    let stage = place.stage()?;
    for replica in stage.lab.replicas() {
        replica.sicken()?;
    }
    for replica in stage.lab.replicas() {
        stage.wait_for_state(replica.name(), "down", DOWN_WITHIN)?;
    }
    let status = stage.balancer.status(&stage.lab)?;
    ensure!(status.services.iter().all(|service| service.state == "down"), "{:?}", status.services);
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares.iter().all(|share| *share > 0), "fail-open uses all: {shares:?}");
    ensure!(
        !stage.balancer.log_lines(&["no replica of the service is up"])?.is_empty(),
        "the log does not say so"
    );
    Ok(())
}

/// From the moment that a replica refuses connections, no new one fails, and none waits: the refusal becomes the client's
/// SYN to another replica.
fn refusals_unnoticed(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let slowest = unnoticed(&stage, || {
        let replica = &stage.lab.replicas()[1];
        replica.kill()?;
        // The kernel accepts for a listener until its last process is gone, and resets what it has accepted then.
        let address = replica.http();
        let refused = until(Duration::from_secs(2), || {
            matches!(stage.lab.balancer().run(|| TcpStream::connect(address)), Ok(Err(_)))
        });
        ensure!(refused, "a killed replica still accepts connections");
        Ok(())
    })?;
    ensure!(slowest < Duration::from_millis(900), "a connection took {slowest:?}: as if a SYN had been lost");
    Ok(())
}

/// Its probes are an hour apart: what takes it out is what its clients met, and what brings it back is time.
fn passive(place: Place) -> Result<()> {
    let set = |service| {
        [
            format!("service.{service}.probe.interval=1h"),
            format!("service.{service}.probe.fast_interval=1h"),
            format!("service.{service}.fail_timeout=2s"),
        ]
    };
    let mut options = place.options();
    options.sets.extend((0..2).flat_map(set));
    let stage = place.stage_with(place.lab_options().without_registry(), &options)?;
    let replica = || stage.balancer.replica(&stage.lab, "http", "r2");
    stage.lab.replicas()[1].kill()?;
    let address = stage.lab.replicas()[1].http();
    let refused = until(Duration::from_secs(2), || {
        matches!(stage.lab.balancer().run(|| TcpStream::connect(address)), Ok(Err(_)))
    });
    ensure!(refused, "a killed replica still accepts connections");
    stage.shares(CONNECTIONS)?;
    // Read every 0.1 s. The rest is for a busy machine.
    let down = until(Duration::from_secs(2), || replica().is_ok_and(|replica| replica.state == "down"));
    ensure!(down, "nothing has taken it out: {:?}", replica()?);
    let before = replica()?;
    let reason = before.reason.clone().unwrap_or_default();
    ensure!(reason.contains("refused within 2s"), "the reason is `{reason}`");
    ensure!(before.last_probe.as_ref().is_some_and(|probe| probe.ok), "a probe came before: {before:?}");
    stage.shares(CONNECTIONS / 10)?;
    let after = replica()?;
    if after.since == before.since {
        ensure!(after.new_flows == before.new_flows, "it was asked while it was out: {before:?} {after:?}");
    }
    stage.lab.replicas()[1].start()?;
    let up = until(Duration::from_secs(4), || replica().is_ok_and(|replica| replica.state == "up"));
    ensure!(up, "it was not tried again: {:?}", replica()?);
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[1] > 0, "it is back and got no flow: {shares:?}");
    Ok(())
}

/// A replica that is cut off answers nothing: the client's second SYN, a second after the first, goes elsewhere.
fn silence_unnoticed(place: Place) -> Result<()> {
    let stage = place.stage()?;
    unnoticed(&stage, || Ok(stage.lab.replicas()[1].cut()?)).map(drop)
}

/// Fails the second replica under load; no request that begins later may fail. Returns how long the slowest took.
pub(crate) fn unnoticed(stage: &Stage, fail: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let client = stage.lab.client();
    let load = || client.background_load(stage.http(), Duration::from_millis(1), Duration::from_secs(4));
    let loads = [load()?, load()?, load()?, load()?];
    // Not before every replica has served.
    stage.shares(CONNECTIONS)?;
    fail()?;
    let failed_at = Instant::now();
    // These all begin after it, and many before any probe has seen it.
    stage.shares(CONNECTIONS)?;
    stage.wait_for_state("r2", "down", DOWN_WITHIN)?;
    let later = loads.into_iter().flat_map(dtr_lb_tests::lab::BackgroundLoad::stop);
    let later: Vec<_> = later.filter(|request| request.started > failed_at).collect();
    let errors: Vec<_> = later.iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(errors.is_empty(), "{} of {} failed, the first: {:?}", errors.len(), later.len(), errors[0]);
    let counted = stage.balancer.replica(&stage.lab, "http", "r2")?;
    ensure!(counted.redispatched > 0, "nothing was redispatched in {} requests: {counted:?}", later.len());
    Ok(later.iter().map(|request| request.took).max().unwrap_or_default())
}
