//! Collects everything that is wrong, so that the operator sees it all in one run.

use super::error::Problem;
use super::keys;
use super::node::{Node, Table};
use super::source::Source;

/// With more problems than this, the file is one of another kind: the rest is only counted.
const MOST: usize = 200;

#[derive(Debug)]
pub(super) struct Problems<'a> {
    pub(super) source: Source<'a>,
    /// With the offset each is sorted by.
    found: Vec<(usize, Problem)>,
    more: usize,
    /// The keys that unknown ones most likely are slips of: that they are missing is no news.
    slips: Vec<String>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, found: Vec::new(), more: 0, slips: Vec::new() }
    }

    /// For tables that are not in the file.
    pub(super) fn none() -> Self {
        Self::new(Source::new("", ""))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the file; those of one place in the order they were found.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(at, _)| *at);
        if let Some((_, last)) = self.found.last_mut().filter(|_| self.more > 0) {
            last.what.push_str(&format!(" ({} more problems are not shown)", self.more));
        }
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }

    /// The value is not allowed; what is, is said by the key's declaration.
    pub(super) fn refuse(&mut self, node: &Node<'_>, what: impl Into<String>) {
        self.add(node.at, &node.key, node.shown(), what.into(), keys::allowed(&node.key));
    }

    /// The value is not allowed, and `what` says what is.
    pub(super) fn must(&mut self, node: &Node<'_>, what: impl Into<String>) {
        self.add(node.at, &node.key, node.shown(), what.into(), None);
    }

    /// `table` has to have this key.
    pub(super) fn missing(&mut self, table: &Table<'_>, name: &str, what: impl Into<String>) {
        let key = table.key_of(name);
        if !self.slips.contains(&key) {
            self.key(table.at, &key, what);
        }
    }

    /// Something about a key as such.
    pub(super) fn key(&mut self, at: usize, key: &str, what: impl Into<String>) {
        self.add(at, key, None, what.into(), keys::allowed(key));
    }

    /// Something that needs no list of what is allowed.
    pub(super) fn plain(&mut self, at: usize, key: &str, what: impl Into<String>) {
        self.add(at, key, None, what.into(), None);
    }

    /// There is no such key; `meant` is the one that it most likely is a slip of.
    pub(super) fn unknown(&mut self, at: usize, key: &str, meant: Option<String>, what: String) {
        self.slips.extend(meant);
        self.plain(at, key, what);
    }

    fn add(&mut self, at: usize, key: &str, value: Option<String>, what: String, allowed: Option<String>) {
        if self.found.len() == MOST {
            self.more += 1;
            return;
        }
        let place = self.source.place(at);
        self.found.push((at, Problem { place, key: key.to_owned(), value, what, allowed }));
    }
}
