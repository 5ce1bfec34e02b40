//! Which keys go with which scheme: one that would be ignored is refused, so that no probe asks less than an operator
//! wrote down. `scheme = "none"` takes them all: it turns a probe off and leaves it as it is written.

use super::super::key::{Key, or};
use super::super::node::{Node, Table};
use super::super::problems::Problems;
use super::{Scheme, WrittenProbe};

pub(super) const HTTP: &[Scheme] = &[Scheme::Http, Scheme::Https];
pub(super) const TLS: &[Scheme] = &[Scheme::Https, Scheme::Tls];
pub(super) const NAMED: &[Scheme] = &[Scheme::Http, Scheme::Https, Scheme::Tls];
pub(super) const CONVERSATION: &[Scheme] = &[Scheme::Tcp, Scheme::Tls];

/// The written keys that `scheme` would ignore.
fn strangers<'a>(table: &Table<'a>, scheme: Scheme) -> impl Iterator<Item = (&'static Key, Node<'a>)> {
    let goes =
        move |key: &&Key| scheme == Scheme::None || key.schemes.is_empty() || key.schemes.contains(&scheme);
    let keys = WrittenProbe::KEYS.iter().filter(move |key| !goes(key));
    keys.filter_map(|key| Some((key, table.node(key.name)?)))
}

/// Refuses each key that the written scheme would ignore.
pub(super) fn written(table: &Table<'_>, scheme: Scheme, problems: &mut Problems<'_>) {
    for (key, node) in strangers(table, scheme) {
        let what = format!("means nothing with scheme = \"{scheme}\"; it goes with {}", list(key.schemes));
        problems.plain(node.at, &node.key, what);
    }
}

/// Whether the scheme that is taken because none is written fits the other keys; if not, it is to be written.
pub(super) fn unwritten(table: &Table<'_>, scheme: Scheme, port: u16, problems: &mut Problems<'_>) -> bool {
    let Some((Key { name, schemes, .. }, _)) = strangers(table, scheme).next() else { return true };
    let what = format!(
        "unwritten, so it is \"{scheme}\" for replica_port {port}, and `{name}` here needs {}; write which",
        list(schemes)
    );
    problems.missing(table, "scheme", what);
    false
}

/// `"http", "https" or "tls"`.
fn list(schemes: &[Scheme]) -> String {
    or(&schemes.iter().map(|scheme| format!("\"{scheme}\"")).collect::<Vec<_>>())
}
