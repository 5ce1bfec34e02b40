//! Two attackers that send SYNs from sources that are nobody's, as fast as the machine can: connections live, new ones are opened,
//! no replica is held to be ill, and the agent stays small.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::{BalancerOptions, service_with},
    lab::{Flood, FloodReport, Lab, LabOptions, Tally, until, whoami},
};

use crate::{
    BOTH_HOOKS, Place, Scenario, Stage,
    session::{Session, all_live},
};

/// Each has the machine to itself.
pub(crate) const SCENARIOS: &[Scenario] = &[
    ("two_senders_at_full_speed_harm_nobody", BOTH_HOOKS, |place| harmless(place, 1)),
    ("a_million_sources_flood_ten_services_in_vain", &[Place::XDP_ONE_ARM], |place| harmless(place, 10)),
];

/// Not tests: what proxies in the same place make of the same attack. They need `haproxy`, and nginx's module `stream`
/// (`libnginx-mod-stream`).
pub(crate) const COMPARED: &[Scenario] = &[
    ("haproxy_at_full_speed", &[Place::XDP_ONE_ARM], |place| compared(place, "haproxy")),
    ("nginx_at_full_speed", &[Place::XDP_ONE_ARM], |place| compared(place, "nginx")),
];

const SECONDS: Duration = Duration::from_secs(8);
/// Of each of the two senders.
const SOURCES: usize = 500_000;
/// Connections that are there before.
const ESTABLISHED: usize = 90;
/// New connections, one after the other, and at once.
const SEQUENTIAL: usize = 60;
const CONCURRENT: usize = 200;
/// A SYN may be lost, which is sent again after a second.
const SLOWEST: Duration = Duration::from_millis(1100);
/// Queues of a cable for each processor: a veth's holds 256 frames under XDP, a network card's a thousand and more.
const CARD_QUEUES: usize = 4;
/// Memory of the agent's own, in KiB: without the program, which is large in a debug build, and the mapped flow table.
const AGENT: u64 = 40 * 1024;

/// The attack, and what the clients saw meanwhile.
pub(crate) struct Siege {
    pub(crate) reports: Vec<FloodReport>,
    pub(crate) sequential: Tally,
    pub(crate) concurrent: Tally,
}

/// Two senders flood these ports of one address, while a client of the lab connects to the first.
pub(crate) fn besiege(lab: &Lab, targets: &[SocketAddr]) -> Result<Siege> {
    let floods = lab.clients()[1..]
        .iter()
        .zip(1..)
        .map(|(attacker, seed)| Flood::at_full_speed(attacker.namespace(), targets, SECONDS, SOURCES, seed));
    let floods = floods.collect::<Result<Vec<_>, _>>()?;
    let target = *targets.first().context("a target")?;
    let client = lab.client();
    let begun = Instant::now();
    let sequential = client
        .namespace()
        .run(|| (0..SEQUENTIAL).map(|_| whoami(target, Duration::from_secs(8))).collect::<Tally>())?;
    let concurrent = client.connections(target, CONCURRENT, CONCURRENT)?;
    ensure!(begun.elapsed() < 4 * SECONDS, "the clients took {:?}", begun.elapsed());
    let reports = floods.into_iter().map(Flood::finish).collect::<Result<Vec<_>, _>>()?;
    Ok(Siege { reports, sequential, concurrent })
}

/// A client and two attackers.
fn lab(place: Place) -> LabOptions {
    let queues = CARD_QUEUES * std::thread::available_parallelism().map_or(1, usize::from);
    LabOptions { clients: 3, queues, ..place.lab_options().without_registry() }
}

fn harmless(place: Place, services: u16) -> Result<()> {
    let lab = lab(place);
    let ports = || (0..services).map(|number| if number == 0 { 80 } else { 8080 + number });
    let tables: String =
        ports().map(|port| service_with(&format!("http-{port}"), "http", port, 80, "")).collect();
    let stage = place.stage_with(lab, &BalancerOptions { services: tables, ..place.options() })?;
    let vip = stage.lab.vip();
    let targets: Vec<SocketAddr> = ports().map(|port| (vip, port).into()).collect();
    let sessions = (0..ESTABLISHED).map(|_| Session::open(&stage, vip)).collect::<Result<Vec<_>>>();
    let mut sessions = sessions?;
    let before = changes(&stage)?;
    let Siege { reports, sequential, concurrent } = besiege(&stage.lab, &targets)?;
    let status = stage.balancer.status(&stage.lab)?;
    // What did not happen is left out.
    let verdicts: Vec<_> = status.verdicts.iter().filter(|(_, count)| **count > 0).collect();
    let told =
        format!("{reports:?}; sequential: {sequential:?}; concurrent: {concurrent:?}; verdicts {verdicts:?}");
    println!("{}: {told}", place.name());
    for (what, tally) in [("sequential", &sequential), ("concurrent", &concurrent)] {
        ensure!(tally.errors.is_empty(), "{what} connections failed: {told}");
        ensure!(tally.slowest < SLOWEST, "{what} connections were slow: {told}");
    }
    all_live(&stage, sessions.iter_mut())?;
    let after = changes(&stage)?;
    ensure!(before == after, "replicas changed their states: {after:?}; {told}");
    ensure!(status.verdicts.get("answered_challenge").is_some_and(|count| *count > 1000), "{told}");
    let resident = stage.balancer.process().figure("RssAnon:")?;
    println!("{}: the agent has {resident} KiB of its own", place.name());
    ensure!(resident < AGENT, "the agent has {resident} KiB; {told}");
    Ok(())
}

/// What replicas have become, since the start.
fn changes(stage: &Stage) -> Result<Vec<String>> {
    let replicas = stage.replica_statuses()?;
    Ok(replicas
        .into_iter()
        .flat_map(|replica| {
            let name = replica.name;
            replica
                .history
                .into_iter()
                .map(move |change| format!("{name} {} -> {}: {}", change.from, change.to, change.reason))
        })
        .collect())
}

/// A proxy in the place of dtr-lb, with as many worker processes as there are processors.
fn compared(place: Place, proxy: &str) -> Result<()> {
    let lab = Lab::create(lab(place))?;
    let target: SocketAddr = (lab.vip(), 80).into();
    let replicas = || lab.replicas().iter().map(|replica| (replica.name(), replica.address()));
    let file = lab.directory().join(format!("{proxy}.conf"));
    let (text, arguments) = if proxy == "haproxy" {
        let servers: String = replicas()
            .map(|(name, address)| format!("  server {name} {address}:80 check inter 2s\n"))
            .collect();
        let text = format!(
            "global\n  nbthread 2\n  maxconn 8000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\nlisten http\n  bind {target} backlog 4096\n{servers}"
        );
        (text, vec!["-db", "-f"])
    } else {
        let servers: String = replicas().map(|(_, address)| format!("    server {address}:80;\n")).collect();
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nuser root;\nworker_processes 2;\ndaemon off;\n\
             pid {0}/compared.pid;\nerror_log {0}/compared.log;\nevents {{ worker_connections 20000; }}\nstream {{\n  \
             upstream replicas {{\n{servers}  }}\n  server {{\n    listen {target} backlog=4096;\n    proxy_timeout 1h;\n    \
             proxy_pass replicas;\n  }}\n}}\n",
            lab.directory().display()
        );
        (text, vec!["-c"])
    };
    std::fs::write(&file, text)?;
    let mut command = lab.balancer().command(proxy);
    command.args(arguments).arg(&file);
    let process = lab.spawn(proxy, command)?;
    let up = until(Duration::from_secs(5), || {
        let asked = lab.client().namespace().run(|| whoami(target, Duration::from_secs(1)));
        asked.is_ok_and(|request| request.outcome.is_ok())
    });
    ensure!(up, "{proxy} does not serve: {}", process.log_tail(5));
    let Siege { reports, sequential, concurrent } = besiege(&lab, &[target])?;
    let told = |tally: &Tally| {
        let answered: usize = tally.replicas.values().sum();
        format!("{answered} answered, {} failed, the slowest took {:.1?}", tally.errors.len(), tally.slowest)
    };
    let sent: Vec<_> = reports.iter().map(|report| report.rate().round()).collect();
    println!(
        "{proxy}: {sent:?} SYN/s; {SEQUENTIAL} one by one: {}; {CONCURRENT} at once: {}",
        told(&sequential),
        told(&concurrent)
    );
    Ok(())
}
