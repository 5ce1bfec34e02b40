//! Starts that fail, and starts that are made to wait.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    balancer::{binary, write_config},
    lab::{Lab, until},
    pinned::Picture,
};
use nix::sys::signal::Signal;

use super::{expect, nothing_left};
use crate::{Place, Stage};

/// An agent with another config cannot attach: the services of the config before are served as if it had not been.
pub(super) fn fails_over_adopted(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    stage.balancer.process().stop()?;
    // The loopback interface has no native XDP; TC goes everywhere, so there is no such failure.
    if place.hook == Hook::NativeXdp {
        let sets = ["--set", "interfaces=[\"eth0\", \"lo\"]", "--set", "service.0.port=81"];
        let failed = stage.balancer.command(&stage.lab, &[&["run"], &sets[..]].concat())?;
        expect(&failed, 1, &["`lo`", "native XDP"])?;
    }
    let shares = stage.shares(300)?;
    ensure!(shares.iter().all(|share| *share > 0), "after a start that failed: {shares:?}");
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    ensure!(balancer.status(lab)?.datapath.adopted, "it was not adopted");
    Ok(())
}

/// A new agent may not load its programs: without CAP_PERFMON the kernel's verifier allows less. It says so before it touches
/// anything, and the datapath that is there goes on, with its flows.
pub(super) fn refused_program(place: Place) -> Result<()> {
    let mut stage = place.stage()?;
    stage.balancer.process().stop()?;
    let before = Picture::take(&stage.lab.bpffs().join("dtr-lb"))?;
    let load =
        stage.lab.client().background_load(stage.http(), Duration::from_millis(5), Duration::from_secs(3))?;
    let mut command = stage.lab.balancer().command("setpriv");
    let without = "-perfmon,-sys_admin";
    command.args(["--bounding-set", without, "--inh-caps", without]).arg(binary()?);
    command.arg("--config").arg(stage.lab.directory().join("dtr-lb.toml")).arg("run");
    let failed = command.output().context("running setpriv")?;
    expect(&failed, 1, &["lacks CAP_PERFMON", "not permitted to load the datapath", "AmbientCapabilities="])?;
    Picture::take(&stage.lab.bpffs().join("dtr-lb"))?.must_equal(&before)?;
    stage.shares(100)?;
    let broken: Vec<_> = load.stop().into_iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(broken.is_empty(), "{} requests failed, the first: {:?}", broken.len(), broken[0]);
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    ensure!(balancer.status(lab)?.datapath.adopted, "it was not adopted");
    Ok(())
}

/// Replicas that answer nothing, and probes that would wait an hour for them.
pub(super) fn silent_replicas(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    for replica in lab.replicas() {
        replica.freeze()?;
    }
    let mut options = place.options();
    options.services =
        "[[service]]\nname = \"http\"\nport = 80\n[service.probe]\ntimeout = \"1h\"\ninterval = \"1h\"\n"
            .into();
    let config = write_config(&lab, &options)?;
    let socket = lab.directory().join("dtr-lb.sock");
    let spawn = || -> Result<_> {
        let mut command = lab.balancer().command(binary()?.to_str().context("not text")?);
        command.args(["run", "--config"]).arg(&config);
        let process = lab.spawn("waiting", command)?;
        ensure!(
            until(Duration::from_secs(5), || socket.exists()),
            "it does not begin: {}",
            process.log_tail(10)
        );
        Ok(process)
    };
    let process = spawn()?;
    process.signal(Signal::SIGTERM)?;
    let ended = process.wait(Duration::from_secs(1))?.context("SIGTERM does not end an agent that waits")?;
    ensure!(ended.success(), "it ended with {ended}: {}", process.log_tail(10));
    nothing_left(&lab)?;
    ensure!(!socket.exists(), "its socket is left");

    let second = spawn()?;
    let ask = |arguments: &[&str]| -> Result<_> {
        let mut command = lab.balancer().command(binary()?.to_str().context("not text")?);
        command.arg("--config").arg(&config).args(arguments).output().context("running dtr-lb")
    };
    // The status is answered by the main loop, which begins when the datapath is attached.
    let status = ask(&["status"])?;
    expect(&status, 0, &[])?;
    ensure!(second.is_running(), "it has ended: {}", second.log_tail(10));
    let log = std::fs::read_to_string(second.log())?;
    ensure!(!log.contains("attached again"), "a look from before the start is taken for news: {log}");
    expect(&ask(&["detach"])?, 0, &[])?;
    nothing_left(&lab)
}
