//! `dtr-lb-bench`: what a packet costs, and what probing costs. `cargo xtask bench packet` and `cargo xtask bench probes`
//! build and run it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

mod packet;
mod probes;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a packet costs, by case, beside a prototype
    Packet {
        /// Where to leave packet.json
        directory: PathBuf,
        /// Few rounds: less than a minute
        #[arg(long)]
        quick: bool,
        /// So many rounds
        #[arg(long)]
        rounds: Option<usize>,
        /// Only cases whose name has all of these words in it
        #[arg(long, value_name = "WORD")]
        only: Vec<String>,
    },
    /// What probing a thousand replicas each second costs the agent
    Probes {
        /// Where to leave probes.json
        directory: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Packet { directory, quick, rounds, only } => {
            packet::run(&directory, &packet::Options::new(quick, rounds, only))
        }
        What::Probes { directory } => probes::run(&directory),
    }
}

/// Writes figures to a file of their own.
fn write(directory: &Path, name: &str, figures: &[serde_json::Value]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
    let file = directory.join(name);
    fs::write(&file, serde_json::to_string_pretty(figures)?)
        .with_context(|| format!("writing `{}`", file.display()))
}
