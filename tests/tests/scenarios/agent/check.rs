//! `dtr-lb check`: what it says of a host, and that it touches nothing.

use std::{process::Output, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    balancer::{Balancer, binary, write_config},
    lab::{Lab, Topology, until},
};

use super::{expect, foreign_xdp, nothing_left};
use crate::Place;

pub(super) fn check(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let config = write_config(&lab, &place.options())?;
    let check = |sets: &[&str]| -> Result<Output> {
        let mut command = lab.balancer().command(binary()?.to_str().context("not text")?);
        command.arg("--config").arg(&config).arg("check");
        for set in sets {
            command.args(["--set", set]);
        }
        command.output().context("running dtr-lb")
    };
    let good = check(&[])?;
    expect(&good, 0, &[])?;
    let hook = if place.hook == Hook::Tc { "TC would be attached" } else { "native XDP would be attached" };
    says(
        &good,
        &["valid", "interface eth0: MTU 1500, no XDP program", hook, "replica 10.77.", ": by interface eth"],
    )?;
    ensure!(good.stderr.is_empty(), "a good host: {}", String::from_utf8_lossy(&good.stderr));
    let auto = check(&["datapath.attach=auto"])?;
    says(&auto, &["native XDP would be tried first; TC on all interfaces if the driver of one has none"])?;

    expect(&check(&["interfaces=[\"eth0\", \"eth7\"]"])?, 1, &["error: no interface `eth7`", "eth0"])?;
    expect(
        &check(&["datapath.nat_addresses=[\"192.0.2.7\"]"])?,
        1,
        &["error: datapath.nat_addresses has 192.0.2.7"],
    )?;
    expect(&check(&["vip=192.0.2.10"])?, 0, &["warning: the VIP 192.0.2.10", "ip address add"])?;
    expect(
        &check(&["replica.0.address=203.0.113.9"])?,
        0,
        &["warning: no next hop for replica 203.0.113.9", "no route"],
    )?;
    if place.topology == Topology::TwoArm {
        expect(&check(&["interfaces=[\"eth0\"]"])?, 0, &["warning: replica", "eth1", "not in `interfaces`"])?;
        lab.balancer().ip(&["link", "set", "eth1", "mtu", "1400"])?;
        expect(&check(&[])?, 0, &["warning: replica", "MTU 1400; interface eth0, MTU 1500"])?;
        lab.balancer().ip(&["link", "set", "eth1", "mtu", "1500"])?;
    }

    let foreign = foreign_xdp(&lab)?;
    let (code, words) = if place.hook == Hook::Tc {
        (0, "warning: interface eth0 has XDP program `lab_pass`")
    } else {
        (1, "error: another XDP program holds interface `eth0`: `lab_pass`")
    };
    expect(&check(&[])?, code, &[words, "(not dtr-lb's)"])?;
    drop(foreign);
    // The kernel takes a program off a moment after its link is closed.
    until(Duration::from_secs(2), || nothing_left(&lab).is_ok());
    nothing_left(&lab)?;

    if place.hook == Hook::NativeXdp {
        let _balancer = Balancer::start(&lab, &place.options())?;
        let own = check(&[])?;
        expect(&own, 0, &[])?;
        says(&own, &["(dtr-lb's own)"])?;
        let mut diff = lab.balancer().command(binary()?.to_str().context("not text")?);
        diff.arg("--config").arg(&config).args(["check", "--diff"]);
        let same = diff.output().context("running dtr-lb")?;
        expect(&same, 0, &[])?;
        says(&same, &["would change nothing"])?;
    }
    Ok(())
}

/// What scripts read; and an agent that could not load anything.
pub(super) fn json(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let config = write_config(&lab, &place.options())?;
    let binary = binary()?;
    let as_json = |program: &str, before: &[&str]| -> Result<(Option<i32>, serde_json::Value)> {
        let mut command = lab.balancer().command(program);
        command.args(before).arg("--config").arg(&config).args(["check", "--json", "--probe"]);
        let output = command.output().context("running dtr-lb")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text).with_context(|| format!("{output:?}"))?;
        Ok((output.status.code(), value))
    };
    let finds = |value: &serde_json::Value, level: &str, words: &str| {
        let all = value["findings"].as_array().cloned().unwrap_or_default();
        all.iter()
            .filter(|found| found["level"] == level && found["what"].to_string().contains(words))
            .count()
    };
    let path = binary.to_str().context("not text")?;
    let (code, good) = as_json(path, &[])?;
    ensure!(code == Some(0) && good["would_start"] == true, "{good:#}");
    ensure!(
        finds(&good, "fact", "replica r1: status 200 after") == 2,
        "each of two services is asked: {good:#}"
    );
    ensure!(finds(&good, "warning", "") == 0, "a good host: {good:#}");

    let without = ["--bounding-set=-cap_21,-cap_38,-cap_39", path];
    let (code, bad) = as_json("setpriv", &without)?;
    ensure!(code == Some(1) && bad["would_start"] == false, "{bad:#}");
    ensure!(finds(&bad, "error", "lacks CAP_BPF, CAP_PERFMON") == 1, "{bad:#}");
    Ok(())
}

fn says(output: &Output, words: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stdout);
    for word in words {
        ensure!(text.contains(word), "`{word}` is not in what it says: {text}");
    }
    Ok(())
}
