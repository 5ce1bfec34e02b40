//! Packets that are too big for a part of their way, and packets that are large.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::{Capture, Families, Frame, LabOptions, Namespace, Router};
use etherparse::{LaxNetSlice, LaxSlicedPacket};

use crate::{BOTH_HOOKS, CROSSWISE, Place, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = &[
    // An ICMP error arrives at one interface and leaves by the same or another one: each once.
    ("a_download_through_a_narrow_way", CROSSWISE, |place| download(place, Families::V4, NARROW)),
    ("a_download_through_a_narrow_way_over_ipv6", CROSSWISE, |place| download(place, Families::V6, NARROW)),
    // An IPv6 header is 20 bytes longer: the other end has so much more or less.
    ("a_download_through_a_narrow_way_from_ipv4_to_ipv6", CROSSWISE, |place| {
        download(place, Families::V6ToV4, NARROW - 20)
    }),
    ("a_download_through_a_narrow_way_from_ipv6_to_ipv4", CROSSWISE, |place| {
        download(place, Families::V4ToV6, NARROW + 20)
    }),
    ("an_upload_through_a_narrow_way", CROSSWISE, |place| upload(place, Families::V4, NARROW)),
    ("an_upload_through_a_narrow_way_over_ipv6", CROSSWISE, |place| upload(place, Families::V6, NARROW)),
    ("an_upload_through_a_narrow_way_from_ipv6_to_ipv4", CROSSWISE, |place| {
        upload(place, Families::V6ToV4, NARROW + 20)
    }),
    ("an_upload_through_a_narrow_way_from_ipv4_to_ipv6", CROSSWISE, |place| {
        upload(place, Families::V4ToV6, NARROW - 20)
    }),
    // Large frames are in pieces under XDP, and nothing special under TC.
    ("large_frames_pass", BOTH_HOOKS, jumbo),
];

pub(crate) const NARROW: u32 = 1400;

/// The router in front of the clients has a narrow way to them. Its errors name the VIP as the sender: the replica has to
/// be told, in words about its own packets. Without that the download is stuck, as the bed's tests show.
fn download(place: Place, families: Families, told: u32) -> Result<()> {
    let lab = LabOptions { router: Some(Router { mtu: Some(NARROW) }), ..place.family_options(families) };
    replica_is_told(&place.stage_with(lab, &place.options())?, told)
}

/// A download, of which the replica is told that packets of so many bytes fit.
pub(crate) fn replica_is_told(stage: &Stage, told: u32) -> Result<()> {
    let listeners: Vec<_> = stage
        .lab
        .replicas()
        .iter()
        .map(|replica| Told::listen(replica.namespace()))
        .collect::<Result<_>>()?;
    stage.download_at("http", stage.lab.vip())?;
    let errors: Vec<_> = listeners.into_iter().map(Told::errors).collect();
    let replica = errors.iter().position(|errors| !errors.is_empty()).context("no replica was told")?;
    let own = stage.lab.replicas()[replica].address();
    for (mtu, source, _) in &errors[replica] {
        ensure!(
            *mtu == told && *source == own,
            "the replica {own} was told {:?}, not {told}",
            errors[replica]
        );
    }
    Ok(())
}

/// The router in front of the replicas has a narrow way to them. Its errors name the balancer as the sender.
fn upload(place: Place, families: Families, told: u32) -> Result<()> {
    let lab =
        LabOptions { replica_router: Some(Router { mtu: Some(NARROW) }), ..place.family_options(families) };
    client_is_told(&place.stage_with(lab, &place.options())?, told)
}

/// An upload, of which the client is told that packets of so many bytes fit.
pub(crate) fn client_is_told(stage: &Stage, told: u32) -> Result<()> {
    let listener = Told::listen(stage.lab.client().namespace())?;
    stage.upload_at("http", stage.lab.vip())?;
    let errors = listener.errors();
    ensure!(!errors.is_empty(), "the client was told nothing");
    for error in &errors {
        let want = (told, stage.lab.client().address(), stage.lab.vip());
        ensure!(*error == want, "the client was told {errors:?}, not {want:?}");
    }
    Ok(())
}

/// What a sender hears of its packets' size.
struct Told(Capture);

impl Told {
    fn listen(sender: &Namespace) -> Result<Self> {
        Ok(Self(Capture::start(sender, |frame| !frame.outgoing && frame.too_big().is_some())?))
    }

    /// The MTU in each error, and source and destination of the packet that it quotes.
    fn errors(self) -> Vec<(u32, IpAddr, IpAddr)> {
        let read = |frame: &Frame| {
            let (source, destination) = quoted(&frame.icmp()?.quoted)?;
            Some((frame.too_big()?, source, destination))
        };
        self.0.stop().frames.iter().filter_map(read).collect()
    }
}

fn quoted(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match LaxSlicedPacket::from_ip(packet).ok()?.net? {
        LaxNetSlice::Ipv4(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        LaxNetSlice::Ipv6(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

/// With an MTU of 9000 everywhere, the client gets packets of more than 1500 bytes.
fn jumbo(place: Place) -> Result<()> {
    let lab = LabOptions { mtu: 9000, ..place.family_options(Families::Dual) };
    let stage = place.stage_with(lab, &place.options())?;
    for &vip in stage.lab.vips() {
        let capture = Capture::start(stage.lab.client().namespace(), move |frame| {
            !frame.outgoing && frame.tcp().is_some_and(|segment| segment.source == (vip, 443).into())
        })?;
        stage.download_at("https", vip)?;
        stage.upload_at("https", vip)?;
        let largest = capture.stop().frames.iter().filter_map(Frame::packet_length).max();
        ensure!(largest > Some(8000), "{vip}: the largest packet has {largest:?} bytes");
    }
    stage.nothing_dropped()
}
