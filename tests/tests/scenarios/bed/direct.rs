//! Replicas that hold the VIP: nobody hears of it, and what reaches one is answered, from the VIP, past the balancer.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    lab::{Capture, Families, Frame, Lab, LabOptions, RawSocket, Topology, literal},
    stub::Decapsulation,
};
use etherparse::PacketBuilder;

use super::{family_option, hardware_address};

fn direct_lab(topology: Topology, families: Families) -> Result<Lab> {
    let mut options = LabOptions::new(topology, 2).without_registry().with_families(families);
    options.direct = true;
    Ok(Lab::create(options)?)
}

/// First, that only the balancer says that it has the VIP; then, that a replica that gets a packet for it answers. The
/// packet gets there by a neighbour entry or a route that stands for the balancer.
pub(super) fn hidden(topology: Topology) -> Result<()> {
    let lab = direct_lab(topology, Families::Dual)?;
    let client = lab.client();
    let replica = &lab.replicas()[1];
    for &vip in lab.vips() {
        let family = family_option(vip);
        let text = vip.to_string();
        ensure!(client.ping(vip, 8, Duration::from_secs(1))?.is_some(), "{vip} does not answer");
        let neighbour = client.namespace().ip(&[family, "neigh", "show", &text])?;
        let balancer = hardware_address(&lab, "lb", "eth0")?;
        ensure!(neighbour.contains(&balancer), "{vip} is not at {balancer}: {neighbour}");

        // Without the balancer nobody answers for it.
        lab.namespace("sw").ip(&["link", "set", "p-lb-0", "down"])?;
        client.namespace().ip(&[family, "neigh", "flush", "dev", "eth0"])?;
        ensure!(client.ping(vip, 8, Duration::from_millis(300))?.is_none(), "a replica answers for {vip}");
        lab.namespace("sw").ip(&["link", "set", "p-lb-0", "up"])?;

        lead_to_replica(&lab, topology, vip)?;
        let url = format!("http://{}/whoami", literal(vip));
        let answer = client.curl(&url, &["--max-time", "5"])?;
        ensure!(answer.is_ok() && answer.text() == replica.name(), "{url}: {answer:?}");
        let whole = std::fs::read(lab.big_file())?;
        let download = client.curl(&format!("https://{}/big", literal(vip)), &["--max-time", "10"])?;
        ensure!(download.is_ok() && download.body == whole, "{vip}: {} {}", download.exit, download.stderr);
    }
    Ok(())
}

/// Packets of the client's for the VIP reach `r2`.
fn lead_to_replica(lab: &Lab, topology: Topology, vip: IpAddr) -> Result<()> {
    let family = family_option(vip);
    let text = vip.to_string();
    let client = lab.client().namespace();
    match topology {
        Topology::OneArm => {
            let replica = hardware_address(lab, "r2", "eth0")?;
            client.ip(&[family, "neigh", "replace", &text, "lladdr", &replica, "dev", "eth0"])?;
        }
        Topology::TwoArm => {
            // The router joins both segments: the client's packets take it here, as the replica's always do.
            let is_same = |address: &&IpAddr| address.is_ipv4() == vip.is_ipv4();
            let replica = lab.replicas()[1].addresses().iter().find(is_same).context("no such family")?;
            lab.namespace("router").ip(&[family, "route", "add", &text, "via", &replica.to_string()])?;
            let router = if vip.is_ipv4() { "10.77.1.1" } else { "fd77:0:1::1" };
            client.ip(&[family, "route", "add", &text, "via", router])?;
        }
    }
    Ok(())
}

/// A SYN for the VIP in an outer header to the replica, made by hand: the replica's answer reaches the client from the
/// VIP, and the outer source was counted. Without the program nothing comes.
pub(super) fn decapsulated(topology: Topology) -> Result<()> {
    for families in [Families::V4, Families::V6, Families::V4ToV6, Families::V6ToV4] {
        let lab = direct_lab(topology, families)?;
        let replica = &lab.replicas()[0];
        let client = lab.client().address();
        let vip = lab.vip();
        let capture =
            Capture::start(lab.client().namespace(), |frame| !frame.outgoing && frame.tcp().is_some())?;
        let socket = RawSocket::open(lab.balancer(), replica.address())?;
        let send = |port: u16, outer_source: IpAddr| {
            let inner = syn(client, vip, port)?;
            socket.send(&outer(outer_source, replica.address(), &inner)?).context("sending")
        };
        let sources = outer_sources(replica.address());
        send(40000, sources[0])?;
        let decapsulation = Decapsulation::attach(replica)?;
        for (port, &source) in (40001..).zip(&sources) {
            send(port, source)?;
        }
        let (answered, caught) =
            capture.wait(Duration::from_secs(2), |caught| caught.frames.len() >= sources.len());
        let answers: Vec<_> = caught.frames.iter().filter_map(Frame::tcp).collect();
        ensure!(answered, "{families:?}: {answers:?}");
        for answer in &answers {
            ensure!(answer.syn && answer.ack && answer.acknowledgment == 8, "{families:?}: {answer:?}");
            ensure!(answer.source == (vip, 80).into(), "{families:?}: {answer:?}");
            ensure!((40001..40003).contains(&answer.destination.port()), "{families:?}: {answer:?}");
        }
        let mut seen: Vec<_> = decapsulation.sources()?.into_iter().collect();
        seen.sort();
        let want: Vec<_> = sources.iter().map(|source| (as_v6(*source), 1)).collect();
        ensure!(seen == want, "{families:?}: outer sources {seen:?}");
    }
    Ok(())
}

/// Two that are nobody's: an outer source is not answered.
fn outer_sources(like: IpAddr) -> [IpAddr; 2] {
    match like {
        IpAddr::V4(_) => [[198, 51, 100, 1].into(), [198, 51, 100, 2].into()],
        IpAddr::V6(_) => [1, 2].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, last).into()),
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A packet with a SYN of number 7.
fn syn(source: IpAddr, destination: IpAddr, port: u16) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
        }
        _ => anyhow::bail!("{source} and {destination} are not of one family"),
    }
    .tcp(port, 80, 7, 64_240)
    .syn()
    .write(&mut bytes, &[])?;
    Ok(bytes)
}

/// `inner` in an outer header. Bytes by hand: no packet library that is used here makes IP-in-IP.
fn outer(source: IpAddr, destination: IpAddr, inner: &[u8]) -> Result<Vec<u8>> {
    let next = if inner[0] >> 4 == 4 { 4 } else { 41 };
    let header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            // The kernel fills in the checksum.
            let length = u16::try_from(20 + inner.len())?.to_be_bytes();
            let fixed = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, next, 0, 0];
            [fixed.as_slice(), &source.octets(), &destination.octets()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(inner.len())?.to_be_bytes();
            let fixed = [0x60, 0, 0, 0, length[0], length[1], next, 64];
            [fixed.as_slice(), &source.octets(), &destination.octets()].concat()
        }
        _ => anyhow::bail!("{source} and {destination} are not of one family"),
    };
    Ok([header.as_slice(), inner].concat())
}
