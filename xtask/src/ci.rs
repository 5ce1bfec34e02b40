//! `cargo xtask ci`: everything that a change must pass, one step after the other, each timed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{
    command::{cargo, shown},
    deny, fuzz,
    setup::{self, Scope},
    system,
    test::{self, Selection},
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 8] = [
    ("setup", || setup::ensure(Scope::All)),
    ("format", || shown(cargo().args(["fmt", "--all", "--check"]))),
    ("clippy", || shown(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))),
    ("doc", || shown(cargo().args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-Dwarnings"))),
    ("deny", deny::run),
    ("fuzz", fuzz::ci),
    ("test", || test::run(&Selection::default())),
    ("system", system::run),
];

/// Runs all steps, and stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    let mut done = Vec::new();
    for (name, step) in STEPS {
        println!("ci: {name}");
        let start = Instant::now();
        let result = step();
        done.push((name, start.elapsed(), result.is_ok()));
        if result.is_err() {
            print!("{}", table(&done));
            return result.with_context(|| format!("ci stopped at {name}"));
        }
    }
    print!("{}", table(&done));
    Ok(())
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
