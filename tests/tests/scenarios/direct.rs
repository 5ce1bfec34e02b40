//! Replicas that answer clients directly: `dsr` and `ipip`. The balancer sees what clients send and nothing else.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use dtr_lb_tests::{
    balancer::{Balancer, DOWN_WITHIN, services_with},
    lab::{Capture, Families, Lab, LabOptions, Router},
    stub::Decapsulation,
};

use crate::{CROSSWISE, EVERYWHERE, Place, Scenario, Stage, health};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // A frame leaves by the interface it came in by, or by another one, and each hook does each differently.
    ("dsr_serves", EVERYWHERE, |place| serves(place, Mode::Dsr, Families::V4)),
    ("dsr_serves_ipv6", CROSSWISE, |place| serves(place, Mode::Dsr, Families::V6)),
    ("dsr_silence_costs_a_second_at_most", CROSSWISE, |place| silence(place, Mode::Dsr)),
    ("dsr_without_a_dead_replica", CROSSWISE, |place| dead(place, Mode::Dsr)),
    // So does making room for the outer header.
    ("ipip_serves", EVERYWHERE, |place| serves(place, Mode::Ipip, Families::V4)),
    ("ipip_serves_ipv6", CROSSWISE, |place| serves(place, Mode::Ipip, Families::V6)),
    ("ipip_serves_ipv4_over_ipv6", EVERYWHERE, |place| serves(place, Mode::Ipip, Families::V4ToV6)),
    ("ipip_sources_vary", CROSSWISE, sources_vary),
    ("ipip_tells_clients_what_does_not_fit", CROSSWISE, |place| too_big(place, false)),
    // Under TC a packet may still have to be summed and cut when the balancer gets it.
    ("ipip_tells_senders_whose_device_sums", &[Place::TC_TWO_ARM], |place| too_big(place, true)),
    ("ipip_silence_costs_a_second_at_most", CROSSWISE, |place| silence(place, Mode::Ipip)),
    ("ipip_without_a_dead_replica", CROSSWISE, |place| dead(place, Mode::Ipip)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Dsr,
    Ipip,
}

/// A stage in this mode; in mode `ipip` the replicas are behind a router, as they may be. The decapsulation ends when it
/// is dropped.
fn stage(place: Place, mode: Mode, families: Families) -> Result<(Stage, Vec<Decapsulation>)> {
    stage_with(place, mode, place.family_options(families))
}

fn stage_with(place: Place, mode: Mode, lab: LabOptions) -> Result<(Stage, Vec<Decapsulation>)> {
    let mut lab = LabOptions { direct: true, ..lab };
    let mut options = place.options();
    options.services = services_with(match mode {
        Mode::Dsr => "mode = \"dsr\"",
        Mode::Ipip => "mode = \"ipip\"",
    });
    if mode == Mode::Ipip {
        lab.replica_router = Some(Router::default());
    }
    let lab = Lab::create(lab)?;
    let decapsulation = if mode == Mode::Ipip { Decapsulation::everywhere(&lab)? } else { Vec::new() };
    let balancer = Balancer::start(&lab, &options)?;
    Ok((Stage { lab, balancer }, decapsulation))
}

/// Requests, a download and an upload; answers pass by, and the replicas see the client itself.
fn serves(place: Place, mode: Mode, families: Families) -> Result<()> {
    let (stage, _decapsulation) = stage(place, mode, families)?;
    stage.carries_all_at(stage.lab.vip())?;
    let shares = stage.shares(300)?;
    ensure!(shares.iter().all(|share| *share > 0), "{shares:?}");
    stage.nothing_dropped()?;
    let replicas = stage.replica_statuses()?;
    ensure!(replicas.iter().any(|replica| replica.packets_to_replica > 1000), "{replicas:?}");
    ensure!(
        replicas.iter().all(|replica| replica.packets_to_client == 0),
        "answers passed the balancer: {replicas:?}"
    );
    for replica in stage.lab.replicas() {
        let lines = replica.access_log()?;
        let of_client = lines.iter().filter(|line| line.source == stage.lab.client().address()).count();
        ensure!(of_client > 0, "{} saw nothing from the client itself", replica.name());
    }
    Ok(())
}

fn silence(place: Place, mode: Mode) -> Result<()> {
    let (stage, _decapsulation) = stage(place, mode, Families::V4)?;
    health::unnoticed(&stage, || Ok(stage.lab.replicas()[1].cut()?)).map(drop)
}

/// A refusal goes past the balancer, so that only the probe tells.
fn dead(place: Place, mode: Mode) -> Result<()> {
    let (stage, _decapsulation) = stage(place, mode, Families::V4)?;
    stage.lab.replicas()[0].kill()?;
    stage.wait_for_state("r1", "down", DOWN_WITHIN)?;
    let shares = stage.shares(300)?;
    ensure!(shares[0] == 0 && shares[1] > 0 && shares[2] > 0, "{shares:?}");
    stage.lab.replicas()[0].start()?;
    stage.wait_for_state("r1", "up", DOWN_WITHIN)?;
    let shares = stage.shares(300)?;
    ensure!(shares[0] > 0, "{shares:?}");
    Ok(())
}

/// Of 300 connections the outer sources are many, so that a replica's receive queues share them; and all of one flow's
/// packets have one.
fn sources_vary(place: Place) -> Result<()> {
    let (stage, decapsulation) = stage(place, Mode::Ipip, Families::V4)?;
    stage.shares(300)?;
    let mut all = BTreeSet::new();
    let mut packets = 0;
    for replica in &decapsulation {
        for (source, count) in replica.sources()? {
            let inside = source.to_ipv4_mapped().is_some_and(|source| source.octets()[..2] == [172, 16]);
            ensure!(inside, "an outer source outside of the default network: {source}");
            all.insert(source);
            packets += count;
        }
    }
    // Each connection sends five packets at least: with a source a packet there would be 1500 sources. And two of 300
    // numbers of 16 bits are equal less than once.
    ensure!(all.len() > 250 && all.len() < 600, "{} outer sources of {packets} packets", all.len());
    Ok(())
}

/// A packet of 1500 bytes with an outer header does not fit: the client is told 20 bytes less, and the upload goes on.
fn too_big(place: Place, sums_by_device: bool) -> Result<()> {
    for (families, outer) in [(Families::V4, 20), (Families::V6, 40), (Families::V4ToV6, 40)] {
        let lab = LabOptions { sums_by_device, ..place.family_options(families) };
        let (stage, _decapsulation) = stage_with(place, Mode::Ipip, lab)?;
        let capture = Capture::start(stage.lab.client().namespace(), |frame| {
            !frame.outgoing && frame.too_big().is_some()
        })?;
        stage.upload_at("http", stage.lab.vip())?;
        let (told, caught) = capture.wait(Duration::from_secs(1), |caught| !caught.frames.is_empty());
        ensure!(told, "{families:?}: the client was told nothing");
        let mtus: BTreeSet<_> = caught.frames.iter().filter_map(dtr_lb_tests::lab::Frame::too_big).collect();
        ensure!(mtus == BTreeSet::from([1500 - outer]), "{families:?}: the client was told {mtus:?}");
    }
    Ok(())
}
