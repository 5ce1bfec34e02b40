//! Clients in a VLAN. The kernels that labs run on may have no VLAN interfaces, so that a program at the client's end of its cable
//! stands in for one; all between is tagged.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::{
    fixtures::frames::{Tag, Tags},
    lab::{Capture, Frame, Lab, Namespace, until},
    stub::Tagged,
};

use crate::{EVERYWHERE, Place, Scenario, Stage, seeing::trace::Trace};

pub(crate) const SCENARIOS: &[Scenario] = &[("a_client_in_a_vlan_is_answered_in_it", EVERYWHERE, answered)];

/// From the end of a request to its packets in the file of a trace.
const TRACED_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of the addresses before a tag.
const MACS: usize = 12;
const CUSTOMER: Tag = [0x81, 0x00, 0x00, 0x0a];
const PROVIDER: Tag = [0x88, 0xa8, 0x00, 0x07];

/// In a VLAN, in one within a provider's, and in none again: downloads, uploads, many short connections, and nothing is dropped. All
/// while the client's packets are traced.
fn answered(place: Place) -> Result<()> {
    let stage = place.stage()?;
    prepare(&stage.lab, place)?;
    for tags in [[Some(CUSTOMER), None], [Some(PROVIDER), Some(CUSTOMER)], [None, None]] {
        in_these(&stage, tags).with_context(|| format!("tags {tags:02x?}"))?;
    }
    stage.nothing_dropped()
}

fn in_these(stage: &Stage, tags: Tags) -> Result<()> {
    let client = stage.lab.client();
    // Linux forwards frames of 4 bytes more than Ethernet's without a tag: a second tag has to fit into the MTU.
    let mtu = if tags[1].is_some() { "1496" } else { "1500" };
    client.namespace().ip(&["link", "set", "eth0", "mtu", mtu])?;
    let tagged = match tags {
        [None, _] => None,
        _ => Some(Tagged::attach(client.namespace(), "eth0", tags)?),
    };
    let wanted: Vec<u8> = tags.into_iter().flatten().flatten().chain([0x08, 0x00]).collect();
    let capture = Capture::start(client.namespace(), |frame| !frame.outgoing)?;
    traced(stage, &wanted)?;
    stage.download_at("https", stage.lab.vip())?;
    stage.upload_at("http", stage.lab.vip())?;
    let shares = stage.shares(100)?;
    ensure!(shares.iter().all(|share| *share > 0), "{shares:?}");
    drop(tagged);
    // Others than the balancer may speak without a tag.
    let from_service = |frame: &Frame| frame.tcp().is_some_and(|segment| segment.source.port() == 80);
    let caught = capture.stop().frames.into_iter().filter(from_service).collect::<Vec<_>>();
    ensure!(!caught.is_empty(), "no answers were captured");
    for Frame { bytes, .. } in caught {
        ensure!(bytes[MACS..].starts_with(&wanted), "the client got {:02x?}", &bytes[..bytes.len().min(30)]);
    }
    Ok(())
}

/// A trace has frames as they are on the wire: what the client sent as it came, and what it was sent as it left.
fn traced(stage: &Stage, wanted: &[u8]) -> Result<()> {
    let file = stage.lab.directory().join("trace.pcapng");
    let trace = Trace::begin(stage, &["--pcap", file.to_str().context("the path is not text")?])?;
    ensure!(stage.lab.replica(&stage.whoami("http")?).is_some(), "no answer");
    let mac = mac(stage.lab.client().namespace())?;
    let mac = mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    let count = |at: usize| {
        let file = fs::read(&file).unwrap_or_default();
        let frames = file.windows(MACS + wanted.len()).map(|bytes| bytes.split_at(MACS));
        frames.filter(|(macs, kind)| *kind == wanted && macs[at..at + 6] == mac).count()
    };
    let seen = until(TRACED_WITHIN, || count(0) >= 3 && count(6) >= 3);
    ensure!(seen, "{} frames came and {} left as {wanted:02x?} in the trace", count(6), count(0));
    trace.interrupt()
}

/// The MAC address of a host's first interface, as text.
fn mac(host: &Namespace) -> Result<String> {
    let shown = host.ip(&["-o", "link", "show", "eth0"])?;
    let mac = shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    Ok(mac.context("eth0 has no MAC address")?.to_owned())
}

/// The balancer itself is in no VLAN here, and so answers no ARP in one: the client knows its address. And what a veth carries
/// beside a frame no XDP program sees, so that the switch puts it in.
fn prepare(lab: &Lab, place: Place) -> Result<()> {
    let mac = mac(lab.balancer())?;
    let vip = lab.vip().to_string();
    lab.client().namespace().ip(&[
        "neigh",
        "replace",
        &vip,
        "lladdr",
        &mac,
        "dev",
        "eth0",
        "nud",
        "permanent",
    ])?;
    if place.hook == Hook::NativeXdp {
        let (switch, port) = (lab.namespace("sw"), "p-lb-0");
        for feature in ["tx-vlan-offload", "tx-vlan-stag-hw-insert"] {
            let set = switch.command("ethtool").args(["-K", port, feature, "off"]).output()?;
            ensure!(set.status.success(), "{feature}: {}", String::from_utf8_lossy(&set.stderr));
        }
    }
    Ok(())
}
