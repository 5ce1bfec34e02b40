//! The demo: what `cargo xtask run` does once everything is built. The lab, with an agent in it, for people to look at.
//!
//! `live` shows the agent's status and takes commands; `unattended` makes traffic, fails replicas by a script, and
//! reports what became of every request. Both play on one `stage`, which is gone afterwards, whatever happens.
//!
//! What is pure is apart from what touches the lab: `script` (when what is done), `sighting` (what the agent's log
//! says), `timeline` and `explain` (why a request failed), `report` (how it reads).

mod errand;
mod explain;
mod hints;
mod interrupt;
mod leftovers;
mod live;
mod report;
mod script;
mod sighting;
mod stage;
mod timeline;
mod typed;
mod unattended;

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use dtr_lb_agent::datapath::Hook;

use self::{interrupt::Interrupt, stage::Stage};
use crate::{
    compare::{self, Comparison, Deed, Original},
    lab::{Lab, Topology, missing_requirements},
};

/// The shortest and the longest unattended run. In a shorter one a replica would be back before it is found out.
const LENGTHS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(600)];

/// The exit status after a signal: 128 and SIGINT, whichever of them it was.
const INTERRUPTED: u8 = 130;

/// What the demo is to be.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Where the datapath sits.
    pub hook: Hook,
    /// How the balancer is connected.
    pub topology: Topology,
    /// How many replicas there are.
    pub replicas: usize,
    /// Unattended, for so long. `None`: live, until it is ended.
    pub length: Option<Duration>,
}

/// How it ended.
enum End {
    /// As it should.
    Good,
    /// Something happened that has no explanation. It was printed.
    Bad,
    /// By a signal.
    Interrupted,
}

impl Demo {
    fn check(&self) -> Result<()> {
        if let Some(length) = self.length {
            let [shortest, longest] = LENGTHS;
            ensure!(
                (shortest..=longest).contains(&length),
                "--for {length:?} is not between {shortest:?} and {longest:?}: replicas are failed and healed at \
                 fractions of it, and a shorter run would heal them before anything has noticed"
            );
            ensure!(
                self.replicas >= 2,
                "--for needs at least 2 replicas, not {}: it fails one of them, and another has to take over",
                self.replicas
            );
        }
        let missing = missing_requirements();
        if !missing.is_empty() {
            bail!(
                "the lab cannot be made here: {}. `cargo xtask setup` installs what is missing",
                missing.join("; ")
            );
        }
        Ok(())
    }
}

/// Makes the lab, shows it, and removes it again, also after SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// The lab or the agent did not come up, or a step of the script could not be taken.
pub fn run(demo: &Demo) -> Result<ExitCode> {
    demo.check()?;
    let interrupt = Interrupt::install()?;
    for id in Lab::sweep_stale()? {
        say(format_args!("removed lab {id}, whose owner was killed"));
    }
    let stage = match Stage::set(demo) {
        // The signal also reached the programs that were building it.
        Err(_) if interrupt.pending() => {
            say("interrupted before the lab was complete; what there was of it is removed");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        other => other?,
    };
    let ended = match demo.length {
        None => live::run(&stage, &interrupt),
        Some(length) => unattended::run(&stage, length, &interrupt),
    };
    let clean = stage.strike();
    Ok(match ended? {
        _ if !clean => ExitCode::FAILURE,
        End::Good => ExitCode::SUCCESS,
        End::Bad => ExitCode::FAILURE,
        End::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

/// Plays the same failures to a sample of DTR's documentation and to what `dtr-lb import` makes of it. A signal ends it, and the
/// next run removes what is left of the lab.
///
/// # Errors
/// The lab, the original or dtr-lb did not come up, or not all replicas served again after a failure.
pub fn compare(original: Original, hook: Hook, topology: Topology, time: Duration) -> Result<Comparison> {
    let missing = missing_requirements();
    if !missing.is_empty() {
        bail!(
            "the lab cannot be made here: {}. `cargo xtask setup` installs what is missing",
            missing.join("; ")
        );
    }
    for id in Lab::sweep_stale()? {
        say(format_args!("removed lab {id}, whose owner was killed"));
    }
    let each = Deed::ALL.len() as u32 * time * 2;
    say(format_args!("this takes some {} and what it takes until all replicas serve again", seconds(each)));
    compare::compare(original, hook, topology, time)
}

/// Prints a line. A terminal that has gone away, with a SIGHUP, must not keep the lab from being removed, as the panic
/// of `println!` would.
fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Seconds, as everything here prints them.
fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
