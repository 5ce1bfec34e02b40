//! What cannot change while the agent runs, and what to do instead: the declarations of the keys say which and what. Pure.

use crate::config::{self, Config, Difference};

/// A key that another config has otherwise, and that cannot become so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` cannot change while the agent runs: it is `{}`, and would be `{}`; {}",
    .0.key, .0.before, .0.after, .0.change.instead().unwrap_or("reload the config")
)]
pub struct Immutable(pub Difference);

/// All that keeps the agent from going from one config to the other without a restart.
pub(super) fn changed(before: &Config, after: &Config) -> Vec<Immutable> {
    config::immutable(before, after).into_iter().map(Immutable).collect()
}

/// Whether the agent can go from one config to the other without a restart.
///
/// # Errors
/// The first key that cannot change.
pub(super) fn check(before: &Config, after: &Config) -> Result<(), Immutable> {
    changed(before, after).into_iter().next().map_or(Ok(()), Err)
}
