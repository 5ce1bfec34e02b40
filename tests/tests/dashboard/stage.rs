//! A lab with an agent whose dashboard is open in a browser.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, Result};
use dtr_lb_agent::{datapath::Hook, status::Status};
use dtr_lb_tests::{
    balancer::{Balancer, BalancerOptions},
    lab::{BackgroundLoad, Lab, LabOptions, Topology},
    stub::pass_stub,
};

use crate::browser::Browser;

/// Where the agent serves it unless told otherwise.
pub(crate) const DASHBOARD: &str = "http://127.0.0.1:8181/";
pub(crate) const TOKEN: &str = "b7d2f0c19a3e4856b7d2f0c19a3e4856";

/// The browser is dropped first.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    pub(crate) balancer: Balancer,
    pub(crate) lab: Lab,
}

impl Stage {
    /// Three replicas behind an agent, and a browser that has opened nothing yet. `token`: whether there is an admin token.
    pub(crate) fn new(token: bool) -> Result<Self> {
        let options = LabOptions::new(Topology::OneArm, 3).with_pass_stub(pass_stub());
        let lab = Lab::create(options.without_registry())?;
        let mut options = BalancerOptions::new(Hook::NativeXdp);
        if token {
            let file = lab.directory().join("admin-token");
            fs::write(&file, format!("{TOKEN}\n")).context("writing the token")?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).context("its permissions")?;
            options.sets.push(format!("agent.admin_token_file={}", file.display()));
        }
        let balancer = Balancer::start(&lab, &options)?;
        let browser = Browser::start(&lab)?;
        Ok(Self { browser, balancer, lab })
    }

    /// Opens the dashboard, and waits until it shows the services.
    pub(crate) fn open(&self) -> Result<()> {
        self.browser.open(DASHBOARD)?;
        self.browser.wait(
            "two services of three replicas",
            "document.querySelectorAll('.service [data-replica]').length === 6",
        )
    }

    /// One connection after the other, to the service `http`.
    pub(crate) fn load(&self) -> Result<BackgroundLoad> {
        let (pause, limit) = (Duration::from_millis(5), Duration::from_secs(3));
        Ok(self.lab.client().background_load((self.lab.vip(), 80).into(), pause, limit)?)
    }

    pub(crate) fn status(&self) -> Result<Status> {
        self.balancer.status(&self.lab)
    }
}

/// The place of a replica of the service `http` in the page.
pub(crate) fn replica(name: &str) -> String {
    format!(".service:first-child [data-replica='{name}']")
}
