//! Collects everything that is wrong, so that the operator sees it all in one run.

use super::error::Problem;
use super::field::{Field, Shown, Table};
use super::keys;
use super::source::Source;

#[derive(Debug)]
pub(super) struct Problems<'a> {
    pub(super) source: Source<'a>,
    /// With the offset each is sorted by.
    found: Vec<(usize, Problem)>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, found: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// In the order of the file; those of one place in the order they were found.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }

    /// The value of `field` is not allowed; what is, is said by [`keys`].
    pub(super) fn refuse<T: Shown>(&mut self, field: &Field<'_, T>, what: impl Into<String>) {
        self.add(field.at, &field.key, Some(field.value.shown()), what.into(), keys::allowed(&field.key));
    }

    /// `table` has to have this key.
    pub(super) fn missing(&mut self, table: &Table, name: &str, what: impl Into<String>) {
        let key = table.key_of(name);
        self.add(table.at, &key, None, what.into(), keys::allowed(&key));
    }

    /// Something about a key as such.
    pub(super) fn key(&mut self, at: usize, key: &str, what: impl Into<String>) {
        self.add(at, key, None, what.into(), keys::allowed(key));
    }

    /// Something that needs no list of what is allowed.
    pub(super) fn plain(&mut self, at: usize, key: &str, what: impl Into<String>) {
        self.add(at, key, None, what.into(), None);
    }

    fn add(
        &mut self,
        at: usize,
        key: &str,
        value: Option<String>,
        what: String,
        allowed: Option<&'static str>,
    ) {
        let place = self.source.place(at);
        self.found.push((at, Problem { place, key: key.to_owned(), value, what, allowed }));
    }
}
