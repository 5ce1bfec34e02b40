//! MTUs: routers that let less through than they show, and links that carry more.

use std::time::Duration;

use anyhow::{Result, ensure};
use dtr_lb_tests::{
    lab::{Capture, Families, Lab, LabOptions, Router, Topology, literal},
    stub::pass_stub,
};

const NARROW: u32 = 1400;

/// A download by a client behind a router whose way to it is narrow: the server hears of it, and only because of that the
/// download goes on. The server is a replica with a way back that a balancer's clients would not need.
pub(super) fn to_clients(topology: Topology) -> Result<()> {
    for families in [Families::V4, Families::V6] {
        let mut options = LabOptions::new(topology, 1).without_registry().with_families(families);
        options.router = Some(Router { mtu: Some(NARROW) });
        options.direct = true;
        let lab = Lab::create(options)?;
        let replica = &lab.replicas()[0];
        if topology == Topology::TwoArm {
            // The router joins both segments there.
            let gateway = lab.namespace("client").ip(&["-4", "route"])?;
            ensure!(families == Families::V6 || gateway.contains("default"), "no default route: {gateway}");
        }
        let capture = Capture::start(replica.namespace(), |frame| !frame.outgoing && frame.too_big().is_some())?;
        let url = format!("http://{}/big", literal(replica.address()));
        let download = lab.client().curl(&url, &["--max-time", "10"])?;
        let whole = std::fs::read(lab.big_file())?;
        ensure!(download.is_ok() && download.body == whole, "{families:?}: {} {}", download.exit, download.stderr);
        let told = capture.stop().frames;
        ensure!(
            !told.is_empty() && told.iter().all(|frame| frame.too_big() == Some(NARROW)),
            "{families:?}: the server was told {:?}",
            told.iter().map(dtr_lb_tests::lab::Frame::too_big).collect::<Vec<_>>()
        );
        if families == Families::V6 {
            // The counter-proof: a server that does not listen is stuck. (An IPv4 one would let the router cut.)
            let client = lab.client().address().to_string();
            let routes = replica.namespace().ip(&["-6", "route", "get", &client])?;
            let via = routes.split_whitespace().skip_while(|word| *word != "via").nth(1);
            let via = via.unwrap_or_default().to_owned();
            replica.namespace().ip(&["-6", "route", "flush", "cache"])?;
            replica.namespace().ip(&["-6", "route", "add", &client, "via", &via, "mtu", "lock", "1500"])?;
            let stuck = lab.client().curl(&url, &["--max-time", "2"])?;
            ensure!(stuck.exit == 28, "a server that ignores the router still serves: {}", stuck.exit);
        }
    }
    Ok(())
}

/// The same for an upload, from the balancer's place to replicas behind a narrow way.
pub(super) fn to_replicas(topology: Topology) -> Result<()> {
    for families in [Families::V4, Families::V6] {
        let mut options = LabOptions::new(topology, 1).without_registry().with_families(families);
        options.replica_router = Some(Router { mtu: Some(NARROW) });
        let lab = Lab::create(options)?;
        let replica = &lab.replicas()[0];
        let capture = Capture::start(lab.balancer(), |frame| !frame.outgoing && frame.too_big().is_some())?;
        let url = format!("http://{}/upload/big", literal(replica.address()));
        let file = lab.big_file().display().to_string();
        let upload = lab.balancer_client().curl(&url, &["--max-time", "10", "--upload-file", &file])?;
        ensure!(upload.http_code == 201, "{families:?}: {upload:?}");
        ensure!(replica.uploaded("big")? == Some(std::fs::read(lab.big_file())?), "{families:?}: not the same bytes");
        let told = capture.stop().frames;
        ensure!(
            !told.is_empty() && told.iter().all(|frame| frame.too_big() == Some(NARROW)),
            "{families:?}: the sender was told {} times",
            told.len()
        );
    }
    Ok(())
}

/// With an MTU of 9000 a packet of that size arrives in one piece, under the programs at the cables' ends, too.
pub(super) fn jumbo(topology: Topology) -> Result<()> {
    const MTU: u32 = 9000;
    let mut options = LabOptions::new(topology, 1)
        .without_registry()
        .with_families(Families::Dual)
        .with_pass_stub(pass_stub());
    options.mtu = MTU;
    let lab = Lab::create(options)?;
    for &vip in lab.vips() {
        let capture = Capture::start(lab.balancer(), |frame| !frame.outgoing && frame.icmp().is_some())?;
        // The IP header, and eight bytes of the echo's own.
        let headers = if vip.is_ipv4() { 28 } else { 48 };
        let answered = lab.client().ping(vip, MTU as usize - headers, Duration::from_secs(1))?;
        ensure!(answered.is_some(), "{vip} does not answer");
        let (_, caught) = capture.wait(Duration::from_secs(1), |caught| !caught.frames.is_empty());
        let lengths: Vec<_> = caught.frames.iter().map(dtr_lb_tests::lab::Frame::packet_length).collect();
        ensure!(lengths.contains(&Some(MTU as usize)), "{vip}: packets of {lengths:?} bytes");
    }
    Ok(())
}
