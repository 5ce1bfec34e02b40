//! Interfaces that come and go under a running agent.

use std::time::Duration;

use anyhow::{Result, ensure};
use dtr_lb_agent::{datapath::Hook, status::AttachStatus};
use dtr_lb_tests::{
    balancer::Balancer,
    lab::{Lab, until},
};

use super::nothing_left;
use crate::{Place, Stage};

/// The agent looks every two seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);

/// An interface is removed and comes back as another one of its name: the rest is served all the time.
pub(super) fn back_again(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    add_extra(&lab)?;
    let mut options = place.options();
    let names = lab.balancer_interfaces().map(|(name, _)| format!("{name:?}"));
    let names: Vec<_> = names.chain(["\"extra0\"".into()]).collect();
    options.sets.push(format!("interfaces=[{}]", names.join(", ")));
    let balancer = Balancer::start(&lab, &options)?;
    let stage = Stage { lab, balancer };
    ensure!(extra(&stage)?.present, "it is there from the start");
    ensure!(
        stage.balancer.log_lines(&["datapath attached again"])?.is_empty(),
        "attached twice at the start"
    );

    stage.lab.balancer().ip(&["link", "delete", "extra0"])?;
    wait_for(&stage, false)?;
    let gone = stage.balancer.log_lines(&["ERROR", "extra0", "the interface is gone"])?;
    ensure!(gone.len() == 1, "told {} times", gone.len());
    stage.shares(60)?;

    add_extra(&stage.lab)?;
    wait_for(&stage, true)?;
    if place.hook == Hook::NativeXdp {
        let link = stage.lab.balancer().ip(&["-details", "link", "show", "extra0"])?;
        ensure!(link.contains("xdp"), "no XDP program is on it again: {link}");
    }
    ensure!(
        stage.balancer.log_lines(&["datapath attached again"])?.len() == 1,
        "attached again more than once"
    );
    stage.shares(60)?;
    stage.balancer.detach(&stage.lab)?;
    nothing_left(&stage.lab)
}

fn add_extra(lab: &Lab) -> Result<()> {
    lab.balancer().ip(&["link", "add", "extra0", "type", "veth", "peer", "name", "extra1"])?;
    for interface in ["extra0", "extra1"] {
        lab.balancer().ip(&["link", "set", interface, "up"])?;
    }
    Ok(())
}

fn extra(stage: &Stage) -> Result<AttachStatus> {
    let attach = stage.balancer.status(&stage.lab)?.datapath.attach;
    let found = attach.iter().find(|attach| attach.interface == "extra0").cloned();
    found.ok_or_else(|| anyhow::anyhow!("extra0 is not in the status: {attach:?}"))
}

fn wait_for(stage: &Stage, present: bool) -> Result<()> {
    let seen = until(NOTICED_WITHIN, || extra(stage).is_ok_and(|extra| extra.present == present));
    ensure!(seen, "present is not {present}; the agent's log:\n{}", stage.balancer.process().log_tail(20));
    Ok(())
}
