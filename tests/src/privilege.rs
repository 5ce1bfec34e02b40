//! What tests need and a machine may lack: root, BPF, programs. Where it is missing, each test that needs it is counted as
//! skipped and the reason is told; where it is required, each is a failure.

use std::{
    collections::BTreeMap,
    env,
    sync::{Mutex, PoisonError},
};

use dtr_lb_agent::datapath::{Datapath, Options};
use libtest_mimic::{Arguments, Trial};

use crate::lab;

/// Set to `1` by `cargo xtask test` for root: then a skip for want of a privilege is a failure.
pub const REQUIRED: &str = "DTR_LB_REQUIRE_PRIVILEGED";
/// The same for programs, set by `cargo xtask ci`.
pub const PROGRAMS_REQUIRED: &str = "DTR_LB_REQUIRE_PROGRAMS";
/// Set by `cargo xtask test`, which shows what is under way.
const TELL: &str = "DTR_LB_TELL";

/// What is missing, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Root, or BPF.
    Privilege(String),
    /// One or more programs.
    Program(String),
}

impl Missing {
    fn reason(&self) -> &str {
        match self {
            Self::Privilege(reason) | Self::Program(reason) => reason,
        }
    }

    fn is_required(&self) -> bool {
        let variable = match self {
            Self::Privilege(_) => REQUIRED,
            Self::Program(_) => PROGRAMS_REQUIRED,
        };
        env::var(variable).is_ok_and(|required| required == "1")
    }
}

/// Why BPF programs, network namespaces or the lab cannot be had; `None` if they can.
pub fn missing() -> Option<Missing> {
    missing_for_bpf().or_else(|| missing_of(&lab::PROGRAMS))
}

/// The same without the lab.
pub fn missing_for_bpf() -> Option<Missing> {
    if !nix::unistd::geteuid().is_root() {
        return Some(Missing::Privilege("they need root".into()));
    }
    let open = Datapath::open(&Options { max_flows: 1024, pins: None, log_packets: false });
    open.err().map(|error| Missing::Privilege(format!("the datapath does not load: {error}")))
}

/// Those of these programs that are not there.
fn missing_of(programs: &[&str]) -> Option<Missing> {
    let missing: Vec<_> = programs.iter().filter_map(|program| lab::missing_program(program)).collect();
    (!missing.is_empty()).then(|| Missing::Program(missing.join("; ")))
}

/// The trials that are left out, each with the reason.
static LEFT_OUT: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The trial, left out of a plain run for this reason.
pub fn left_out(trial: Trial, reason: &str) -> Trial {
    let mut left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    left_out.push((trial.name().to_owned(), reason.to_owned()));
    trial.with_ignored_flag(true)
}

/// The trial, if these programs are there, which the lab itself does without.
pub fn needing(programs: &[&str], trial: Trial) -> Trial {
    match missing_of(programs) {
        None => trial,
        Some(missing) if missing.is_required() => {
            let reason = missing.reason().to_owned();
            Trial::test(trial.name().to_owned(), move || Err(reason.into()))
        }
        Some(missing) => left_out(trial, missing.reason()),
    }
}

/// Says that a trial begins, if that is wanted: the harness tells only how each ends.
pub fn begins(name: &str) {
    if env::var_os(TELL).is_some() {
        tell(&format!("begins: {name}"));
    }
}

/// Runs the trials, or skips them all for the reason in `missing`, and ends the process.
pub fn run(arguments: &Arguments, missing: Option<Missing>, trials: Vec<Trial>) -> ! {
    let Some(missing) = missing else {
        if !arguments.list && !arguments.ignored && !arguments.include_ignored {
            let filter = arguments.filter.as_deref().unwrap_or_default();
            let mut reasons = BTreeMap::<String, usize>::new();
            for (name, reason) in LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                if name.contains(filter) {
                    *reasons.entry(reason.clone()).or_default() += 1;
                }
            }
            for (reason, count) in reasons {
                tell(&format!("skipped: {count} tests, because {reason}"));
            }
        }
        libtest_mimic::run(arguments, trials).exit()
    };
    if missing.is_required() && !arguments.list {
        let all = format!("{} tests cannot run: {}", trials.len(), missing.reason());
        let failure = Trial::test("privileges", move || Err(all.into()));
        // Whatever is filtered for cannot run.
        let everything = Arguments { filter: None, skip: Vec::new(), ..arguments.clone() };
        libtest_mimic::run(&everything, vec![failure]).exit();
    }
    if !arguments.list {
        tell(&format!("skipped: {} tests, because {}", trials.len(), missing.reason()));
    }
    let skipped = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    libtest_mimic::run(arguments, skipped).exit()
}

#[expect(clippy::print_stderr, reason = "a test program's own report")]
fn tell(line: &str) {
    eprintln!("{line}");
}
