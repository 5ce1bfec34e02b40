//! MTUs: routers that let less through than they show, and links that carry more.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    lab::{Capture, Families, Frame, Lab, LabOptions, Namespace, Router, Topology, literal},
    stub::pass_stub,
};

use super::family_option;

const NARROW: u32 = 1400;

/// A download by a client behind a router whose way to it is narrow: while the router tells nothing the download is stuck,
/// and when it does, it goes on. The server is a replica that has a way back to clients.
pub(super) fn to_clients(topology: Topology) -> Result<()> {
    for families in [Families::V4, Families::V6] {
        let mut options = LabOptions::new(topology, 1).without_registry().with_families(families);
        options.router = Some(Router { mtu: Some(NARROW) });
        options.direct = true;
        let lab = Lab::create(options)?;
        let replica = &lab.replicas()[0];
        let url = format!("http://{}/big", literal(replica.address()));
        mute(&lab, "router", "add", replica.address())?;
        let stuck = lab.client().curl(&url, &["--max-time", "2"])?;
        ensure!(stuck.exit == 28, "{families:?}: a download without ICMP ends with {}", stuck.exit);
        mute(&lab, "router", "delete", replica.address())?;

        let told = Told::listen(replica.namespace())?;
        let download = lab.client().curl(&url, &["--max-time", "10"])?;
        let whole = std::fs::read(lab.big_file())?;
        ensure!(
            download.is_ok() && download.body == whole,
            "{families:?}: {} {}",
            download.exit,
            download.stderr
        );
        told.check().with_context(|| format!("{families:?}"))?;
    }
    Ok(())
}

/// What the router itself sends to `to` is lost; what it forwards is not.
fn mute(lab: &Lab, router: &str, verb: &str, to: IpAddr) -> Result<()> {
    let rule = [family_option(to), "rule", verb, "iif", "lo", "to", &to.to_string(), "blackhole"];
    lab.namespace(router).ip(&rule)?;
    Ok(())
}

/// What a sender hears of its packets' size.
struct Told(Capture);

impl Told {
    fn listen(sender: &Namespace) -> Result<Self> {
        Ok(Self(Capture::start(sender, |frame| !frame.outgoing && frame.too_big().is_some())?))
    }

    /// It was told, and each time the router's MTU.
    fn check(self) -> Result<()> {
        let told: Vec<_> = self.0.stop().frames.iter().map(Frame::too_big).collect();
        ensure!(!told.is_empty(), "the sender was told nothing");
        ensure!(told.iter().all(|mtu| *mtu == Some(NARROW)), "the sender was told {told:?}");
        Ok(())
    }
}

/// The same for an upload, from the balancer's place to replicas behind a narrow way.
pub(super) fn to_replicas(topology: Topology) -> Result<()> {
    for families in [Families::V4, Families::V6] {
        let mut options = LabOptions::new(topology, 1).without_registry().with_families(families);
        options.replica_router = Some(Router { mtu: Some(NARROW) });
        let lab = Lab::create(options)?;
        let replica = &lab.replicas()[0];
        let sender = lab.balancer_client();
        let url = |name: &str| format!("http://{}/upload/{name}", literal(replica.address()));
        let file = lab.big_file().display().to_string();
        let own = source_towards(&lab, replica.address())?;
        mute(&lab, "rrouter", "add", own)?;
        let stuck = sender.curl(&url("stuck"), &["--max-time", "2", "--upload-file", &file])?;
        ensure!(stuck.exit == 28, "{families:?}: an upload without ICMP ends with {}", stuck.exit);
        mute(&lab, "rrouter", "delete", own)?;

        let told = Told::listen(lab.balancer())?;
        let upload = sender.curl(&url("big"), &["--max-time", "10", "--upload-file", &file])?;
        ensure!(upload.http_code == 201, "{families:?}: {upload:?}");
        ensure!(
            replica.uploaded("big")? == Some(std::fs::read(lab.big_file())?),
            "{families:?}: not the same bytes"
        );
        told.check().with_context(|| format!("{families:?}"))?;
    }
    Ok(())
}

/// The address that the balancer's host takes for its own connections to `to`.
fn source_towards(lab: &Lab, to: IpAddr) -> Result<IpAddr> {
    let route = lab.balancer().ip(&["route", "get", &to.to_string()])?;
    let source = route.split_whitespace().skip_while(|word| *word != "src").nth(1);
    source.with_context(|| format!("no source in {route:?}"))?.parse().context("not an address")
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
        // Neighbour discovery is ICMP, too.
        let is_whole = |frame: &Frame| frame.packet_length() == Some(MTU as usize);
        let (_, caught) = capture.wait(Duration::from_secs(1), |caught| caught.frames.iter().any(is_whole));
        let lengths: Vec<_> = caught.frames.iter().map(Frame::packet_length).collect();
        ensure!(lengths.contains(&Some(MTU as usize)), "{vip}: packets of {lengths:?} bytes");
    }
    Ok(())
}
