//! What cannot change while the agent runs, and what to do instead: the declarations of the keys say which and what. Pure.

use crate::config::{self, Config, Difference};

/// A key that another config has otherwise, and that cannot become so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` cannot change while the agent runs: it is `{}`, and would be `{}`; {}",
    .0.key, .0.before, .0.after, .0.change.instead().unwrap_or("reload the config")
)]
pub struct Fixed(Difference);

/// Whether the agent can go from one config to the other without a restart.
///
/// # Errors
/// The first key that cannot change.
pub(super) fn check(before: &Config, after: &Config) -> Result<(), Fixed> {
    config::immutable(before, after).map_or(Ok(()), |difference| Err(Fixed(difference)))
}
