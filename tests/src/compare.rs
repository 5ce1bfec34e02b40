//! What people run today beside dtr-lb: a sample of DTR's documentation as it stands, and what `dtr-lb import` makes of it, on the
//! same replicas. The same failures are played to both.

mod deeds;
mod original;

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use dtr_lb_agent::datapath::Hook;

pub use deeds::{Deed, Noticed, play};
pub use original::Original;

use crate::{
    balancer::Balancer,
    lab::{Lab, LabOptions, Topology},
    stub::pass_stub,
};

/// What was noticed of each deed, with the original and with dtr-lb.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub original: Original,
    pub rows: Vec<(Deed, Noticed, Noticed)>,
    /// dtr-lb's config, and the report of the import.
    pub config: String,
    pub report: String,
}

/// Makes a lab, runs the original and then dtr-lb in it, and plays each deed for `time` to both.
pub fn compare(original: Original, hook: Hook, topology: Topology, time: Duration) -> Result<Comparison> {
    let options = LabOptions::new(topology, 3).without_registry().with_pass_stub(pass_stub());
    let lab = Lab::create(options).context("the lab did not come up")?;
    let process = original.start(&lab)?;
    let play_all =
        || Deed::ALL.map(|deed| play(&lab, original, deed, time)).into_iter().collect::<Result<Vec<_>>>();
    let theirs = play_all().with_context(|| original.name())?;
    process.stop()?;
    let (config, report) = original.import(&lab)?;
    let balancer = Balancer::start_with(&lab, &config, hook)?;
    let ours = play_all().with_context(|| format!("dtr-lb:\n{}", balancer.process().log_tail(20)))?;
    let rows = Deed::ALL
        .into_iter()
        .zip(theirs.into_iter().zip(ours))
        .map(|(deed, (theirs, ours))| (deed, theirs, ours));
    Ok(Comparison { original, rows: rows.collect(), config, report })
}

impl Comparison {
    /// A table for a terminal.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<12} {:<44} {}\n",
            "replica 1 is",
            format!("{} as documented", self.original.name()),
            "dtr-lb, by what `dtr-lb import` made of it"
        );
        for (deed, theirs, ours) in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<12} {:<44} {}", deed.name(), words(theirs), words(ours));
        }
        text.push_str(
            "Of four clients, each with a new connection at a time: failed requests (5 s are waited), the slowest of the others, and in \
             the last\nquarter of the time what still failed, and what the replica still answered.\n",
        );
        text
    }
}

fn words(noticed: &Noticed) -> String {
    let Noticed { requests, failed, slowest, still_failed, still_answered, errors: _ } = noticed;
    let slowest = slowest.as_millis();
    format!("{failed} of {requests} failed, {slowest} ms; late {still_failed}/{still_answered}")
}
