//! What the config can say and this version cannot do. Such a key is refused: ignoring it would leave an operator
//! with a balancer that does something else than its config says.
//!
//! The gate is here and nowhere else. A version that brings a feature deletes its entry, and the compiler then names
//! the places that asked for it.

use std::fmt;

/// A feature that is not here yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotYet {
    feature: &'static str,
    instead: &'static str,
}

impl fmt::Display for NotYet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, instead } = self;
        let version = env!("CARGO_PKG_VERSION");
        write!(out, "{feature} is not in this version of dtr-lb ({version}); {instead}")
    }
}

const fn not_yet(feature: &'static str, instead: &'static str) -> Option<NotYet> {
    Some(NotYet { feature, instead })
}

pub(super) fn replica_host_name() -> Option<NotYet> {
    not_yet("a replica found by its host name", "write its IP address")
}
