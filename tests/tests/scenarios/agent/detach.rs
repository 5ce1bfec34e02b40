//! `dtr-lb detach`: with an agent, without one, and with a config that is no help.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{expect, nothing_left};
use crate::{Place, Stage};

/// The agent ends well, no program is on an interface, no pin is left, and the VIP is a host like any.
pub(super) fn under_an_agent(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let detached = stage.balancer.command(&stage.lab, &["detach"])?;
    expect(&detached, 0, &[])?;
    let text = String::from_utf8_lossy(&detached.stdout).into_owned();
    ensure!(text.contains("ended the agent, and removed the datapath"), "detach says: {text}");
    nothing_left(&stage.lab)?;
    let process = stage.balancer.process();
    let ended = process.wait(Duration::from_secs(2))?.context("the agent goes on after detach")?;
    ensure!(ended.success(), "the agent ended with {ended}: {}", process.log_tail(10));
    let refused = stage.lab.client().curl(&stage.url("http", "whoami"), &["--max-time", "5"])?;
    ensure!(refused.exit == 7, "nobody listens on the VIP itself: {refused:?}");
    let again = stage.balancer.command(&stage.lab, &["detach"])?;
    ensure!(again.status.success(), "a second detach has nothing to do: {again:?}");

    // The way is clear for the next, which finds nothing to adopt.
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    ensure!(!balancer.status(lab)?.datapath.adopted, "something was left to adopt");
    stage.shares(30)?;
    Ok(())
}

/// What an agent left is removed though the config is broken, and an agent that is not found is said to be there.
pub(super) fn alone(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    let socket = stage.lab.directory().join("elsewhere.sock");
    let socket = socket.to_str().context("the path is not text")?;
    let elsewhere = stage.balancer.command(&stage.lab, &["detach", "--socket", socket])?;
    expect(&elsewhere, 1, &["an agent uses the datapath", "elsewhere.sock", "--socket"])?;
    ensure!(stage.balancer.process().is_running(), "the agent is gone");

    let config = stage.lab.directory().join("dtr-lb.toml");
    let good = fs::read_to_string(&config)?;
    fs::write(&config, good.replace("vip = \"", "vip = \"no address; \"\n# \""))?;
    let broken = stage.balancer.command(&stage.lab, &["check"])?;
    ensure!(broken.status.code() == Some(2), "the config is still good: {broken:?}");
    let status = stage.balancer.command(&stage.lab, &["status"])?;
    expect(&status, 0, &[])?;

    stage.balancer.process().stop()?;
    let status = stage.balancer.command(&stage.lab, &["status"])?;
    expect(&status, 3, &["no agent answers", "dtr-lb.sock"])?;
    stage.balancer.detach(&stage.lab)?;
    nothing_left(&stage.lab)?;

    // Nothing in it can be read: what is taken instead is told.
    fs::write(&config, "[agent\n")?;
    let bpffs = format!("agent.bpffs={:?}", stage.lab.bpffs().join("dtr-lb").display());
    let detached = stage.balancer.command(&stage.lab, &["detach", "--socket", socket, "--set", &bpffs])?;
    expect(&detached, 0, &["note: ", "not TOML", "elsewhere.sock"])?;

    fs::write(&config, good)?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    Ok(())
}
