//! Tests that need root and BPF: where these are missing, each is counted as skipped and the reason is told; where they
//! are required, missing ones are a failure.

use std::env;

use dtr_lb_agent::datapath::{Datapath, Options};
use libtest_mimic::{Arguments, Trial};

use crate::lab;

/// Set to `1` by `cargo xtask test` for root: then a skip is a failure.
pub const REQUIRED: &str = "DTR_LB_REQUIRE_PRIVILEGED";

/// Why BPF programs and network namespaces cannot be had; `None` if they can.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it needs root".into());
    }
    if let Err(error) = Datapath::open(&Options { max_flows: 1024, pins: None, log_packets: false }) {
        return Some(format!("the datapath does not load: {error}"));
    }
    let programs = lab::missing_requirements();
    (!programs.is_empty()).then(|| format!("missing: {}", programs.join(", ")))
}

/// Runs the trials, or skips them all for the reason in `missing`, and ends the process.
pub fn run(arguments: &Arguments, missing: Option<String>, trials: Vec<Trial>) -> ! {
    let Some(reason) = missing else { libtest_mimic::run(arguments, trials).exit() };
    if env::var(REQUIRED).is_ok_and(|required| required == "1") {
        let all = format!("{} tests cannot run: {reason}", trials.len());
        let failure = Trial::test("privileges", move || Err(all.into()));
        libtest_mimic::run(arguments, vec![failure]).exit();
    }
    #[expect(clippy::print_stderr, reason = "a test program's own report")]
    {
        eprintln!("skipped: {} tests, because {reason}", trials.len());
    }
    let skipped = trials.into_iter().map(|trial| trial.with_ignored_flag(true)).collect();
    libtest_mimic::run(arguments, skipped).exit()
}
