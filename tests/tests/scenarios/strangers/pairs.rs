//! A flood of handshakes that nobody made: SYNs from sources that are nobody's, and after each an ACK that acknowledges what was
//! never said. Its sender needs to hear nothing, and so can send as many as he likes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dtr_lb_tests::lab::{Families, Flood, LabOptions, until, whoami};

use crate::{Place, Stage};

/// Pairs a second, for so long.
const RATE: u32 = 9000;
const SECONDS: usize = 3;
/// 3,072 NAT ports towards each of three replicas. At this rate they are all used after a second: a port that a handshake keeps
/// beyond its round trip is missed before the flood is half over. Held for 300 ms each, three of ten are in use.
const PORTS: &str = "datapath.nat_ports=20000-23071";
/// Real connections after that, and their limit: a SYN that is lost is sent again after a second.
const CONNECTIONS: usize = 30;
const LIMIT: Duration = Duration::from_millis(1100);
/// The part of the rate that has to be reached for the scenario to say anything.
const LEAST: f64 = 0.5;

pub(super) fn flood(place: Place) -> Result<()> {
    let mut options = place.options();
    options.sets = vec![PORTS.to_owned()];
    let lab = LabOptions { clients: 2, ..place.family_options(Families::V4) };
    let stage = place.stage_with(lab, &options)?;
    for replica in stage.lab.replicas() {
        // Cookies for all: a replica that remembers a handshake answers the next one on its port by an ACK for the old one.
        replica.namespace().sysctl("net.ipv4.tcp_syncookies", "2")?;
    }
    let attacker = stage.lab.clients()[1].namespace();
    let target = stage.http();
    let flood = Flood::start_pairs(attacker, target, RATE, RATE as usize * SECONDS, 1)?;
    let begun = Instant::now();
    // The first half is for the flood alone.
    until(Duration::from_secs(SECONDS as u64) / 2, || !flood.is_running());
    let (mut failed, mut during, mut most) = (Vec::new(), 0, 0);
    for _ in 0..CONNECTIONS {
        let request = stage.lab.client().namespace().run(|| whoami(target, LIMIT))?;
        during += usize::from(flood.is_running());
        failed.extend(request.outcome.err());
        most = most.max(invented(&stage)?);
    }
    let report = flood.finish()?;
    most = most.max(invented(&stage)?);
    let verdicts = stage.balancer.status(&stage.lab)?.verdicts;
    ensure!(
        failed.is_empty(),
        "{} of {CONNECTIONS} connections failed, {during} were during the flood, the first: {:?}; {most} of the flood's are \
         flows; {report:?}; verdicts {verdicts:?}",
        failed.len(),
        failed[0]
    );
    ensure!(most == 0, "{most} flows of clients that do not exist; {report:?}; verdicts {verdicts:?}");
    ensure!(during > 0, "no connection was made during the flood, which took {:?}", begun.elapsed());
    ensure!(report.rate() >= LEAST * 2.0 * f64::from(RATE), "too slow: {report:?}");
    Ok(())
}

/// How many connections, handshakes apart, there are of the flood's sources.
fn invented(stage: &Stage) -> Result<u64> {
    Ok(stage.flows(&["--client", "198.18.0.0/15", "--limit", "1"])?.matched)
}
