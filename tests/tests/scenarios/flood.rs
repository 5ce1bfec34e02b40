//! A flood of SYNs from sources that are nobody's, and clients that go on.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_agent::datapath::Hook;
use dtr_lb_tests::lab::{Families, Flood, LabOptions};

use crate::{BOTH_HOOKS, Place, Scenario};

/// Each has the machine to itself.
pub(crate) const SCENARIOS: &[Scenario] = &[
    // The tables are the same wherever a SYN came in; each hook has its own cost.
    ("a_flood_of_syns_is_not_noticed", BOTH_HOOKS, |place| flood(place, Families::V4)),
    ("no_replica_changes_its_state_in_a_flood_at_full_speed", BOTH_HOOKS, probes),
    ("a_flood_of_syns_is_not_noticed_over_ipv6", &[Place::XDP_ONE_ARM], |place| flood(place, Families::V6)),
];

const SECONDS: usize = 5;

/// SYNs a second: what two processors carry that also are the attacker, the switch, and the replicas with their answers.
/// Under TC each of these packets costs them twice as much, and over IPv6 the replicas' answers cost more.
fn rate(hook: Hook, families: Families) -> u32 {
    match (hook, families) {
        (Hook::NativeXdp, Families::V4) => 66_000,
        _ => 33_000,
    }
}

/// The part of the rate that has to be reached for the scenario to say anything: the machine may have other work.
const LEAST: f64 = 0.5;

/// Packets that the kernel itself threw away as its queues were full, anywhere on this machine.
fn lost_by_kernel() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/softnet_stat").context("reading softnet_stat")?;
    let dropped = text.lines().filter_map(|line| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok());
    Ok(dropped.sum())
}

fn flood(place: Place, families: Families) -> Result<()> {
    let rate = rate(place.hook, families);
    let lab = LabOptions { clients: 2, ..place.family_options(families) };
    let stage = place.stage_with(lab, &place.options())?;
    let whole = fs::read(stage.lab.big_file())?;
    let client = stage.lab.client().clone();
    // 16 MiB at 3 MiB a second.
    let url = stage.url("https", "slow/big?rate=3m");
    let attacker = stage.lab.clients()[1].namespace();
    let lost_before = lost_by_kernel()?;
    let flood = Flood::start(attacker, stage.http(), rate, rate as usize * SECONDS, 1)?;
    let download = thread::spawn(move || client.curl(&url, &["--max-time", "60"]));
    let load =
        stage.lab.client().background_load(stage.http(), Duration::from_millis(5), Duration::from_secs(4))?;
    let mut curls = 0;
    while flood.is_running() {
        stage.whoami("https")?;
        curls += 1;
    }
    let report = flood.finish()?;
    let requests = load.stop();
    let lost = lost_by_kernel()? - lost_before;
    let failed: Vec<_> = requests.iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} requests failed, the first: {:?}; {report:?}; lost by the kernel: {lost}; verdicts {:?}",
        failed.len(),
        requests.len(),
        failed[0],
        stage.balancer.status(&stage.lab)?.verdicts
    );
    let outcome = download.join().map_err(|_| anyhow::anyhow!("the download's thread panicked"))??;
    ensure!(
        outcome.is_ok() && outcome.body == whole,
        "the download failed: {} {}, {} bytes",
        outcome.exit,
        outcome.stderr,
        outcome.body.len()
    );
    ensure!(
        report.rate() >= LEAST * f64::from(rate),
        "only {:.0} SYN/s were sent: {report:?}",
        report.rate()
    );
    ensure!(curls + requests.len() > 10, "{curls} curls and {} requests", requests.len());
    // The kernel's queues may lose some of the flood. The rest was steered, or turned away for a reason.
    let verdicts = stage.balancer.status(&stage.lab)?.verdicts;
    let met: u64 = verdicts.values().sum();
    let least = (report.sent as u64).saturating_sub(lost);
    ensure!(met >= least, "{met} packets of {} SYNs, {lost} of them lost: the flood missed", report.sent);
    Ok(())
}

/// SYNs of each of the two senders that do not hold back: some seconds of what a processor sends.
const AT_FULL_SPEED: usize = 1_000_000;

/// Two senders as fast as they can, on the processors that balancer and replicas have, too. No replica changes its state, by probes
/// as they are by default: neither by what probes miss, nor by what a flood's leftovers make a replica refuse.
fn probes(place: Place) -> Result<()> {
    let mut options = place.options();
    options.services = String::new();
    let lab = LabOptions { clients: 3, ..place.family_options(Families::V4) };
    let stage = place.stage_with(lab, &options)?;
    let start = |(attacker, seed): (&dtr_lb_tests::lab::Client, u64)| {
        Flood::start(attacker.namespace(), stage.http(), u32::MAX, AT_FULL_SPEED, seed)
    };
    let floods = stage.lab.clients()[1..].iter().zip(1..).map(start).collect::<Result<Vec<_>, _>>()?;
    let mut took = BTreeMap::<u16, Vec<f64>>::new();
    while floods.iter().any(Flood::is_running) {
        for replica in stage.replica_statuses()? {
            took.entry(replica.port).or_default().extend(replica.last_probe.map(|probe| probe.ms));
        }
        thread::sleep(Duration::from_millis(100));
    }
    let reports = floods.into_iter().map(Flood::finish).collect::<Result<Vec<_>, _>>()?;
    let replicas = stage.replica_statuses()?;
    for (port, took) in &mut took {
        took.sort_by(f64::total_cmp);
        // The same probe is seen more than once.
        took.dedup();
        let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "probes at port {port}: {} seen, median {median} ms, slowest {most} ms; {reports:?}",
            took.len()
        );
    }
    // From starting to up.
    let changed: Vec<_> = replicas.iter().filter(|replica| replica.history.len() > 1).collect();
    ensure!(
        changed.is_empty(),
        "{} replicas changed their state, the first: {:?}; {reports:?}",
        changed.len(),
        changed[0].history
    );
    let suspected = stage.balancer.log_lines(&["suspects itself"])?;
    ensure!(suspected.is_empty(), "{suspected:?}");
    Ok(())
}
