//! A replica whose answers queue behind a slow link: it accepts connections later than its peers, and is named for that.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::status::{ReplicaStatus, ServiceStatus};
use dtr_lb_tests::lab::until;

use super::{page, value};
use crate::{Place, Stage};

/// So many connections at first, and so many through the slow link.
const BEFORE: usize = 60;
const AFTER: usize = 240;
/// A walk of the agent's through the flow table comes each second.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn is_named(place: Place) -> Result<()> {
    let stage = place.stage()?;
    stage.shares(BEFORE)?;
    let service = http(&stage)?;
    ensure!(service.slow.is_empty(), "all are alike: {:?}", service.slow);

    // 256 kbit/s: a SYN-ACK waits behind the answers to other requests. (Nothing here delays packets by a time.)
    let replica = stage.lab.replica("r2").context("a replica r2")?;
    let mut tc = replica.namespace().command("tc");
    tc.args(["qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "256kbit", "burst", "1600"]);
    let tc = tc.args(["limit", "100000"]).output().context("running tc")?;
    ensure!(tc.status.success(), "tc: {}", String::from_utf8_lossy(&tc.stderr));
    stage.shares(AFTER)?;
    let service = http(&stage)?;
    let [slow] = &service.slow[..] else { anyhow::bail!("not one replica is slow: {service:?}") };
    ensure!(slow.replica == "r2" && slow.times >= 3.0, "{slow:?}");
    let words = "times as long as its peers to accept a connection (";
    ensure!(slow.text.starts_with("r2 takes ") && slow.text.contains(words), "{slow:?}");
    let text = stage.balancer.command(&stage.lab, &["status", "http"])?;
    let text = String::from_utf8_lossy(&text.stdout);
    ensure!(text.contains(&format!("SLOW {}", slow.text)) && text.contains(" connect "), "{text}");
    agrees(&stage)
}

/// What else is known of these connections: how they ended, and that each has a NAT port, is what the metrics say.
fn agrees(stage: &Stage) -> Result<()> {
    let connections = (BEFORE + AFTER) as u64;
    let closed = |replica: &ReplicaStatus| replica.ends.get("closed").copied().unwrap_or_default();
    let used = |replica: &ReplicaStatus| replica.nat_ports.iter().map(|ports| ports.used).sum::<u64>();
    let mut service = http(stage)?;
    // The last FINs are in the queue yet. All have their ports, but for the few of which another connection has drawn the port, and
    // may take it from TIME_WAIT.
    let are_counted = until(COUNTED_WITHIN, || {
        let Ok(now) = http(stage) else { return false };
        service = now;
        let replicas = service.replicas.iter();
        replicas.clone().map(closed).sum::<u64>() == connections
            && (connections - 10..=connections).contains(&replicas.map(used).sum::<u64>())
    });
    ensure!(are_counted, "not {connections} are closed and have their ports: {service:?}");
    ensure!(service.replicas.iter().all(|replica| replica.client_rtt_ms.is_some()), "{service:?}");
    let (_, series) = page(&stage.lab)?;
    let mut handshakes = 0.0;
    for replica in &service.replicas {
        let labels = format!("service=\"http\",replica=\"{}\"", replica.name);
        ensure!(
            value(&series, &format!("dtr_lb_flow_ends_total{{{labels},end=\"closed\"}}"))?
                == closed(replica) as f64
        );
        handshakes += value(&series, &format!("dtr_lb_connect_seconds_count{{{labels}}}"))?;
        let address = replica.nat_ports.first().context("a NAT address")?.address;
        ensure!(value(&series, &format!("dtr_lb_nat_ports{{{labels},nat_address=\"{address}\"}}"))? > 1000.0);
    }
    ensure!(handshakes == (BEFORE + AFTER) as f64, "{handshakes} handshakes are counted");
    let status = stage.balancer.status(&stage.lab)?;
    let table = status.flow_table.context("the flow table")?;
    ensure!(table.by_state.values().sum::<u64>() == table.entries && table.entries > 0, "{table:?}");
    ensure!((table.evicted, table.refused) == (0, 0) && table.capacity == 2 * status.datapath.max_flows);
    ensure!(value(&series, "dtr_lb_flow_events_lost_total")? == 0.0);
    Ok(())
}

fn http(stage: &Stage) -> Result<ServiceStatus> {
    let status = stage.balancer.status(&stage.lab)?;
    status.services.into_iter().find(|service| service.name == "http").context("the service http")
}
