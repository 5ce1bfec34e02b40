//! SYNs that no replica answers, sent by hand: what they may say against a replica.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use dtr_lb_tests::lab::{Families, RawSocket, Segment, until};

use crate::{Place, Stage};

/// After so long a SYN that comes again is taken for one that was not answered.
const AGAIN: Duration = Duration::from_millis(600);
/// SYNs with ports of their own: that none of so many is for a given replica of three happens once in 10^7 runs.
const COUNT: u16 = 40;
/// The passive check reads every 0.1 s. The rest is for a busy machine.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// The offset of the TCP checksum in an IPv4 packet.
const CHECKSUM: usize = 36;

/// A stage whose probes are an hour apart: what takes a replica out is the passive check.
fn stage(place: Place) -> Result<Stage> {
    let quiet =
        |service| ["interval", "fast_interval"].map(|key| format!("service.{service}.probe.{key}=1h"));
    let mut options = place.options();
    options.sets.extend((0..2).flat_map(quiet));
    place.stage_with(place.family_options(Families::V4), &options)
}

/// Sends a SYN by each of many ports of an address, and each once more when it is a repeated one. `change`: what is done to each.
fn twice(stage: &Stage, source: IpAddr, first_port: u16, change: impl Fn(&mut Vec<u8>)) -> Result<()> {
    let socket = RawSocket::open(stage.lab.client().namespace(), stage.lab.vip())?;
    for round in 0..2 {
        if round > 0 {
            thread::sleep(AGAIN);
        }
        for port in first_port..first_port + COUNT {
            let syn =
                Segment { syn: true, sequence: 7, ..Segment::between((source, port).into(), stage.http()) };
            let mut packet = syn.packet(&[]);
            change(&mut packet);
            socket.send(&packet)?;
        }
    }
    Ok(())
}

/// A real client's SYNs with a wrong checksum, which every replica drops in silence as any host does.
pub(super) fn damaged(place: Place) -> Result<()> {
    let stage = stage(place)?;
    twice(&stage, stage.lab.client().address(), 20_000, |packet| packet[CHECKSUM] ^= 1)?;
    let met = || -> Result<u64> {
        let verdicts = stage.balancer.status(&stage.lab)?.verdicts;
        Ok(verdicts.get("forwarded_unverified").copied().unwrap_or_default())
    };
    let all = until(SEEN_WITHIN, || met().is_ok_and(|met| met >= u64::from(COUNT)));
    ensure!(all, "{} of {COUNT} damaged SYNs were sent on", met()?);
    let out = until(SEEN_WITHIN / 2, || {
        stage.replica_statuses().is_ok_and(|all| all.iter().any(|replica| replica.state != "up"))
    });
    let replicas = stage.replica_statuses()?;
    ensure!(!out, "a replica was taken out for what it could not answer: {replicas:?}");
    ensure!(replicas.iter().all(|replica| replica.unanswered == 0), "{replicas:?}");
    Ok(())
}

/// Whole SYNs to a replica that is cut off: one network's word is not enough, two are, and the reason names them.
pub(super) fn of_networks(place: Place) -> Result<()> {
    let stage = stage(place)?;
    let replica = || stage.balancer.replica(&stage.lab, "http", "r2");
    stage.lab.replicas()[1].cut()?;
    twice(&stage, Ipv4Addr::new(198, 18, 3, 4).into(), 20_000, |_| {})?;
    let counted = until(SEEN_WITHIN, || replica().is_ok_and(|replica| replica.unanswered >= 2));
    ensure!(counted, "the silence was not counted: {:?}", replica()?);
    let out = until(SEEN_WITHIN / 2, || replica().is_ok_and(|replica| replica.state != "up"));
    ensure!(!out, "one client's word has taken it out: {:?}", replica()?);
    twice(&stage, Ipv4Addr::new(198, 19, 3, 4).into(), 21_000, |_| {})?;
    let out = until(SEEN_WITHIN, || replica().is_ok_and(|replica| replica.state == "down"));
    let now = replica()?;
    ensure!(out, "two networks' word has not taken it out: {now:?}");
    let reason = now.reason.unwrap_or_default();
    ensure!(
        reason.contains("(no answer to 198.18.3.4, 198.19.3.4, of 2 networks)"),
        "the reason is `{reason}`"
    );
    let told = stage.balancer.log_lines(&["replica is down", "198.19.3.4"])?;
    ensure!(told.len() == 1, "the log: {told:?}");
    Ok(())
}
