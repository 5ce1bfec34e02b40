//! The lab itself, without a balancer: what the scenarios take for granted about addresses, routers, sizes and helpers is
//! shown here, so that a scenario that fails is the balancer's failure.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::{
    lab::{Capture, Client, Families, Flood, Lab, LabOptions, Namespace, Topology, literal},
    stub::pass_stub,
};

mod direct;
mod sizes;

type Test = (&'static str, fn(Topology) -> Result<()>);

/// The test that needs the machine for itself.
pub(crate) const FLOOD: &str = "a_flood_arrives_at_its_rate";

pub(crate) const TESTS: &[Test] = &[
    ("every_address_is_served", every_address),
    ("an_image_is_pushed_and_pulled", image),
    ("an_echo_is_answered_or_not", echo),
    ("the_ends_of_connections_have_one_processor_for_each", one_processor),
    (FLOOD, flood),
    ("a_narrow_way_to_clients_tells_what_is_too_big", sizes::to_clients),
    ("a_narrow_way_to_replicas_tells_what_is_too_big", sizes::to_replicas),
    ("large_links_carry_large_packets", sizes::jumbo),
    ("replicas_hide_the_vip_and_answer_by_it", direct::hidden),
    ("outer_headers_are_taken_off", direct::decapsulated),
];

const ALL_FAMILIES: [Families; 5] =
    [Families::V4, Families::V6, Families::Dual, Families::V6ToV4, Families::V4ToV6];

/// A client that has a way to the replicas: with two arms only the balancer's host has one.
fn near_replicas(lab: &Lab) -> Client {
    match lab.topology() {
        Topology::OneArm if !mixed(lab) => lab.client().clone(),
        Topology::OneArm | Topology::TwoArm => lab.balancer_client(),
    }
}

fn mixed(lab: &Lab) -> bool {
    matches!(lab.families(), Families::V6ToV4 | Families::V4ToV6)
}

fn hardware_address(lab: &Lab, namespace: &str, interface: &str) -> Result<String> {
    let text = lab.namespace(namespace).ip(&["-brief", "link", "show", interface])?;
    let address = text.split_whitespace().find(|word| word.matches(':').count() == 5);
    Ok(address.with_context(|| format!("no address in {text:?}"))?.to_owned())
}

/// `-4` or `-6` for `ip`.
fn family_option(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "-4" } else { "-6" }
}

/// Each replica answers HTTP and HTTPS at each of its addresses, with a certificate for it and for the VIPs.
fn every_address(topology: Topology) -> Result<()> {
    for families in ALL_FAMILIES {
        let lab = Lab::create(
            LabOptions::new(topology, 2)
                .without_registry()
                .with_families(families)
                .with_pass_stub(pass_stub()),
        )?;
        let client = near_replicas(&lab);
        for replica in lab.replicas() {
            for &address in replica.addresses() {
                for scheme in ["http", "https"] {
                    let url = format!("{scheme}://{}/whoami", literal(address));
                    let answer = client.curl(&url, &["--max-time", "5"])?;
                    ensure!(
                        answer.is_ok() && answer.text() == replica.name(),
                        "{families:?} {url}: {answer:?}"
                    );
                }
                let certificate = client.peer_certificate((address, 443).into())?;
                // openssl writes IPv6 addresses out; one name, the service's, the replica's and every address.
                let addresses = lab.vips().len() + replica.addresses().len();
                ensure!(certificate.names.len() == 2 + addresses, "{families:?}: {certificate:?}");
            }
        }
        // What the VIPs are for: the client's own family.
        for vip in lab.vips() {
            ensure!(lab.client().address().is_ipv4() == vip.is_ipv4() || families == Families::Dual, "{vip}");
        }
    }
    Ok(())
}

/// skopeo over IPv6.
fn image(topology: Topology) -> Result<()> {
    let lab = Lab::create(LabOptions::new(topology, 1).with_families(Families::V6))?;
    let image = lab.image("over-ipv6", 7, &[1 << 20, 10])?;
    let replica = &lab.replicas()[0];
    let reference = format!("{}:443/library/over-ipv6:1", replica.name());
    let client = near_replicas(&lab);
    client.push(&image, &reference)?;
    let pulled = client.pull(&reference, &lab.directory().join("pulled"))?;
    ensure!(pulled.digest() == image.digest(), "pushed {}, pulled {}", image.digest(), pulled.digest());
    Ok(())
}

/// The helper tells an answer from none.
fn echo(topology: Topology) -> Result<()> {
    let lab = Lab::create(LabOptions::new(topology, 1).without_registry().with_families(Families::Dual))?;
    for &vip in lab.vips() {
        let ping = || lab.client().ping(vip, 500, Duration::from_millis(300));
        ensure!(ping()?.is_some(), "{vip} does not answer");
        let quiet =
            if vip.is_ipv4() { "net.ipv4.icmp_echo_ignore_all" } else { "net.ipv6.icmp.echo_ignore_all" };
        lab.balancer().sysctl(quiet, "1")?;
        ensure!(ping()?.is_none(), "{vip} answers, although its host is told not to");
    }
    Ok(())
}

/// Clients and replicas receive all packets of a connection on one processor, whichever sent them; the balancer does not. The
/// mask says which processors share the connections, and none means that each takes its own packets.
fn one_processor(topology: Topology) -> Result<()> {
    let lab = Lab::create(LabOptions::new(topology, 1).without_registry())?;
    let shares = |namespace: &Namespace| -> Result<bool> {
        let mask = namespace.command("cat").arg("/sys/class/net/eth0/queues/rx-0/rps_cpus").output()?;
        ensure!(mask.status.success(), "{}", String::from_utf8_lossy(&mask.stderr));
        Ok(mask.stdout.iter().any(|digit| !b"0,\n".contains(digit)))
    };
    ensure!(shares(lab.client().namespace())?, "a client's");
    ensure!(shares(lab.replicas()[0].namespace())?, "a replica's");
    ensure!(!shares(lab.balancer())?, "the balancer's");
    Ok(())
}

/// SYNs a second that a flood should reach here. The scenarios ask for 60,000.
const FLOOD_RATE: u32 = 80_000;
const FLOOD_COUNT: usize = 40_000;

fn flood(topology: Topology) -> Result<()> {
    let lab = Lab::create(LabOptions::new(topology, 1).without_registry().with_families(Families::Dual))?;
    for &vip in lab.vips() {
        // A port that nobody listens on: all the host does is to find no way for its RST.
        let target = (vip, 9).into();
        let capture = Capture::start(lab.balancer(), move |frame| {
            !frame.outgoing && frame.tcp().is_some_and(|segment| segment.syn && segment.destination == target)
        })?;
        let report = Flood::start(lab.client().namespace(), target, FLOOD_RATE, FLOOD_COUNT, 1)?.finish()?;
        ensure!(report.sent == FLOOD_COUNT, "{report:?}");
        // Half, as this machine may have other things to do; and it is bounded above.
        let rate = report.rate();
        let bounds = 0.5 * f64::from(FLOOD_RATE)..1.1 * f64::from(FLOOD_RATE);
        ensure!(bounds.contains(&rate), "{rate:.0} SYN/s for {FLOOD_RATE}");
        let (_, caught) =
            capture.wait(Duration::from_secs(10), |caught| caught.count as usize >= FLOOD_COUNT * 9 / 10);
        // The capture may lose some: it is slower than the flood.
        ensure!(caught.count as usize >= FLOOD_COUNT * 9 / 10, "{} of {FLOOD_COUNT} arrived", caught.count);
        ensure!(caught.frames.iter().all(|frame| frame.tcp().is_some_and(|syn| syn.checksum_is_right)));
    }
    Ok(())
}
