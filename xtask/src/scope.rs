//! Which command set-up prepares for. Each but one needs the build; what else it needs stands in [`crate::programs`].

use clap::ValueEnum;

/// A command, or several that need the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// `build`, and what else needs only that: `run -- ...`, `bench packet`, `bench together`, `fuzz`, `fuzz-input`
    Build,
    /// `run`
    Run,
    /// `test --host-only`
    Host,
    /// `test`
    Test,
    /// `test --system`
    System,
    /// `dist`
    Dist,
    /// `screenshots`
    Screenshots,
    /// `bench probes`
    Bench,
    /// `bare`
    Bare,
    /// `ci`: all of it
    Ci,
}

impl Scope {
    /// The command, as it is typed after `cargo xtask`.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Run => "run",
            Self::Host => "test --host-only",
            Self::Test => "test",
            Self::System => "test --system",
            Self::Dist => "dist",
            Self::Screenshots => "screenshots",
            Self::Bench => "bench probes",
            Self::Bare => "bare",
            Self::Ci => "ci",
        }
    }

    /// Whether the command builds anything of the agent: `bare` does so in a Debian of its own.
    pub(crate) fn builds(self) -> bool {
        self != Self::Bare
    }

    /// Whether the command goes on without a program that cannot be had: its tests are then skipped, counted, and the reason
    /// told.
    pub(crate) fn goes_on_without(self) -> bool {
        match self {
            Self::Host | Self::Test => true,
            Self::Build
            | Self::Run
            | Self::System
            | Self::Dist
            | Self::Screenshots
            | Self::Bench
            | Self::Bare
            | Self::Ci => false,
        }
    }
}
