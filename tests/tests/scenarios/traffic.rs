//! Requests, images and shares.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::{CROSSWISE, EVERYWHERE, Place, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("http_and_https", EVERYWHERE, http_and_https),
    // The way of the packets is that of `http_and_https`.
    ("tls_passes_through", CROSSWISE, tls_passes_through),
    ("an_image_is_pushed_and_pulled", EVERYWHERE, image),
    // These are the choice of a replica, which no hook or topology has a part in.
    ("equal_replicas_get_equal_shares", CROSSWISE, equal_shares),
    ("weights_are_shares", CROSSWISE, weighted_shares),
];

fn http_and_https(place: Place) -> Result<()> {
    let stage = place.stage()?;
    for scheme in ["http", "https"] {
        let replica = stage.whoami(scheme)?;
        ensure!(stage.lab.replica(&replica).is_some(), "answered by `{replica}`");
    }
    // More than a packet, and byte for byte.
    for scheme in ["http", "https"] {
        let big = stage.lab.client().curl(&stage.url(scheme, "big"), &["--max-time", "20"])?;
        let direct = std::fs::read(stage.lab.big_file())?;
        ensure!(big.is_ok() && big.body == direct, "{scheme}: {} bytes of {}", big.body.len(), direct.len());
    }
    let status = stage.balancer.status(&stage.lab)?;
    ensure!(status.verdicts["forwarded"] > 0, "nothing was forwarded by the datapath: {:?}", status.verdicts);
    let drops: u64 =
        status.verdicts.iter().filter(|(name, _)| name.starts_with("dropped")).map(|(_, n)| n).sum();
    ensure!(drops == 0, "packets were dropped: {:?}", status.verdicts);
    Ok(())
}

/// The balancer ends no TLS: openssl sees the certificate of the replica that answers, each replica's own.
fn tls_passes_through(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let client = stage.lab.client();
    let mut own = BTreeSet::new();
    for replica in stage.lab.replicas() {
        // From the balancer's side, where replicas are reachable in both topologies, the serial of each.
        let reached = replica.https();
        let direct = stage.lab.balancer_client().peer_certificate(reached)?;
        ensure!(direct.common_name == replica.name(), "{} shows {:?}", replica.name(), direct);
        own.insert((direct.common_name, direct.serial));
    }
    ensure!(own.len() == 3, "replicas share certificates: {own:?}");
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let certificate = client.peer_certificate((stage.lab.vip(), 443).into())?;
        seen.insert((certificate.common_name, certificate.serial));
        if seen.len() == 3 {
            break;
        }
    }
    // That 40 connections miss one of three replicas has a probability of 3 * (2/3)^40 = 3e-7.
    ensure!(seen == own, "through the balancer: {seen:?}, directly: {own:?}");
    Ok(())
}

fn image(place: Place) -> Result<()> {
    let stage = place.stage_with(place.lab_options(), &place.options())?;
    let image = stage.lab.image("several-layers", 7, &[3 << 20, 1 << 20, 200_000, 10])?;
    let reference = format!("{}/library/several-layers:1", stage.lab.vip());
    let client = stage.lab.client();
    client.push(&image, &reference)?;
    let pulled = client.pull(&reference, &stage.lab.directory().join("pulled"))?;
    ensure!(pulled.digest() == image.digest(), "pushed {}, pulled {}", image.digest(), pulled.digest());
    let status = stage.balancer.status(&stage.lab)?;
    let https = status.services.iter().filter(|service| service.name == "https");
    let bytes: u64 =
        https.flat_map(|service| &service.replicas).map(|replica| replica.bytes_to_replica).sum();
    ensure!(bytes > 4 << 20, "the layers did not pass the balancer: {bytes} bytes to replicas");
    Ok(())
}

/// Connections of the share tests. A share is binomial, as the hash of a new source port is as good as random.
const CONNECTIONS: usize = 4000;

/// Within 10 % of a third each. The standard deviation of a share is sqrt(4000 * 1/3 * 2/3) = 29.8, so that 133 are 4.47
/// of them: for three replicas a false alarm in 43,000 runs.
fn equal_shares(place: Place) -> Result<()> {
    let stage = place.stage()?;
    let shares = stage.shares(CONNECTIONS)?;
    let expected = CONNECTIONS as f64 / 3.0;
    for share in &shares {
        ensure!((*share as f64 - expected).abs() <= 0.1 * expected, "shares of {CONNECTIONS}: {shares:?}");
    }
    Ok(())
}

/// 1:2:3, each within 4.5 standard deviations of its binomial: for three replicas a false alarm in 49,000 runs.
fn weighted_shares(place: Place) -> Result<()> {
    let mut options = place.options();
    options.weights = vec![1, 2, 3];
    let stage = place.stage_with(place.lab_options().without_registry(), &options)?;
    let shares = stage.shares(CONNECTIONS)?;
    for (share, weight) in shares.iter().zip(&options.weights) {
        let part = f64::from(*weight) / 6.0;
        let expected = CONNECTIONS as f64 * part;
        let bound = 4.5 * (expected * (1.0 - part)).sqrt();
        ensure!(
            (*share as f64 - expected).abs() <= bound,
            "shares of {CONNECTIONS} for weights 1:2:3: {shares:?}; {share} is not within {bound:.0} of {expected:.0}"
        );
    }
    Ok(())
}
