//! IPv6, both families at once, and clients of one family with replicas of the other.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use dtr_lb_tests::lab::{Families, LabOptions, SERVICE_NAME};

use crate::{BOTH_HOOKS, CROSSWISE, EVERYWHERE, Place, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("ipv6_end_to_end", EVERYWHERE, |place| end_to_end(place, Families::V6)),
    // Headers grow and shrink: each hook changes a frame's length in its own way, and each topology leaves by another call.
    ("ipv6_clients_of_ipv4_replicas", EVERYWHERE, |place| end_to_end(place, Families::V6ToV4)),
    ("ipv4_clients_of_ipv6_replicas", EVERYWHERE, |place| end_to_end(place, Families::V4ToV6)),
    // Two entries of what the scenarios above show one by one.
    ("both_families_at_once", CROSSWISE, both),
    ("images_over_ipv6", CROSSWISE, |place| image(place, Families::V6)),
    ("images_over_ipv6_from_ipv4_replicas", CROSSWISE, |place| image(place, Families::V6ToV4)),
    // It is answered where it came in.
    ("an_echo_to_the_vip_is_answered", BOTH_HOOKS, echo),
];

/// curl both ways and openssl, over HTTP and HTTPS.
fn end_to_end(place: Place, families: Families) -> Result<()> {
    let stage = place.stage_with(place.family_options(families), &place.options())?;
    let vip = stage.lab.vip();
    stage.carries_all_at(vip)?;
    let mut shown = BTreeSet::new();
    for _ in 0..40 {
        shown.insert(stage.lab.client().peer_certificate((vip, 443).into())?.common_name);
        if shown.len() == 3 {
            break;
        }
    }
    // That 40 connections miss one of three replicas has a probability of 3 * (2/3)^40 = 3e-7.
    ensure!(shown.len() == 3, "certificates of {shown:?} only");
    stage.nothing_dropped()?;
    replicas_saw(&stage, families)
}

/// The access logs show addresses of the replicas' family, and the client's nowhere: it was translated.
fn replicas_saw(stage: &Stage, families: Families) -> Result<()> {
    for replica in stage.lab.replicas() {
        for line in replica.access_log()? {
            let is_v4 = line.source.is_ipv4();
            ensure!(families == Families::Dual || is_v4 == replica.address().is_ipv4(), "{line:?}");
            ensure!(line.source != stage.lab.client().address(), "{line:?}");
        }
    }
    Ok(())
}

fn both(place: Place) -> Result<()> {
    let stage = place.stage_with(place.family_options(Families::Dual), &place.options())?;
    ensure!(stage.lab.vips().len() == 2, "{:?}", stage.lab.vips());
    for &vip in stage.lab.vips() {
        for scheme in ["http", "https"] {
            stage.whoami_at(scheme, vip)?;
            stage.download_at(scheme, vip)?;
        }
        let tally = stage.lab.client().connections((vip, 80).into(), 300, 8)?;
        ensure!(tally.errors.is_empty() && tally.replicas.len() == 3, "{vip}: {tally:?}");
    }
    stage.nothing_dropped()
}

fn image(place: Place, families: Families) -> Result<()> {
    let lab = LabOptions { families, ..place.lab_options() };
    let stage = place.stage_with(lab, &place.options())?;
    let image = stage.lab.image("several-layers", 7, &[3 << 20, 1 << 20, 10])?;
    // The name stands for the VIP: an image's reference has no form for an IPv6 address.
    let reference = format!("{SERVICE_NAME}/library/several-layers:1");
    let client = stage.lab.client();
    client.push(&image, &reference)?;
    let pulled = client.pull(&reference, &stage.lab.directory().join("pulled"))?;
    ensure!(pulled.digest() == image.digest(), "pushed {}, pulled {}", image.digest(), pulled.digest());
    let bytes: u64 = stage.replica_statuses()?.iter().map(|replica| replica.bytes_to_replica).sum();
    ensure!(bytes > 4 << 20, "the layers did not pass the balancer: {bytes} bytes to replicas");
    Ok(())
}

/// The VIP answers although its host does not, and the host's own address is left to the host.
fn echo(place: Place) -> Result<()> {
    let stage = place.stage_with(place.family_options(Families::Dual), &place.options())?;
    let balancer = stage.lab.balancer();
    balancer.sysctl("net.ipv4.icmp_echo_ignore_all", "1")?;
    balancer.sysctl("net.ipv6.icmp.echo_ignore_all", "1")?;
    let own: Vec<_> =
        stage.lab.balancer_interfaces().flat_map(|(_, own)| own).map(|cidr| cidr.address).collect();
    let limit = Duration::from_millis(500);
    for address in own {
        for size in [0, 1, 56, 1400] {
            let answered = stage.lab.client().ping(address, size, limit)?.is_some();
            let is_vip = stage.lab.vips().contains(&address);
            ensure!(answered == is_vip, "{address}, {size} bytes: answered is {answered}, a VIP is {is_vip}");
            if !is_vip {
                break;
            }
        }
    }
    Ok(())
}
