//! Replicas behind a host name: a real name server in the balancer's namespace, whose records change while requests go on.
//!
//! `ip netns exec` puts what is in `/etc/netns/NAME` over `/etc` for the programs in a namespace: so the agent finds its
//! resolv.conf, as on any host.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::status::NameStatus;
use dtr_lb_tests::{
    balancer::{Balancer, BalancerOptions},
    lab::{Lab, Process, Replica, until},
};
use nix::sys::signal::Signal;

use crate::{BOTH_HOOKS, Place, Scenario, Stage, agent::Traffic};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("replicas_follow_their_host_name", BOTH_HOOKS, follow),
    ("names_outlast_dns", BOTH_HOOKS, without_dns),
];

const NAME: &str = "dtr.test";
/// A TTL of a second, a look, and probes of a new replica.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(8);
/// See `health::CONNECTIONS`.
const CONNECTIONS: usize = 300;

/// A name server of the balancer's namespace, and its resolv.conf.
struct NameServer {
    hosts: PathBuf,
    settings: PathBuf,
    process: Option<Process>,
}

impl NameServer {
    /// It knows no name yet.
    fn start(lab: &Lab) -> Result<Self> {
        let settings = Path::new("/etc/netns").join(lab.balancer().name());
        fs::create_dir_all(&settings).context("making the namespace's own /etc")?;
        let mut server = Self { hosts: lab.directory().join("hosts"), settings, process: None };
        fs::write(
            server.settings.join("resolv.conf"),
            "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
        )?;
        fs::write(&server.hosts, "")?;
        server.begin(lab)?;
        Ok(server)
    }

    fn begin(&mut self, lab: &Lab) -> Result<()> {
        let mut command = lab.balancer().command("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--pid-file=",
            ])
            .args([
                "--bind-interfaces",
                "--listen-address=127.0.0.1",
                "--user=",
                "--group=",
                "--log-facility=-",
            ])
            .args(["--local=/test/", "--local-ttl=1"])
            .arg(format!("--addn-hosts={}", self.hosts.display()));
        let process = lab.spawn("dnsmasq", command)?;
        let started = until(Duration::from_secs(10), || process.log_tail(20).contains("started"));
        ensure!(started, "dnsmasq has not started: {}", process.log_tail(20));
        self.process = Some(process);
        Ok(())
    }

    /// The addresses of the name, from now on.
    fn say(&self, addresses: &[std::net::IpAddr]) -> Result<()> {
        let lines: String = addresses.iter().map(|address| format!("{address} {NAME}\n")).collect();
        fs::write(&self.hosts, lines)?;
        self.process.as_ref().context("the name server has ended")?.signal(Signal::SIGHUP)?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.process.take().context("the name server has ended")?.kill()?;
        Ok(())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // What is left is in nobody's way.
        let _ = fs::remove_dir_all(&self.settings);
    }
}

/// A lab with a name server, and a balancer whose one `[[replica]]` is the name.
fn stage(place: Place, first: usize) -> Result<(NameServer, Stage)> {
    let lab = Lab::create(place.lab_options().without_registry())?;
    let server = NameServer::start(&lab)?;
    let addresses: Vec<_> = lab.replicas().iter().take(first).map(Replica::address).collect();
    server.say(&addresses)?;
    let options = BalancerOptions { host_name: Some(NAME.to_owned()), ..BalancerOptions::new(place.hook) };
    let balancer = Balancer::start(&lab, &options)?;
    Ok((server, Stage { lab, balancer }))
}

/// Waits until the status shows these replicas, and all of them up.
fn until_up(stage: &Stage, replicas: &[usize]) -> Result<()> {
    let of = |index: &usize| format!("{NAME}/{}", stage.lab.replicas()[*index].address());
    let mut expected: Vec<_> = replicas.iter().map(of).collect();
    expected.sort();
    let mut seen = Vec::new();
    let reached = until(FOLLOWED_WITHIN, || {
        let Ok(status) = stage.balancer.status(&stage.lab) else { return false };
        status.services.iter().all(|service| {
            seen = service
                .replicas
                .iter()
                .map(|replica| (replica.name.clone(), replica.state.clone()))
                .collect();
            seen.sort();
            let found = seen.iter().map(|(name, _)| name);
            found.eq(expected.iter()) && seen.iter().all(|(_, state)| state == "up")
        })
    });
    ensure!(
        reached,
        "expected {expected:?} to be up, found {seen:?}; log:\n{}",
        stage.balancer.process().log_tail(20)
    );
    Ok(())
}

fn name(stage: &Stage) -> Result<NameStatus> {
    let names = stage.balancer.status(&stage.lab)?.names;
    names.into_iter().find(|name| name.name == NAME).context("the name is not in the status")
}

/// Addresses come and go with the answers, and no request and no connection notices.
fn follow(place: Place) -> Result<()> {
    let (server, stage) = stage(place, 2)?;
    until_up(&stage, &[0, 1])?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[0] > 0 && shares[1] > 0 && shares[2] == 0, "{shares:?}");

    let traffic = Traffic::start(&stage)?;
    let address = |index: usize| stage.lab.replicas()[index].address();
    server.say(&[address(1), address(2)])?;
    until_up(&stage, &[1, 2])?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[0] == 0 && shares[1] > 0 && shares[2] > 0, "{shares:?}");
    server.say(&[address(0), address(1), address(2)])?;
    until_up(&stage, &[0, 1, 2])?;
    ensure!(traffic.was_not_disturbed(&stage)? > 100, "there was hardly any load");

    let replica = stage.balancer.status(&stage.lab)?.services[0].replicas[0].clone();
    ensure!(replica.host_name.as_deref() == Some(NAME), "{replica:?}");
    let found = name(&stage)?;
    ensure!(found.addresses.len() == 3 && found.error.is_none() && found.age_seconds.is_some(), "{found:?}");
    // A VIP is no replica.
    server.say(&[address(0), stage.lab.vip()])?;
    until_up(&stage, &[0])?;
    let log = stage.balancer.process().log_tail(50);
    ensure!(log.contains("is a VIP of service"), "{log}");
    Ok(())
}

/// Without DNS nothing changes, not even by a restart; without any answer the agent starts all the same.
fn without_dns(place: Place) -> Result<()> {
    let (mut server, mut stage) = stage(place, 3)?;
    until_up(&stage, &[0, 1, 2])?;
    let traffic = Traffic::start(&stage)?;
    server.end()?;
    let noticed = until(FOLLOWED_WITHIN, || name(&stage).is_ok_and(|name| name.error.is_some()));
    ensure!(noticed, "that DNS is gone is not told: {:?}", name(&stage)?);
    until_up(&stage, &[0, 1, 2])?;

    // The next agent has never had an answer itself.
    stage.balancer.process().kill()?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    until_up(&stage, &[0, 1, 2])?;
    let found = name(&stage)?;
    ensure!(found.addresses.len() == 3, "{found:?}");
    ensure!(traffic.was_not_disturbed(&stage)? > 100, "there was hardly any load");

    // Nor is there anything that an earlier one has kept.
    stage.balancer.detach(&stage.lab)?;
    let Stage { lab, balancer } = &mut stage;
    balancer.start_again(lab)?;
    let status = balancer.status(lab)?;
    ensure!(status.services.iter().all(|service| service.replicas.is_empty()), "{status:?}");
    let text = String::from_utf8(balancer.command(lab, &["status"])?.stdout)?;
    ensure!(text.contains(&format!("name {NAME} no answer yet; DNS: ")), "{text}");
    // It still knows what it knew.
    server.begin(&stage.lab)?;
    // It is asked for again after half a minute at the latest.
    let back = until(Duration::from_secs(32), || name(&stage).is_ok_and(|name| name.error.is_none()));
    ensure!(back, "DNS is back, and nobody has noticed: {:?}", name(&stage)?);
    until_up(&stage, &[0, 1, 2])?;
    stage.whoami("http")?;
    Ok(())
}
