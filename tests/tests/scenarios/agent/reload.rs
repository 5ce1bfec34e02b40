//! The config file is changed under a running agent.

use std::{net::TcpStream, path::PathBuf, process::Output, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_common::abi::{self, LAYOUT_VERSION, MaglevTable, Service, ServiceKey, Settings, map};
use dtr_lb_tests::{
    balancer::UP_WITHIN,
    lab::{BackgroundLoad, CurlOutcome, until},
};
use nix::sys::signal::Signal;

use super::expect;
use crate::{Place, Stage};

/// Connections that show who gets some: see `health::CONNECTIONS`.
const CONNECTIONS: usize = 300;
/// From the answer that a config is applied until the datapath goes by it: for as long as it waits for first probes.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// What goes on while the config changes, and must not notice.
pub(crate) struct Traffic {
    load: BackgroundLoad,
    download: thread::JoinHandle<Result<CurlOutcome, dtr_lb_tests::lab::Error>>,
    whole: Vec<u8>,
}

impl Traffic {
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let client = stage.lab.client().clone();
        let url = stage.url("https", "slow/big?rate=1m");
        Ok(Self {
            whole: std::fs::read(stage.lab.big_file())?,
            download: thread::spawn(move || client.curl(&url, &["--max-time", "60"])),
            load: stage.lab.client().background_load(
                stage.http(),
                Duration::from_millis(2),
                Duration::from_secs(3),
            )?,
        })
    }

    /// No request has failed, and the download is whole. Says how many requests there were.
    pub(crate) fn was_not_disturbed(self, stage: &Stage) -> Result<usize> {
        let outcome =
            self.download.join().map_err(|_| anyhow::anyhow!("the download's thread panicked"))??;
        ensure!(
            outcome.is_ok() && outcome.body == self.whole,
            "the download failed: {} {}",
            outcome.exit,
            outcome.stderr
        );
        let requests = self.load.stop();
        let count = requests.len();
        let failed: Vec<_> = requests.into_iter().filter(|request| request.outcome.is_err()).collect();
        ensure!(
            failed.is_empty(),
            "{} of {count} requests failed, the first: {:?}; the agent's log:\n{}",
            failed.len(),
            failed[0],
            stage.balancer.process().log_tail(30)
        );
        Ok(count)
    }
}

/// Replicas come, go and get other weights, a service and a VIP come and go, and nobody notices.
pub(super) fn under_load(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let traffic = Traffic::start(&stage)?;
    let original = stage.balancer.config_text()?;

    let third = original.find("[[replica]]\nname = \"r3\"").context("the config has a third replica")?;
    reload(&stage, &original[..third], &["service `http`: replica `r3`", "removed"])?;
    let gone = until(APPLIED_WITHIN, || stage.shares(CONNECTIONS).is_ok_and(|shares| shares[2] == 0));
    ensure!(gone, "a replica that is gone gets connections: {:?}", stage.shares(CONNECTIONS)?);

    reload(&stage, &original, &["service `https`: replica `r3`", "added"])?;
    stage.wait_for_state("r3", "up", UP_WITHIN)?;
    let back = until(APPLIED_WITHIN, || stage.shares(CONNECTIONS).is_ok_and(|shares| shares[2] > 0));
    ensure!(back, "a replica that was added gets none");

    let first = original.replacen("weight = 100", "weight = 0", 1);
    reload(&stage, &first, &["replica `r1`", "weight: 100 → 0"])?;
    stage.wait_for_state("r1", "draining", APPLIED_WITHIN)?;
    let shares = stage.shares(CONNECTIONS)?;
    ensure!(shares[0] == 0 && shares[1] > 0, "weight 0 gets connections: {shares:?}");

    let vip = add_vip(&stage)?;
    let more =
        format!("{original}[[service]]\nname = \"more\"\nport = 8080\nreplica_port = 80\nvip = \"{vip}\"\n");
    reload(&stage, &more, &["service `more`", "added, to 3 replicas by nat"])?;
    let address = (vip, 8080).into();
    let tally = stage.lab.client().connections(address, 30, 4)?;
    ensure!(tally.errors.is_empty(), "the new VIP: {:?}", tally.errors);
    reload(&stage, &original, &["service `more`", "removed"])?;
    let refused = || stage.lab.client().namespace().run(|| TcpStream::connect(address).is_err());
    ensure!(until(APPLIED_WITHIN, || refused().unwrap_or(false)), "a service that is gone is still there");

    let nothing = stage.balancer.command(&stage.lab, &["reload"])?;
    expect_out(&nothing, &["nothing has changed"])?;
    ensure!(traffic.was_not_disturbed(&stage)? > 100, "there was hardly any load");
    stage.nothing_dropped()
}

/// All replicas are given others' addresses at once: the datapath waits for the first probes, and no request fails.
pub(super) fn all_replicas_at_once(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = stage.balancer.config_text()?;
    let second = original.find("[[replica]]\nname = \"r2\"").context("the config has a second replica")?;
    reload(&stage, &original[..second], &["replica `r2`", "removed"])?;
    stage.shares(30)?;
    let traffic = Traffic::start(&stage)?;
    let first = original.find("[[replica]]\nname = \"r1\"").context("the config has a first replica")?;
    let others = format!("{}{}", &original[..first], &original[second..]);
    reload(&stage, &others, &["replica `r1`", "removed", "replica `r2`", "replica `r3`", "added"])?;
    let moved = until(APPLIED_WITHIN, || {
        stage.shares(CONNECTIONS).is_ok_and(|shares| shares[0] == 0 && shares[1] > 0 && shares[2] > 0)
    });
    ensure!(moved, "new connections go to {:?}", stage.shares(CONNECTIONS)?);
    let requests = traffic.was_not_disturbed(&stage)?;
    ensure!(requests > 100, "{requests} requests are hardly any load");
    stage.nothing_dropped()
}

/// A config that is not valid, or asks for what cannot be, changes nothing, and its whole error is told.
pub(super) fn bad(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = stage.balancer.config_text()?;
    let before = (Maps::read(&stage)?, stage.balancer.command(&stage.lab, &["replica", "list"])?.stdout);
    let pid = stage.balancer.process().pid();
    let other = |from: &str, to: &str| original.replacen(from, to, 1);
    let cases = [
        (
            original.replace("weight = 100", "weight = 300"),
            &["replica[0].weight = 300", "replica[2].weight = 300"][..],
        ),
        (other("weight = 100", "wieght = 100"), &["did you mean", "wieght"]),
        ("this is no TOML".into(), &["dtr-lb.toml:1:"]),
        (other("max_flows = 65536", "max_flows = 4096"), &["datapath.max_flows", "65536", "detach"]),
        (other("interfaces = [", "interfaces = [\"none9\", "), &["none9"]),
        (
            other("max_flows", "nat_addresses = [\"192.0.2.99\", \"2001:db8::99\"]\nmax_flows"),
            &["192.0.2.99"],
        ),
        (other("socket = \"", "socket = \"/nowhere"), &["agent.socket", "restart the agent"]),
    ];
    for (text, words) in cases {
        stage.balancer.write_config_text(&text)?;
        let output = stage.balancer.command(&stage.lab, &["reload", "--socket", &stage.socket()])?;
        let status = if text.contains("none9") { 1 } else { 2 };
        expect(&output, status, words)?;
        ensure!(Maps::read(&stage)? == before.0, "the maps have changed by {words:?}");
    }
    stage.balancer.process().signal(Signal::SIGHUP)?;
    let told = until(APPLIED_WITHIN, || {
        stage
            .balancer
            .log_lines(&["ERROR", "agent.socket", "the config was not reloaded"])
            .is_ok_and(|lines| lines.len() == 2)
    });
    ensure!(told, "SIGHUP with a bad config is not in the log:\n{}", stage.balancer.process().log_tail(10));
    stage.balancer.write_config_text(&original)?;
    let list = stage.balancer.command(&stage.lab, &["replica", "list"])?.stdout;
    ensure!(list.len() == before.1.len(), "{}", String::from_utf8_lossy(&list));
    ensure!(stage.balancer.process().pid() == pid && stage.balancer.process().is_running());
    stage.shares(100)?;
    ensure!(Maps::read(&stage)? == before.0, "the maps have changed");

    stage.balancer.write_config_text(&other("weight = 100", "weight = 0"))?;
    stage.balancer.process().signal(Signal::SIGHUP)?;
    stage.wait_for_state("r1", "draining", APPLIED_WITHIN)?;
    Ok(())
}

/// The datapath moves to the other hook, to one interface more and one less, and nobody notices.
pub(super) fn hook_and_interfaces(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = stage.balancer.config_text()?;
    stage.lab.balancer().ip(&["link", "add", "extra0", "type", "veth", "peer", "name", "extra1"])?;
    let traffic = Traffic::start(&stage)?;
    let hooks = || -> Result<Vec<(String, String)>> {
        let attach = stage.balancer.status(&stage.lab)?.datapath.attach;
        Ok(attach.into_iter().map(|attach| (attach.interface, attach.hook)).collect())
    };
    let before = hooks()?;
    let (own, other) = match place.hook {
        Hook::Tc => ("tc", "xdp"),
        Hook::NativeXdp | Hook::GenericXdp => ("xdp", "tc"),
    };
    let moved = original.replacen(&format!("attach = \"{own}\""), &format!("attach = \"{other}\""), 1);
    reload(&stage, &moved, &["datapath.attach"])?;
    ensure!(hooks()?.iter().all(|(_, hook)| hook == other), "{:?}", hooks()?);
    stage.shares(100)?;
    let more = original.replacen("interfaces = [", "interfaces = [\"extra0\", ", 1);
    reload(&stage, &more, &["interfaces:", "extra0", "datapath.attach"])?;
    ensure!(hooks()?.contains(&("extra0".into(), own.into())), "{:?}", hooks()?);
    stage.shares(100)?;
    reload(&stage, &original, &["interfaces:"])?;
    ensure!(hooks()? == before, "{:?}", hooks()?);
    if place.hook == Hook::NativeXdp {
        let link = stage.lab.balancer().ip(&["-details", "link", "show", "extra0"])?;
        ensure!(!link.contains("prog/xdp"), "a program is left on it: {link}");
    }
    stage.shares(100)?;
    traffic.was_not_disturbed(&stage)?;
    Ok(())
}

/// The range of NAT ports becomes another one: connections with ports of the old one go on.
pub(super) fn nat_ports(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let original = stage.balancer.config_text()?;
    let traffic = Traffic::start(&stage)?;
    let other = original.replacen("max_flows", "nat_ports = \"2000-4000\"\nmax_flows", 1);
    reload(&stage, &other, &["datapath.nat_ports: 1024-32767 → 2000-4000"])?;
    stage.shares(100)?;
    reload(&stage, &original, &["datapath.nat_ports"])?;
    stage.shares(100)?;
    traffic.was_not_disturbed(&stage)?;
    Ok(())
}

/// Writes the file, has it read, and looks whether the answer has all of these.
pub(super) fn reload(stage: &Stage, text: &str, words: &[&str]) -> Result<()> {
    stage.balancer.write_config_text(text)?;
    let output = stage.balancer.command(&stage.lab, &["reload"])?;
    expect_out(&output, words)
}

pub(super) fn expect_out(output: &Output, words: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{output:?}");
    for word in words {
        ensure!(text.contains(word), "`{word}` is not in:\n{text}");
    }
    Ok(())
}

/// An address that clients have a way to, beside the VIPs that are there.
fn add_vip(stage: &Stage) -> Result<std::net::IpAddr> {
    let std::net::IpAddr::V4(vip) = stage.lab.vip() else { anyhow::bail!("the lab's VIP is not IPv4") };
    let [a, b, c, _] = vip.octets();
    let vip = std::net::IpAddr::from([a, b, c, 250]);
    let (interface, _) = stage.lab.balancer_interfaces().next().context("the balancer has an interface")?;
    stage.lab.balancer().ip(&["address", "add", &format!("{vip}/32"), "dev", interface])?;
    Ok(vip)
}

/// What the maps say that packets go by.
#[derive(PartialEq)]
struct Maps {
    settings: Settings,
    services: Vec<(ServiceKey, Service)>,
    tables: Vec<Vec<u8>>,
    replicas: Vec<abi::Replica>,
}

impl Maps {
    fn read(stage: &Stage) -> Result<Self> {
        let directory: PathBuf = stage.lab.bpffs().join(format!("dtr-lb/v{LAYOUT_VERSION}/maps"));
        let open = |name: &str| -> Result<MapData> {
            MapData::from_pin(directory.join(name)).with_context(|| format!("opening {name}"))
        };
        let services: HashMap<_, ServiceKey, Service> =
            HashMap::try_from(Map::HashMap(open(map::SERVICES)?))?;
        let services = services.iter().collect::<Result<Vec<_>, _>>()?;
        let tables: Array<_, MaglevTable> = Array::try_from(Map::Array(open(map::TABLES)?))?;
        let table = |service: &(ServiceKey, Service)| -> Result<Vec<u8>> {
            Ok(bytemuck::bytes_of(&tables.get(&service.1.table, 0)?).to_vec())
        };
        let replicas: Array<_, abi::Replica> = Array::try_from(Map::Array(open(map::REPLICAS)?))?;
        let settings: Array<_, Settings> = Array::try_from(Map::Array(open(map::SETTINGS)?))?;
        Ok(Self {
            settings: settings.get(&0, 0)?,
            tables: services.iter().map(table).collect::<Result<_>>()?,
            services,
            replicas: replicas.iter().collect::<Result<_, _>>()?,
        })
    }
}
