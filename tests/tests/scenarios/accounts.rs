//! Each connection is in the flow log, once: while replicas are killed, sick and slow, its lines are as many as clients counted, and
//! their sums are what the datapath has counted by itself. `jq` reads it.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, PerCpuArray};
use dtr_lb_common::abi::{FlowStats, ReplicaCounters, Traffic, map};
use dtr_lb_tests::{
    balancer::UP_WITHIN,
    lab::{Tally, until},
    pinned,
};

use crate::{BOTH_HOOKS, Place, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("each_connection_is_in_the_flow_log_once", BOTH_HOOKS, while_replicas_fail)];

/// Those that take as long as they are told to.
pub(crate) const MANY: &[Scenario] =
    &[("each_of_a_million_connections_is_in_the_flow_log_once", BOTH_HOOKS, many)];

/// How many, by the environment.
const CONNECTIONS: (&str, usize) = ("DTR_LB_ACCOUNTS", 1_000_000);
/// Connections of a batch.
const BATCH: usize = 10_000;
/// The last lines are there.
const WRITTEN_WITHIN: Duration = Duration::from_secs(15);
/// How long a replica says nothing: its kernel accepts, and clients wait. Shorter than it takes to be called dead.
const FROZEN: Duration = Duration::from_millis(450);

/// What was counted behind the agent's back, to replicas and to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// All that was forwarded.
    all: [Traffic; 2],
    /// What is in no connection's account.
    aside: [Traffic; 2],
    untold: u64,
}

impl Counted {
    fn read(bpffs: &Path) -> Result<Self> {
        let replicas: PerCpuArray<_, ReplicaCounters> = pinned::open(bpffs, map::REPLICA_STATS)?;
        let flows: Array<_, FlowStats> = pinned::open(bpffs, map::FLOW_STATS)?;
        let mut sum = Self::default();
        for id in 0..64 {
            for one in replicas.get(&id, 0)?.iter() {
                add(&mut sum.all, [one.to_replica, one.to_client]);
            }
            let stats = flows.get(&id, 0)?;
            add(&mut sum.aside, stats.aside);
            sum.untold += stats.untold;
        }
        Ok(sum)
    }

    /// What connections' accounts have had since.
    fn since(&self, before: &Self) -> [Traffic; 2] {
        let minus =
            |a: Traffic, b: Traffic| Traffic { packets: a.packets - b.packets, bytes: a.bytes - b.bytes };
        std::array::from_fn(|way| {
            minus(minus(self.all[way], before.all[way]), minus(self.aside[way], before.aside[way]))
        })
    }
}

fn add(sum: &mut [Traffic; 2], traffic: [Traffic; 2]) {
    for (sum, traffic) in sum.iter_mut().zip(traffic) {
        sum.packets += traffic.packets;
        sum.bytes += traffic.bytes;
    }
}

/// A stage whose agent writes a flow log.
struct Logged {
    stage: Stage,
    log: PathBuf,
    before: Counted,
    /// Answers that clients have got, by replica.
    answered: BTreeMap<String, usize>,
}

impl Logged {
    fn open(place: Place) -> Result<Self> {
        let stage = place.stage()?;
        let log = stage.lab.directory().join("flows.log");
        let text = stage.balancer.config_text()?;
        let line = format!("[agent]\nflow_log = \"{}\"\n", log.display());
        stage.balancer.write_config_text(&text.replacen("[agent]\n", &line, 1))?;
        let reloaded = stage.balancer.command(&stage.lab, &["reload"])?;
        ensure!(reloaded.status.success(), "{reloaded:?}");
        // The datapath tells from the next look of the thread that hears it.
        let bpffs = stage.lab.bpffs().join("dtr-lb");
        let wanted: Array<_, u32> = pinned::open(&bpffs, map::FLOW_WANTED)?;
        ensure!(
            until(WRITTEN_WITHIN, || wanted.get(&0, 0).is_ok_and(|wanted| wanted != 0)),
            "nobody asks the datapath to tell of connections"
        );
        let before = Counted::read(&bpffs)?;
        Ok(Self { stage, log, before, answered: BTreeMap::new() })
    }

    /// Connections, none of which fails.
    fn connect(&mut self, total: usize, concurrency: usize) -> Result<()> {
        let tally = self.stage.lab.client().connections(self.stage.http(), total, concurrency)?;
        self.take(tally)
    }

    fn take(&mut self, tally: Tally) -> Result<()> {
        let Tally { replicas, errors, .. } = tally;
        ensure!(errors.is_empty(), "{} connections failed, the first: {:?}", errors.len(), errors[0]);
        for (replica, count) in replicas {
            *self.answered.entry(replica).or_default() += count;
        }
        Ok(())
    }

    /// What jq makes of the log.
    fn jq(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("jq").args(arguments).arg(&self.log).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "jq {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn summary(&self) -> Result<Summary> {
        Ok(serde_json::from_str(&self.jq(&["-n", "-c", SUMMARY])?)?)
    }

    /// Lines of connections that have ended.
    fn lines(&self) -> usize {
        let text = std::fs::read(&self.log).unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter(|line| contains(line, b"\"event\":\"end\"")).count()
    }

    /// No connection is missing, none is there twice, and the sums are the datapath's.
    fn balances(&self) -> Result<Summary> {
        let total = self.answered.values().sum::<usize>();
        ensure!(
            until(WRITTEN_WITHIN, || self.lines() >= total),
            "{} lines of {total} connections: {}",
            self.lines(),
            self.stage.balancer.process().log_tail(10)
        );
        let said = self.summary()?;
        ensure!(said.others.is_empty(), "none failed, and the log has {:?}", said.others);
        ensure!(
            said.replicas == self.answered,
            "clients were answered by {:?}, and not {said:?}",
            self.answered
        );
        let keys = self.jq(&["-r", r#""\(.client) \(.nat) \(.start)""#])?;
        let apart = keys.lines().collect::<HashSet<_>>().len();
        ensure!(apart == total, "of {total} lines {apart} are of different connections");
        let counted = Counted::read(&self.stage.lab.bpffs().join("dtr-lb"))?;
        let sums = [said.to_replica, said.to_client].map(|[packets, bytes]| Traffic { packets, bytes });
        ensure!(
            sums == counted.since(&self.before),
            "the log's sums are {sums:?}; the datapath has counted {counted:?}, and before {:?}",
            self.before
        );
        ensure!(counted.untold == self.before.untold, "{} ends were not told", counted.untold);
        Ok(said)
    }
}

/// All of the log in one walk through it.
const SUMMARY: &str = r#"reduce inputs as $l (
    {others: {}, replicas: {}, to_replica: [0, 0], to_client: [0, 0], tried_again: 0, measured: 0, slowest: {ms: 0, replica: ""}};
    if $l.event == "end" then .replicas[$l.replica] += 1 else .others["\($l.event) \($l.end)"] += 1 end
    | .to_replica[0] += $l.packets_to_replica | .to_replica[1] += $l.bytes_to_replica
    | .to_client[0] += $l.packets_to_client | .to_client[1] += $l.bytes_to_client
    | if $l.attempts == 2 then .tried_again += 1 else . end
    | if $l.connect_ms != null and $l.client_rtt_ms != null then .measured += 1 else . end
    | if $l.duration_ms > .slowest.ms then .slowest = {ms: $l.duration_ms, replica: $l.replica} else . end)"#;

#[derive(Debug, serde::Deserialize)]
struct Summary {
    /// Lines of what has not ended, by what they say.
    others: BTreeMap<String, usize>,
    /// Those that have, by replica.
    replicas: BTreeMap<String, usize>,
    /// Packets and bytes.
    to_replica: [u64; 2],
    to_client: [u64; 2],
    tried_again: usize,
    measured: usize,
    slowest: Slowest,
}

#[derive(Debug, serde::Deserialize)]
struct Slowest {
    ms: f64,
    replica: String,
}

fn contains(line: &[u8], what: &[u8]) -> bool {
    line.windows(what.len()).any(|window| window == what)
}

fn while_replicas_fail(place: Place) -> Result<()> {
    let mut logged = Logged::open(place)?;
    logged.connect(600, 8)?;
    // Killed: who is sent there is sent on.
    logged.stage.lab.replicas()[0].kill()?;
    logged.connect(300, 8)?;
    logged.stage.lab.replicas()[0].start()?;
    logged.stage.wait_for_state("r1", "up", UP_WITHIN)?;
    // Sick: it says so to probes, and what it has taken it answers.
    logged.stage.lab.replicas()[1].sicken()?;
    logged.connect(300, 8)?;
    logged.stage.lab.replicas()[1].heal()?;
    logged.stage.wait_for_state("r2", "up", UP_WITHIN)?;
    // Slow: clients wait for its answer.
    let (client, http) = (logged.stage.lab.client().clone(), logged.stage.http());
    logged.stage.lab.replicas()[2].freeze()?;
    let waiting = thread::spawn(move || client.connections(http, 60, 20));
    thread::sleep(FROZEN);
    logged.stage.lab.replicas()[2].thaw()?;
    let tally = waiting.join().map_err(|_| anyhow::anyhow!("the clients' thread panicked"))??;
    logged.take(tally)?;
    let said = logged.balances()?;
    ensure!(said.tried_again > 0, "no connection was sent on from the killed replica: {said:?}");
    ensure!(said.slowest.replica == "r3" && said.slowest.ms >= 300.0, "the slowest was {:?}", said.slowest);
    let total = logged.answered.values().sum::<usize>();
    ensure!(said.measured == total, "{} of {total} handshakes were measured", said.measured);
    Ok(())
}

fn many(place: Place) -> Result<()> {
    let (name, default) = CONNECTIONS;
    let total = std::env::var(name).map_or(Ok(default), |text| text.parse()).context(name)?;
    let mut logged = Logged::open(place)?;
    let mut done = 0;
    while done < total {
        logged.connect(BATCH.min(total - done), 16)?;
        done += BATCH;
    }
    let said = logged.balances()?;
    println!("{total} connections: {said:?}");
    Ok(())
}
