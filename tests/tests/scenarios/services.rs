//! Who may use which service, and which replica answers whom.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::{DOWN_WITHIN, service_with, services_with},
    lab::{Families, LabOptions, Topology, literal},
};

use crate::{BOTH_HOOKS, CROSSWISE, EVERYWHERE, Place, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // Both directions of a flow come in by the same interface, and with two arms by the other one than usual.
    ("a_replica_that_is_a_client", EVERYWHERE, hairpin),
    // These are the choice of a replica, which no hook or topology has a part in.
    ("several_vips_and_services", CROSSWISE, several),
    ("an_address_keeps_its_replica", BOTH_HOOKS, affinity),
    ("allow_and_deny", CROSSWISE, sources),
];

/// A replica connects to the VIP. Any replica may answer, and that includes itself.
fn hairpin(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let replica = &stage.lab.replicas()[0];
    let vip = stage.lab.vip();
    if place.topology == Topology::TwoArm {
        // A replica has no way to the clients' segment: its operator gives it one.
        replica.namespace().ip(&["route", "add", &vip.to_string(), "via", "10.77.2.2"])?;
    }
    let client = stage.lab.client_in(replica.namespace());
    let tally = client.connections((vip, 80).into(), 100, 4)?;
    ensure!(tally.errors.is_empty(), "{} failed: {:?}", tally.errors.len(), tally.errors.first());
    // That 100 connections miss one of three replicas has a probability of 3 * (2/3)^100 = 7e-18.
    ensure!(tally.replicas.len() == 3, "answered by {:?}", tally.replicas);
    let big = client.curl(&format!("https://{vip}/big"), &["--max-time", "20"])?;
    let whole = std::fs::read(stage.lab.big_file())?;
    ensure!(big.is_ok() && big.body == whole, "{} bytes of {}: {}", big.body.len(), whole.len(), big.stderr);
    Ok(())
}

/// Three VIPs; one has two services, one has a service of its own, one has none.
fn several(place: Place) -> Result<()> {
    let lab = LabOptions { vips: 3, ..place.family_options(Families::V4) };
    let vips: Vec<IpAddr> = match place.topology {
        Topology::OneArm => ["10.77.0.10", "10.77.0.9", "10.77.0.8"],
        Topology::TwoArm => ["10.77.1.10", "10.77.1.9", "10.77.1.8"],
    }
    .iter()
    .map(|vip| vip.parse())
    .collect::<Result<_, _>>()?;
    let mut options = place.options();
    let service = |name: &str, port: u16, vip: usize, replicas: &str| {
        let keys = format!("vip = \"{}\"\nreplicas = [{replicas}]", vips[vip]);
        service_with(name, "http", port, 80, &keys)
    };
    options.services = service("first", 80, 0, "\"r1\"")
        + &service("first-8080", 8080, 0, "\"r2\"")
        + &service("second", 80, 1, "\"r2\", \"r3\"");
    let stage = place.stage_with(lab, &options)?;
    ensure!(stage.lab.vips() == vips, "{:?}", stage.lab.vips());
    let answers = |vip: IpAddr, port: u16| -> Result<BTreeSet<String>> {
        let tally = stage.lab.client().connections((vip, port).into(), 60, 4)?;
        ensure!(tally.errors.is_empty(), "{vip} port {port}: {:?}", tally.errors.first());
        Ok(tally.replicas.into_keys().collect())
    };
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    ensure!(answers(vips[0], 80)? == set(&["r1"]), "the first service");
    ensure!(answers(vips[0], 8080)? == set(&["r2"]), "the first VIP's other service");
    ensure!(answers(vips[1], 80)? == set(&["r2", "r3"]), "the second VIP");
    for (vip, port) in [(vips[1], 8080), (vips[2], 80)] {
        let refused =
            stage.lab.client().curl(&format!("http://{vip}:{port}/whoami"), &["--max-time", "3"])?;
        ensure!(refused.exit == 7, "{vip} port {port} is no service: {refused:?}");
    }
    Ok(())
}

/// Each of eight clients has one replica for all its connections to both services, and not all have the same; when it goes,
/// its clients get another one, and the other clients keep theirs.
fn affinity(place: Place) -> Result<()> {
    let lab = LabOptions { clients: 8, ..place.family_options(Families::V4) };
    let mut options = place.options();
    options.services = services_with("affinity = \"source-ip\"");
    let stage = place.stage_with(lab, &options)?;
    let replicas = |stage: &Stage| -> Result<Vec<String>> {
        let of = |client: &dtr_lb_tests::lab::Client| -> Result<String> {
            let tally = client.connections((stage.lab.vip(), 80).into(), 25, 4)?;
            ensure!(tally.errors.is_empty(), "{:?}", tally.errors.first());
            ensure!(tally.replicas.len() == 1, "{}: {:?}", client.address(), tally.replicas);
            tally.replicas.into_keys().next().context("no replica")
        };
        stage.lab.clients().iter().map(of).collect()
    };
    let before = replicas(&stage)?;
    let distinct: BTreeSet<_> = before.iter().collect();
    // All of eight on one of three: 3^-7, and the same in each run.
    ensure!(distinct.len() > 1, "all clients have {before:?}");
    let gone = before[0].clone();
    stage.lab.replica(&gone).context("a replica of the lab")?.sicken()?;
    stage.wait_for_state(&gone, "down", DOWN_WITHIN)?;
    for (was, is) in before.iter().zip(replicas(&stage)?) {
        ensure!((*was != gone) == (*was == is), "{gone} is gone: {was} became {is}");
    }
    Ok(())
}

/// The first client is denied, in both families, the second one is not; and where it is the other way round in the config,
/// it is the other way round here.
fn sources(place: Place) -> Result<()> {
    let lab = LabOptions { clients: 2, ..place.family_options(Families::Dual) };
    let (client, second) = match place.topology {
        Topology::OneArm => (["10.77.0.100", "fd77::100"], ["10.77.0.101", "fd77::101"]),
        Topology::TwoArm => (["10.77.1.100", "fd77:0:1::100"], ["10.77.1.101", "fd77:0:1::101"]),
    };
    let mut options = place.options();
    options.services = service_with("http", "http", 80, 80, &format!("deny = {client:?}"))
        + &service_with("https", "https", 443, 443, &format!("allow = {client:?}"));
    let stage = place.stage_with(lab, &options)?;
    let clients = stage.lab.clients();
    ensure!(clients[0].address().to_string() == client[0] && clients[1].address().to_string() == second[0]);
    for &vip in stage.lab.vips() {
        for (scheme, first_may) in [("http", false), ("https", true)] {
            let url = format!("{scheme}://{}/whoami", literal(vip));
            for (client, may) in clients.iter().zip([first_may, !first_may]) {
                let limit = if may { "5" } else { "1" };
                let outcome = client.curl(&url, &["--max-time", limit])?;
                ensure!(outcome.is_ok() == may, "{} {url}: may is {may}: {outcome:?}", client.address());
                ensure!(may || outcome.http_code == 0, "{} {url}: {outcome:?}", client.address());
            }
        }
    }
    // The probes are the balancer's own, and nobody denies them.
    for replica in stage.replica_statuses()? {
        ensure!(replica.state == "up", "{replica:?}");
    }
    Ok(())
}
