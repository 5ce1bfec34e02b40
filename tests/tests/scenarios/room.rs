//! A flow table that is small for what comes: whoever is connected stays, and who finds no room is told.

use std::{io, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dtr_lb_tests::lab::Families;

use crate::{
    Place, Scenario, Stage,
    session::{Session, all_live},
};

/// Each has the machine to itself: thousands of connections.
pub(crate) const SCENARIOS: &[Scenario] = &[
    // The table is the same for both hooks.
    ("connections_that_rest_push_nobody_out", &[Place::TC_TWO_ARM], short_ones),
    ("a_full_table_refuses_and_pushes_nobody_out", &[Place::XDP_ONE_ARM], long_ones),
];

/// The least that a config may say.
const MAX_FLOWS: usize = 1024;
/// Connections that are open and idle. With those that fit, the table is as full as no key yet finds both of its buckets full
/// (docs/benchmarks.md).
const IDLE: usize = 600;
/// Short ones for which there is room beside them, even if each rests after its end.
const FIT: usize = 100;
/// Short ones beyond that: with the idle ones, more than twice of what is configured. The replicas close first, so that each
/// rests for a minute, in which all of this is over.
const BEYOND: usize = 1800;
/// Connections that stay open, more than twice of what is configured.
const LONG: usize = 2200;

fn stage(place: Place) -> Result<Stage> {
    let mut options = place.options();
    options.sets = vec![format!("datapath.max_flows={MAX_FLOWS}")];
    place.stage_with(place.family_options(Families::V4), &options)
}

/// How many SYNs were answered by a reset for want of room.
fn refusals(stage: &Stage) -> Result<u64> {
    let verdicts = stage.balancer.status(&stage.lab)?.verdicts;
    Ok(verdicts.get("answered_table_full").copied().unwrap_or(0))
}

/// Idle connections, and others that come and go.
fn short_ones(place: Place) -> Result<()> {
    let stage = stage(place)?;
    let vip = stage.lab.vip();
    let mut idle = (0..IDLE).map(|_| Session::open(&stage, vip)).collect::<Result<Vec<_>>>()?;
    stage.shares(FIT).context("short connections for which there is room")?;
    ensure!(refusals(&stage)? == 0, "refused, with room for all");
    let tally = stage.lab.client().connections(stage.http(), BEYOND, 8)?;
    all_live(&stage, idle.iter_mut())?;
    let refused = |error: &String| error.contains("refused");
    let other = tally.errors.iter().find(|request| !request.outcome.as_ref().is_err_and(refused));
    ensure!(other.is_none(), "neither served nor refused: {other:?}");
    ensure!(
        refusals(&stage)? == tally.errors.len() as u64,
        "{} connections were refused, and {} are counted",
        tally.errors.len(),
        refusals(&stage)?
    );
    Ok(())
}

/// Connections that stay, until there is no room for another one.
fn long_ones(place: Place) -> Result<()> {
    let stage = stage(place)?;
    let vip = stage.lab.vip();
    let (mut sessions, mut refused) = (Vec::new(), 0);
    for number in 0..LONG {
        match Session::connect(&stage, vip)? {
            Ok(stream) => sessions.push(Session { stream, replica: String::new() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Before the table is full, a key may find both of its buckets full: docs/benchmarks.md.
                ensure!(number >= MAX_FLOWS * 3 / 4, "refused after {number} connections of {MAX_FLOWS}");
                refused += 1;
            }
            Err(error) => return Err(error).with_context(|| format!("connection {number}")),
        }
        if let Some(session) = sessions.last_mut()
            && session.replica.is_empty()
        {
            session.replica = session.ask(Duration::from_secs(3))?;
        }
    }
    all_live(&stage, sessions.iter_mut())?;
    ensure!(refused > 0, "{LONG} connections live, and the table is for {MAX_FLOWS}");
    ensure!(refusals(&stage)? == refused, "{refused} refused, and {} are counted", refusals(&stage)?);
    // The replicas had no part in it.
    ensure!(stage.replica_statuses()?.iter().all(|replica| replica.refused == 0), "refused by a replica");
    Ok(())
}
