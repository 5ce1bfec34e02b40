//! Mode `dnat`: replicas see the client itself and answer by the balancer, which is their route to it.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    balancer::{Balancer, DOWN_WITHIN, UP_WITHIN, services_with},
    lab::{Families, Lab, LabOptions, Namespace, Replica, Router, Topology, until},
};

use crate::{
    CROSSWISE, EVERYWHERE, Place, Scenario, Stage, health,
    sizes::{self, NARROW},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("dnat_serves_and_the_replicas_see_the_client", EVERYWHERE, |place| serves(place, Families::V4)),
    ("dnat_serves_ipv6", EVERYWHERE, |place| serves(place, Families::V6)),
    ("dnat_a_refusal_is_not_noticed", CROSSWISE, |place| fails(place, |replica| Ok(replica.kill()?))),
    ("dnat_silence_costs_a_second_at_most", CROSSWISE, |place| fails(place, |replica| Ok(replica.cut()?))),
    ("dnat_a_replica_without_a_route_here_is_named", CROSSWISE, without_route),
    ("dnat_a_replica_that_answers_its_clients_another_way_is_named", CROSSWISE, another_way),
    ("dnat_a_download_through_a_narrow_way", CROSSWISE, |place| narrow_to_clients(place, Families::V4)),
    ("dnat_a_download_through_a_narrow_way_over_ipv6", CROSSWISE, |place| {
        narrow_to_clients(place, Families::V6)
    }),
    ("dnat_an_upload_through_a_narrow_way", CROSSWISE, |place| narrow_to_replicas(place, Families::V4)),
    ("dnat_an_upload_through_a_narrow_way_over_ipv6", CROSSWISE, |place| {
        narrow_to_replicas(place, Families::V6)
    }),
];

/// A lab whose replicas reach clients by the balancer. On one segment with it they would answer clients there directly, so that
/// these are behind a router.
fn lab(place: Place, options: LabOptions) -> Result<Lab> {
    let router = (place.topology == Topology::OneArm).then(Router::default);
    let lab = Lab::create(LabOptions { router: options.router.or(router), ..options })?;
    // Replicas behind a router have their route by it, and it has it by the balancer.
    let router = lab.namespaces().find(|(name, _)| *name == "rrouter").map(|(_, router)| router);
    for (at, replica) in lab.replicas().iter().enumerate() {
        match router {
            Some(router) if at == 0 => set_route(&lab, router, replica.address())?,
            Some(_) => {}
            None => set_route(&lab, replica.namespace(), replica.address())?,
        }
    }
    Ok(lab)
}

/// Sets the default route of the family of `address` by the balancer.
fn set_route(lab: &Lab, host: &Namespace, address: IpAddr) -> Result<()> {
    let by = balancer_beside(lab, address)?.to_string();
    host.ip(&[family(address), "route", "add", "default", "via", &by])?;
    Ok(())
}

/// The balancer's address on the replicas' side, of the family of `address`.
fn balancer_beside(lab: &Lab, address: IpAddr) -> Result<IpAddr> {
    let (_, addresses) = lab.balancer_interfaces().last().context("the balancer has interfaces")?;
    let mut own = addresses.iter().map(|cidr| cidr.address).filter(|own| !lab.vips().contains(own));
    own.find(|own| own.is_ipv4() == address.is_ipv4()).context("it has an address of each family")
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

fn stage(place: Place, families: Families) -> Result<Stage> {
    stage_with(place, place.family_options(families))
}

fn stage_with(place: Place, options: LabOptions) -> Result<Stage> {
    let lab = lab(place, options)?;
    let mut options = place.options();
    options.services = services_with("mode = \"dnat\"");
    let balancer = Balancer::start(&lab, &options)?;
    Ok(Stage { lab, balancer })
}

/// Requests, a download and an upload, by a balancer that does not forward by itself; the replicas see the client with its own
/// port, and the VIP as who probes.
fn serves(place: Place, families: Families) -> Result<()> {
    let stage = stage(place, families)?;
    let vip = stage.lab.vip();
    stage.carries_all_at(vip)?;
    let shares = stage.shares(300)?;
    ensure!(shares.iter().all(|share| *share > 0), "{shares:?}");
    stage.nothing_dropped()?;
    let replicas = stage.replica_statuses()?;
    ensure!(
        replicas.iter().all(|replica| replica.state == "up" && replica.warning.is_none()),
        "{replicas:?}"
    );
    for replica in stage.lab.replicas() {
        for line in replica.access_log()? {
            let from = if line.uri == "/health" { vip } else { stage.lab.client().address() };
            ensure!(line.source == from, "{} saw {line:?} and not {from}", replica.name());
        }
    }
    let listing = stage.flows(&["--half-open"])?;
    ensure!(!listing.flows.is_empty(), "nothing is listed");
    for flow in &listing.flows {
        ensure!(flow.mode == "dnat" && flow.nat.is_none(), "{flow:?}");
    }
    Ok(())
}

fn fails(place: Place, fail: fn(&Replica) -> Result<()>) -> Result<()> {
    let stage = stage(place, Families::V4)?;
    health::unnoticed(&stage, || fail(&stage.lab.replicas()[1])).map(drop)
}

/// The usual mistake: nothing was set on the replica. Its probes say so, as it is not dead.
fn without_route(place: Place) -> Result<()> {
    let stage = stage(place, Families::V4)?;
    let (vip, replica) = (stage.lab.vip(), &stage.lab.replicas()[1]);
    // With one arm the VIP is on the replica's segment: there a route of its own leads away from here.
    let to_vip = format!("{vip}/32");
    replica.namespace().ip(&["route", "add", "blackhole", &to_vip])?;
    stage.wait_for_state("r2", "down", DOWN_WITHIN)?;
    let words = format!("answers {vip} past this balancer: its route to it does not lead here");
    let mut reason = None;
    let named = until(DOWN_WITHIN, || {
        reason = stage.balancer.replica(&stage.lab, "http", "r2").ok().and_then(|replica| replica.last_probe);
        reason.as_ref().is_some_and(|probe| probe.error.as_ref() == Some(&words))
    });
    ensure!(named, "the last probe says {reason:?}, and not `{words}`");
    let check = stage.balancer.command(&stage.lab, &["check", "--probe"])?;
    let told = String::from_utf8_lossy(&check.stderr);
    ensure!(told.lines().any(|line| line.contains("replica r2") && line.contains(&words)), "{told}");
    ensure!(stage.shares(300)?[1] == 0, "it gets connections");
    replica.namespace().ip(&["route", "del", "blackhole", &to_vip])?;
    stage.wait_for_state("r2", "up", UP_WITHIN)?;
    ensure!(stage.shares(300)?[1] > 0, "it gets none");
    Ok(())
}

/// Its route to the VIP leads here, and that to its clients does not: its probes pass.
fn another_way(place: Place) -> Result<()> {
    let stage = stage(place, Families::V4)?;
    let replica = &stage.lab.replicas()[1];
    let to_client = format!("{}/32", stage.lab.client().address());
    stage.shares(100)?;
    replica.namespace().ip(&["route", "add", "blackhole", &to_client])?;
    let words = "answers its clients past this balancer";
    let warning =
        || -> Result<Option<String>> { Ok(stage.balancer.replica(&stage.lab, "http", "r2")?.warning) };
    let named = until(Duration::from_secs(20), || {
        // Each of them gets an answer, from another replica.
        stage.shares(50).is_err()
            || warning().is_ok_and(|warning| warning.is_some_and(|it| it.contains(words)))
    });
    ensure!(named, "not named; the log:\n{}", stage.balancer.process().log_tail(20));
    ensure!(warning()?.is_some(), "a connection failed");
    let logged = stage.balancer.log_lines(&["WARN", words, "r2"])?;
    ensure!(logged.len() == 1, "{logged:?}");
    let text = stage.balancer.command(&stage.lab, &["status"])?.stdout;
    ensure!(String::from_utf8_lossy(&text).contains(words), "{}", String::from_utf8_lossy(&text));
    replica.namespace().ip(&["route", "del", "blackhole", &to_client])?;
    let mended = until(Duration::from_secs(20), || {
        stage.shares(50).is_err() || warning().is_ok_and(|warning| warning.is_none())
    });
    ensure!(mended && warning()?.is_none(), "still {:?}", warning()?);
    Ok(())
}

fn narrow_to_clients(place: Place, families: Families) -> Result<()> {
    let router = Some(Router { mtu: Some(NARROW) });
    sizes::replica_is_told(
        &stage_with(place, LabOptions { router, ..place.family_options(families) })?,
        NARROW,
    )
}

fn narrow_to_replicas(place: Place, families: Families) -> Result<()> {
    let replica_router = Some(Router { mtu: Some(NARROW) });
    let options = LabOptions { replica_router, ..place.family_options(families) };
    sizes::client_is_told(&stage_with(place, options)?, NARROW)
}
