//! What people and programs give the agent: a config, requests to its API, configurations of other balancers. All are fuzzed without a
//! host.
//!
//! An input is bytes. `config`, `api` and `import` play one and say what is wrong, `mutate` makes new ones of old ones, `search` looks
//! for findings and makes them small, `corpus` keeps them. `cargo xtask fuzz-input` runs it; `cargo test` replays the corpus
//! and plays some fresh inputs.

#![forbid(unsafe_code)]

pub mod api;
pub mod config;
pub mod corpus;
pub mod import;
pub mod mutate;
pub mod search;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// What takes longer than this is a finding: an operator waits, or the agent's main loop. It is a machine's second with
/// others at work beside it, in a build with all assertions.
const LONGEST: Duration = Duration::from_secs(5);

/// What is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// The config file, and `--set`.
    Config,
    /// Requests to the API.
    Api,
    /// Configurations of other balancers.
    Import,
}

impl Target {
    pub const ALL: [Self; 3] = [Self::Config, Self::Api, Self::Import];

    /// The name of its corpus, and in commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Api => "api",
            Self::Import => "import",
        }
    }
}

/// What an input came to: equal ones reach the same code, as far as can be told from outside.
pub type Reached = String;

/// Plays one input.
///
/// # Errors
/// What is wrong with what became of it: a finding.
pub fn play(target: Target, input: &[u8]) -> Result<Reached, String> {
    let begun = Instant::now();
    let played = catch_unwind(AssertUnwindSafe(|| match target {
        Target::Config => config::play(input),
        Target::Api => api::play(input),
        Target::Import => import::play(input),
    }));
    let reached = played.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", words.unwrap_or("without words")))
    })?;
    let took = begun.elapsed();
    if took > LONGEST { Err(format!("took {took:?}")) } else { Ok(reached) }
}
