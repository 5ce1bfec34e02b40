//! Follows host names: asks DNS for their addresses, and again when the answer's time is over.
//!
//! `known` is pure: what is known of a name after each look, what there is to say of it, and when to look again. `dns`
//! asks, by the host's own /etc/resolv.conf and /etc/hosts, read anew each time. `task` follows each name by itself, so
//! that one that hangs holds up none.
//!
//! Invariant: what was once a good answer stays until there is another. DNS that is gone, an empty answer and "no such
//! name" take no replica away.

mod dns;
mod known;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::IpAddr,
    time::Duration,
};

pub use dns::Dns;
pub use known::{Known, News};
pub use task::Resolver;

use crate::changes::Names;

/// What it means that DNS has never given an answer for a name.
pub(crate) const UNANSWERED: &str =
    "DNS gives no answer for the replicas' host name, so that it has no replicas yet";

/// What is known of each name that is followed, by name.
pub type Answers = BTreeMap<String, Known>;

/// The addresses of all names that have some.
#[must_use]
pub fn names(answers: &Answers) -> Names {
    let known = answers.iter().map(|(name, known)| (name.clone(), known.addresses()));
    known.filter(|(_, addresses)| !addresses.is_empty()).collect()
}

/// What one look found for each family. They fail separately: a server that knows no AAAA must not cost the A records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub v4: Result<Records, LookError>,
    pub v6: Result<Records, LookError>,
}

/// The addresses of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// At least one.
    pub addresses: BTreeSet<IpAddr>,
    /// For how long they hold: the least of the records that led to them.
    pub ttl: Duration,
}

/// Why there are no addresses of a family.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// DNS says that there are none: no such name (NXDOMAIN), or a name without records of this type.
    #[error("{0}")]
    None(String),
    /// DNS could not say.
    #[error("{0}")]
    Failed(String),
}

/// Somebody who can be asked for a name.
pub trait LookUp: Send + Sync + 'static {
    /// Asks once. It ends by itself, in seconds.
    fn look_up(&self, name: &str) -> impl Future<Output = Looked> + Send;
}

#[cfg(test)]
mod tests;
