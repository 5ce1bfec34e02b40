//! What a service manager hears from the agent, by the protocol of sd_notify(3).

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    balancer::{binary, write_config},
    lab::Lab,
};
use nix::sys::signal::Signal;

use crate::Place;

/// What the agent is told that the watchdog waits for.
const WATCHDOG: Duration = Duration::from_millis(1500);
/// For one message: the first comes when the replicas have been probed.
const LIMIT: Duration = Duration::from_secs(15);

struct Manager(UnixDatagram);

impl Manager {
    /// The next message that is no sign of life.
    fn news(&self) -> Result<String> {
        let begun = Instant::now();
        loop {
            let message = self.message().context("waiting for news")?;
            if message != "WATCHDOG=1\n" {
                return Ok(message);
            }
            ensure!(begun.elapsed() < LIMIT, "nothing but signs of life");
        }
    }

    fn message(&self) -> Result<String> {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// Waits for a message with all of these.
    fn hears(&self, words: &[&str]) -> Result<()> {
        let begun = Instant::now();
        let mut heard = Vec::new();
        while begun.elapsed() < LIMIT {
            let news = self.news().with_context(|| format!("{words:?} was not said, but {heard:?}"))?;
            if words.iter().all(|word| news.contains(word)) {
                return Ok(());
            }
            heard.push(news);
        }
        anyhow::bail!("{words:?} was not said, but {heard:?}")
    }
}

pub(super) fn told(place: Place) -> Result<()> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let config = write_config(&lab, &place.options())?;
    let path = lab.directory().join("notify");
    let manager = Manager(UnixDatagram::bind(&path)?);
    manager.0.set_read_timeout(Some(LIMIT))?;
    let mut command = lab.balancer().command(binary()?.to_str().context("not text")?);
    command.args(["run", "--config"]).arg(&config).env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    let agent = lab.spawn("dtr-lb", command)?;

    let first = manager.news()?;
    let all = format!("{0} of {0}", lab.replicas().len());
    ensure!(first.contains("READY=1\n") && first.contains(&all), "the first word is {first:?}");
    let link = lab.balancer().ip(&["-details", "link", "show", "eth0"])?;
    ensure!(
        place.hook == Hook::Tc || link.contains("xdp"),
        "ready, but the datapath is not attached: {link}"
    );

    // Signs of life come within half of what is waited for, as the protocol asks.
    for _ in 0..3 {
        let begun = Instant::now();
        while manager.message()? != "WATCHDOG=1\n" {}
        ensure!(begun.elapsed() < WATCHDOG * 3 / 4, "a sign of life took {:?}", begun.elapsed());
    }

    lab.replicas()[0].sicken()?;
    manager.hears(&["STATUS=", &format!("{} of {}", lab.replicas().len() - 1, lab.replicas().len())])?;
    lab.replicas()[0].heal()?;
    manager.hears(&["STATUS=", &all])?;

    // A reload that is refused is over, too.
    let good = std::fs::read(&config)?;
    for text in [&good[..], b"vip = 1"] {
        std::fs::write(&config, text)?;
        agent.signal(Signal::SIGHUP)?;
        manager.hears(&["RELOADING=1", "MONOTONIC_USEC="])?;
        manager.hears(&["READY=1", &all])?;
    }
    agent.signal(Signal::SIGTERM)?;
    manager.hears(&["STOPPING=1", "goes on forwarding"])?;
    let ended = agent.wait(Duration::from_secs(5))?.context("SIGTERM does not end it")?;
    ensure!(ended.success(), "it ended with {ended}: {}", agent.log_tail(10));
    Ok(())
}
