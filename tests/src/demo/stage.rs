//! The lab with the agent in it, and its end.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use dtr_lb_agent::config::{Config, Service};

use super::{Demo, leftovers::Leftovers, say, seconds};
use crate::{
    balancer::{Balancer, BalancerOptions, UP_WITHIN, write_config},
    lab::{Lab, LabOptions},
    stub::pass_stub,
};

/// A first probe over TLS to every replica at once takes longer than the ones after it.
const ALL_UP_WITHIN: Duration = UP_WITHIN.saturating_mul(5);

/// The lab and the agent in it.
pub(super) struct Stage {
    pub(super) lab: Lab,
    pub(super) balancer: Balancer,
    pub(super) config_file: PathBuf,
    /// The size of the file at `/big`.
    pub(super) big_bytes: u64,
    /// The services as the agent read them.
    pub(super) services: Vec<Service>,
    leftovers: Leftovers,
}

impl Stage {
    /// Makes the lab and starts the agent; returns when every replica is up.
    pub(super) fn set(demo: &Demo) -> Result<Self> {
        let begun = std::time::Instant::now();
        let links = Leftovers::host_links();
        let options = LabOptions::new(demo.topology, demo.replicas).with_pass_stub(pass_stub());
        let big_bytes = options.big_bytes;
        let lab = Lab::create(options).context("the lab did not come up")?;
        let leftovers = Leftovers::of(&lab, links);
        let options = BalancerOptions::new(demo.hook);
        // The same file that the start writes: this way its path is known.
        let config_file = write_config(&lab, &options)?;
        let balancer = Balancer::start(&lab, &options).context("dtr-lb did not come up")?;
        for replica in lab.replicas() {
            balancer.wait_for_state(&lab, replica.name(), "up", ALL_UP_WITHIN)?;
        }
        // In the balancer's namespace: the config is checked against the host it is for.
        let config =
            lab.balancer().run(|| Config::load(&config_file, &[]))?.context("reading the agent's config")?;
        say(format_args!(
            "lab {}: {} replicas, {:?}, VIP {}, dtr-lb at {} ({}); up after {}",
            lab.id(),
            lab.replicas().len(),
            lab.topology(),
            lab.vip(),
            demo.hook.label(),
            config.interfaces.join(", "),
            seconds(begun.elapsed())
        ));
        Ok(Self { lab, balancer, config_file, big_bytes, services: config.services, leftovers })
    }

    /// Removes everything, looks whether it is gone, and says so. Returns whether it is.
    pub(super) fn strike(self) -> bool {
        let Self { lab, balancer, leftovers, .. } = self;
        drop(balancer);
        drop(lab);
        let found = leftovers.find();
        if found.is_empty() {
            say(format_args!("{}: nothing left behind ({})", leftovers.name(), Leftovers::LOOKED_AT));
        }
        for what in &found {
            say(format_args!("{}: LEFT BEHIND: {what}; the next run removes what it can", leftovers.name()));
        }
        found.is_empty()
    }
}
