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

pub(super) fn http(listen: &str) -> Option<NotYet> {
    if listen.is_empty() {
        return None;
    }
    not_yet("the HTTP side of the agent", "write http = \"\", or leave the key out")
}

pub(super) fn admin_token_file(path: &str) -> Option<NotYet> {
    if path.is_empty() {
        return None;
    }
    not_yet("the HTTP side of the agent", "write admin_token_file = \"\", or leave the key out")
}
