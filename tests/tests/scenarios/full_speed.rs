//! Two attackers that send SYNs from sources that are nobody's, as fast as the machine can: connections live, new ones are opened,
//! no replica is held to be ill, and the agent stays small.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::{BalancerOptions, service_with},
    lab::{Flood, FloodReport, LabOptions, Tally, whoami},
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

const SECONDS: Duration = Duration::from_secs(8);
/// Of each of the two senders.
const SOURCES: usize = 500_000;
/// Connections that are there before.
const ESTABLISHED: usize = 90;
/// New connections, one after the other, and at once.
const SEQUENTIAL: usize = 60;
const CONCURRENT: usize = 200;
/// A SYN that was lost is sent again after a second.
const SLOWEST: Duration = Duration::from_millis(1100);
/// Memory of the agent's own, in KiB: without the program, which is large in a debug build, and the mapped flow table.
const AGENT: u64 = 40 * 1024;

/// The attack, and what the clients saw meanwhile.
pub(crate) struct Siege {
    pub(crate) reports: Vec<FloodReport>,
    pub(crate) sequential: Tally,
    pub(crate) concurrent: Tally,
}

/// Two senders flood these ports of one address, while a client of the lab connects to the first.
pub(crate) fn besiege(lab: &dtr_lb_tests::lab::Lab, targets: &[SocketAddr]) -> Result<Siege> {
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

fn harmless(place: Place, services: u16) -> Result<()> {
    let lab = LabOptions { clients: 3, ..place.lab_options().without_registry() };
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
