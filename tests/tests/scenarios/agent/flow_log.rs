//! The flow log of an agent: its place by config and reload, its file, those who follow. What stands in it is the datapath's matter.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::until;
use nix::sys::signal::Signal;

use super::reload::reload;
use crate::{Place, Stage};

/// A look at the file's path comes once a second.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// It comes, is rotated, moves and goes while the agent runs, and a place where it cannot be is refused.
pub(super) fn moves(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = stage.balancer.config_text()?;
    ensure!(original.contains("[agent]\n"), "the config has no [agent]:\n{original}");
    let at = |name: &str| stage.lab.directory().join(name);
    let with = |path: &Path| {
        original.replacen("[agent]\n", &format!("[agent]\nflow_log = \"{}\"\n", path.display()), 1)
    };
    let (first, rotated, second) = (at("flows.log"), at("flows.log.1"), at("others.log"));

    reload(&stage, &with(&first), &["agent.flow_log: none → ", "flows.log"])?;
    ensure!(
        until(FOUND_WITHIN, || first.exists()),
        "there is no log: {}",
        stage.balancer.process().log_tail(10)
    );
    fs::rename(&first, &rotated).context("rotating the log")?;
    ensure!(until(FOUND_WITHIN, || first.exists()), "the log was not made anew");
    fs::rename(&first, &rotated).context("rotating the log")?;
    stage.balancer.process().signal(Signal::SIGHUP)?;
    ensure!(until(FOUND_WITHIN, || first.exists()), "the log was not made anew after SIGHUP");

    stage.balancer.write_config_text(&with(&at("none/flows.log")))?;
    let refused = stage.balancer.command(&stage.lab, &["reload"])?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && words.contains("is not a directory that exists"), "{refused:?}");
    let would = stage.balancer.command(&stage.lab, &["check", "--diff"])?;
    let words = String::from_utf8_lossy(&would.stderr).into_owned();
    ensure!(words.contains("a reload would be refused: the flow log cannot be"), "{would:?}");

    reload(&stage, &with(&second), &["others.log"])?;
    ensure!(until(FOUND_WITHIN, || second.exists()), "the log did not move");
    reload(&stage, &original, &["→ none"])?;
    fs::remove_file(&second).context("removing the log")?;
    stage.shares(30)?;
    ensure!(!second.exists(), "there is a log that was turned off");
    Ok(())
}

/// Those who follow are told that the agent ends, and do not keep it from ending.
pub(super) fn followers(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let Stage { lab, balancer } = &stage;
    let unknown = balancer.command(lab, &["flows", "--follow", "--service", "web"])?;
    ensure!(unknown.status.code() == Some(2), "a service that is not there: {unknown:?}");
    let follow = |name| {
        let follower = balancer.spawn_command(lab, name, &["flows", "--follow", "--service", "http"])?;
        let begun = || fs::read_to_string(follower.log()).is_ok_and(|log| log.contains("Ctrl-C ends it"));
        ensure!(until(FOUND_WITHIN, begun), "it does not follow: {}", follower.log_tail(5));
        Ok(follower)
    };
    let follower = follow("follow-1")?;
    follower.signal(Signal::SIGINT)?;
    let ended = follower.wait(ENDED_WITHIN)?.context("Ctrl-C does not end it")?;
    ensure!(ended.success(), "{ended}: {}", follower.log_tail(5));

    let follower = follow("follow-2")?;
    balancer.process().signal(Signal::SIGTERM)?;
    let ended = balancer.process().wait(ENDED_WITHIN)?.context("the agent waits for those who follow")?;
    ensure!(ended.success(), "the agent ended with {ended}: {}", balancer.process().log_tail(10));
    let ended = follower.wait(ENDED_WITHIN)?.context("who follows waits for an agent that has ended")?;
    let said = follower.log_tail(5);
    ensure!(ended.code() == Some(1) && said.contains("the agent has ended"), "{ended}: {said}");
    Ok(())
}
