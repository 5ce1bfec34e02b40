//! `dtr-lb-fuzz-input`: replays the corpus, then plays fresh inputs. `cargo xtask fuzz-input` builds and runs it.

#![forbid(unsafe_code)]

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use dtr_lb_fuzz_input::{
    Target, corpus, play,
    search::{Search, minimise},
};

#[derive(Debug, Parser)]
#[command(about = "Fuzzes the agent's config and API", version)]
struct Options {
    /// What to fuzz; both without it
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// How many inputs to play, after the corpus
    #[arg(long, default_value_t = 1_000_000)]
    inputs: u64,
    /// What the inputs are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long at most, as in 60s
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Play this one input only
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    // A panic is a finding like others.
    std::panic::set_hook(Box::new(|_| {}));
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let (Some(path), Some(target)) = (&options.replay, options.target) {
        let input = fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
        let reached = play(target, &input).map_err(|finding| anyhow!("a finding: {finding}"))?;
        println!("{reached}");
        return Ok(());
    }
    let targets = options.target.map_or(Target::ALL.to_vec(), |target| vec![target]);
    targets.into_iter().try_for_each(|target| fuzz(target, options))
}

fn fuzz(target: Target, options: &Options) -> Result<()> {
    let mut seeds = Vec::new();
    for (path, input) in corpus::load(target)? {
        play(target, &input).map_err(|finding| anyhow!("{}: {finding}", path.display()))?;
        seeds.push(input);
    }
    println!("{}: {} of the corpus replayed", target.name(), seeds.len());
    let begun = Instant::now();
    let mut search = Search::new(target, options.seed, seeds);
    while search.played < options.inputs {
        if let Err((input, finding)) = search.step() {
            let (small, finding) = minimise(target, &input, finding);
            let path = corpus::keep(target, &small)?;
            bail!(
                "input {} of seed {}: {finding}\n  made small, it stands in {}",
                search.played,
                options.seed,
                path.display()
            );
        }
        if search.played.is_multiple_of(256) && options.time.is_some_and(|time| begun.elapsed() >= time) {
            break;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (played, outcomes) = (search.played, search.reached.len());
    println!(
        "{}: {played} inputs, {seconds:.1} s, {:.0} inputs/s, {outcomes} outcomes, no finding",
        target.name(),
        played as f64 / seconds.max(0.001)
    );
    Ok(())
}
