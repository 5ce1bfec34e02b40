//! `dtr-lb-fuzz`: plays the corpus, then fresh sequences. `cargo xtask fuzz` builds and runs it.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use dtr_lb_common::verdict::Verdict;
use dtr_lb_fuzz::{
    corpus,
    minimise::minimise,
    reached::Reached,
    run::{Finding, play},
    search::Search,
};

#[derive(Debug, Parser)]
#[command(about = "Fuzzes the packet pipeline on the host", version)]
struct Options {
    /// How many sequences to play, after the corpus
    #[arg(long, default_value_t = 1_000_000)]
    sequences: u64,
    /// What the sequences are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long at most, as in 60s
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Play this one input only, and tell each step
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Do not play the corpus, and start from nothing
    #[arg(long)]
    no_corpus: bool,
    /// At the end, write the inputs that reach most to this directory: a new set of seeds
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

/// Inputs that are kept as seeds.
const SEEDS: usize = 128;

fn main() -> ExitCode {
    // A panic is a finding like others; where it was is part of it.
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
    if let Some(path) = &options.replay {
        let input = corpus::input(path)?;
        let outcome = play(&input, &mut Reached::default(), Some(&mut |text| println!("{text}")));
        return outcome.context("this input is a finding");
    }
    let seeds = if options.no_corpus { Vec::new() } else { replay()? };
    search(options, seeds)
}

/// Plays the corpus. Returns its seeds.
fn replay() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for name in ["regressions", "seeds"] {
        let inputs = corpus::load(&corpus::directory(name))?;
        for (path, input) in &inputs {
            play(input, &mut Reached::default(), None).with_context(|| path.display().to_string())?;
        }
        println!("{name}: {} replayed", inputs.len());
        seeds.extend(inputs.into_iter().map(|(_, input)| input));
    }
    Ok(seeds)
}

fn search(options: &Options, seeds: Vec<Vec<u8>>) -> Result<()> {
    let start = Instant::now();
    let mut search = Search::new(options.seed, seeds);
    let mut next_word = Duration::from_secs(10);
    while search.sequences < options.sequences {
        if let Err((input, finding)) = search.step() {
            return report(&search, &input, finding, start.elapsed(), options);
        }
        if search.sequences.is_multiple_of(256) {
            let spent = start.elapsed();
            if options.time.is_some_and(|time| spent >= time) {
                break;
            }
            if spent >= next_word {
                println!("{}", progress(&search, spent));
                next_word += Duration::from_secs(10);
            }
        }
    }
    println!("{}", progress(&search, start.elapsed()));
    print!("{}", verdicts(&search.reached));
    if let Some(directory) = &options.keep {
        for input in corpus::best(&search.kept, SEEDS) {
            corpus::keep(directory, input)?;
        }
    }
    Ok(())
}

fn progress(search: &Search, spent: Duration) -> String {
    let rate = search.sequences as f64 / spent.as_secs_f64().max(0.001);
    format!(
        "{} sequences, {} frames, {:.1} s, {rate:.0} sequences/s, {} combinations, {} inputs kept",
        search.sequences,
        search.reached.frames,
        spent.as_secs_f64(),
        search.reached.combinations(),
        search.kept.len()
    )
}

fn verdicts(reached: &Reached) -> String {
    let line = |verdict: &Verdict| {
        let count = reached.verdicts[*verdict as usize];
        let told = if count == 0 { "not reached".to_owned() } else { count.to_string() };
        format!("  {:<24}{told:>14}\n", verdict.name())
    };
    Verdict::ALL.iter().map(line).collect()
}

fn report(search: &Search, input: &[u8], finding: Finding, spent: Duration, options: &Options) -> Result<()> {
    println!("{}", progress(search, spent));
    println!("a finding in sequence {} of seed {}: {finding}", search.sequences, options.seed);
    let (small, finding) = minimise(input, finding);
    let path = corpus::keep(&corpus::directory("regressions"), &small)?;
    bail!(
        "{finding}\n  made small, it stands in {0}; `cargo xtask fuzz --replay {0}` tells its steps",
        path.display()
    )
}
