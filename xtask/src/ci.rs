//! `cargo xtask ci`: everything that a change must pass, one step after the other, each timed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{
    bare,
    command::{cargo, shown},
    deny, dist, fuzz,
    scope::Scope,
    setup, system,
    test::{self, Counts},
};

/// What to run besides.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Options {
    /// Also try the README's commands in a bare Debian, whether or not a change concerns them: for once a week
    #[arg(long)]
    bare: bool,
}

type Step = (&'static str, fn(&mut Counts) -> Result<()>);

const STEPS: [Step; 9] = [
    ("setup", |_| setup::ensure(Scope::Ci).map(drop)),
    ("format", |_| shown(cargo().args(["fmt", "--all", "--check"]))),
    ("clippy", |_| shown(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))),
    ("doc", |_| shown(cargo().args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-Dwarnings"))),
    ("deny", |_| deny::run()),
    ("fuzz", |_| fuzz::ci()),
    ("test", |counts| {
        *counts = test::all()?;
        counts.verdict()
    }),
    ("image", |_| dist::image_of_debug()),
    ("system", |_| system::run()),
];
const BARE: Step = ("bare", |_| bare::run(&bare::Options::default()));

/// Runs all steps, and stops at the first that fails. The last line counts the tests.
pub(crate) fn run(options: Options) -> Result<()> {
    let why_bare = if options.bare { Some("it was asked for".to_owned()) } else { bare::is_due()? };
    let mut done = Vec::new();
    let mut counts = Counts::default();
    let mut outcome = Ok(());
    for (name, step) in STEPS.into_iter().chain(why_bare.is_some().then_some(BARE)) {
        println!("ci: {name}");
        if let ("bare", Some(why)) = (name, &why_bare) {
            println!("ci: a bare Debian, because {why}");
        }
        let start = Instant::now();
        let result = step(&mut counts);
        done.push((name, start.elapsed(), result.is_ok()));
        if result.is_err() {
            outcome = result.with_context(|| format!("ci stopped at {name}"));
            break;
        }
    }
    print!("{}", table(&done));
    if why_bare.is_none() {
        println!(
            "ci: the README's commands in a bare Debian were left out, as nothing concerns them (--bare)"
        );
    }
    // A step that is no test counts when it fails, so that the last line never says that all is well.
    if outcome.is_err() && counts.failed == 0 {
        counts.failed = 1;
    }
    println!("{counts}");
    outcome
}

/// One line a step, seconds with one decimal, and the sum.
fn table(steps: &[(&str, Duration, bool)]) -> String {
    let row = |name: &str, time: Duration, outcome: &str| {
        format!("  {name:<8}{:>8.1} s  {outcome}\n", time.as_secs_f64())
    };
    let rows = steps.iter().map(|&(name, time, ok)| row(name, time, if ok { "ok" } else { "FAILED" }));
    let total = steps.iter().map(|&(_, time, _)| time).sum();
    let outcome = if steps.iter().all(|&(.., ok)| ok) { "ok" } else { "FAILED" };
    format!("ci:\n{}{}", rows.collect::<String>(), row("total", total, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_step_and_the_sum() {
        let seconds = Duration::from_secs_f64;
        let text = table(&[("format", seconds(0.46), true), ("test", seconds(61.0), false)]);
        let want =
            "ci:\n  format       0.5 s  ok\n  test        61.0 s  FAILED\n  total       61.5 s  FAILED\n";
        assert_eq!(text, want);
    }
}
