//! What the balancer makes of replicas that fail together, or of one that only seems to; and who stands in for those that are down.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::status::SuspicionStatus;
use dtr_lb_tests::{
    balancer::{DOWN_WITHIN, UP_WITHIN, services_with},
    lab::until,
};

use crate::{BOTH_HOOKS, CROSSWISE, Place, Scenario, Stage, session::Session};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("a_backup_serves_while_no_other_is_up", CROSSWISE, backup),
    ("replicas_that_fall_silent_together_keep_their_share", BOTH_HOOKS, together),
];

/// Four times the three probes that take a replica down, each with its time-out of 300 ms: 3.6 s. The rest is for a busy machine.
pub(crate) const BELIEVED_WITHIN: Duration = Duration::from_secs(8);
/// A SYN that nobody answers goes to another replica when it comes again, after 1 s and 3 s.
const CONNECTIONS: usize = 100;

fn backup(place: Place) -> Result<()> {
    let mut options = place.options();
    options.services = services_with("backup = [\"r3\"]");
    let stage = place.stage_with(place.lab_options().without_registry(), &options)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[2] == 0 && shares[0] > 0 && shares[1] > 0, "{shares:?}");
    let status = stage.balancer.replica(&stage.lab, "http", "r3")?;
    ensure!(status.backup && status.effective_weight == 0 && status.state == "up", "{status:?}");
    for command in [&["status"][..], &["replica", "list"]] {
        let said = stage.balancer.command(&stage.lab, command)?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("r3")).context("r3 is not listed")?;
        ensure!(line.contains("100 backup"), "{command:?}: {line}");
    }
    for replica in &stage.lab.replicas()[..2] {
        replica.kill()?;
    }
    for replica in ["r1", "r2"] {
        stage.wait_for_state(replica, "down", DOWN_WITHIN)?;
    }
    let mut session = Session::open(&stage, stage.lab.vip())?;
    ensure!(session.replica == "r3", "{} serves", session.replica);
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares == [0, 0, CONNECTIONS], "{shares:?}");
    stage.lab.replicas()[0].start()?;
    stage.wait_for_state("r1", "up", UP_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares == [CONNECTIONS, 0, 0], "new connections: {shares:?}");
    let answer = session.ask(Duration::from_secs(3)).context("the one that was open")?;
    ensure!(answer == "r3", "{answer}");
    Ok(())
}

fn suspicions(stage: &Stage) -> Result<Vec<SuspicionStatus>> {
    let status = stage.balancer.status(&stage.lab)?;
    Ok(status.services.into_iter().filter_map(|service| service.suspicion).collect())
}

/// Two of three are cut off at once, and join again before that is believed: nobody has been reset. Then they stay away.
fn together(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(Session::open(&stage, stage.lab.vip())?);
    }
    let cut = || stage.lab.replicas()[..2].iter().try_for_each(dtr_lb_tests::lab::Replica::cut);
    cut()?;
    let suspects = until(DOWN_WITHIN, || suspicions(&stage).is_ok_and(|all| all.len() == 2));
    let told = suspicions(&stage)?;
    ensure!(suspects, "{told:?}; {:?}", stage.replica_statuses()?);
    ensure!(told[0].reason.starts_with("2 of 3 replicas fell silent"), "{told:?}");
    let replicas = stage.replica_statuses()?;
    ensure!(replicas.iter().all(|replica| replica.state == "up"), "{replicas:?}");
    for replica in &stage.lab.replicas()[..2] {
        replica.join()?;
    }
    let over = until(UP_WITHIN, || suspicions(&stage).is_ok_and(|all| all.is_empty()));
    ensure!(over, "{:?}", suspicions(&stage)?);
    for session in &mut sessions {
        session.ask(Duration::from_secs(3)).with_context(|| format!("on {}", session.replica))?;
    }
    let replicas = stage.replica_statuses()?;
    ensure!(replicas.iter().all(|replica| replica.reset == 0 && replica.state == "up"), "{replicas:?}");

    cut()?;
    for replica in ["r1", "r2"] {
        stage.wait_for_state(replica, "down", BELIEVED_WITHIN)?;
    }
    ensure!(suspicions(&stage)?.is_empty(), "it is over when it is believed");
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares == [0, 0, CONNECTIONS], "{shares:?}");
    for words in ["this balancer suspects itself", "no longer suspects itself"] {
        let lines = stage.balancer.log_lines(&[words])?;
        // Where the second of two falls silent late, it is believed at once.
        ensure!((2..=4).contains(&lines.len()), "for two services, twice each at most: {lines:#?}");
    }
    Ok(())
}
