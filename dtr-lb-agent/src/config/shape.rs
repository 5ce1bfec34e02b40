//! Text to [`RawConfig`]: is it TOML, are all keys known, has every value the right type?
//!
//! serde stops at the first value that does not fit. The operator should see them all, so the offending key is taken
//! out of the parsed document and the rest tried again, until it fits; then the errors are what is reported.

use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use serde::Deserialize as _;

use super::keys;
use super::overrides;
use super::problems::Problems;
use super::raw::RawConfig;

/// More problems of shape than this are a file of another kind.
const MOST: usize = 50;

/// `None` if anything was wrong; it is in `problems` then.
pub(super) fn read<'a>(text: &'a str, items: &'a [String], problems: &mut Problems<'a>) -> Option<RawConfig> {
    let mut document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            // One only: after a slip in the syntax, whatever else is reported is mostly an echo of it.
            let at = error.span().map_or(0, |span| span.start);
            problems.plain(at, "", format!("not TOML: {}", error.message()));
            return None;
        }
    };
    overrides::apply(document.get_mut(), items, problems);
    loop {
        match RawConfig::deserialize(Deserializer::from(document.clone())) {
            Ok(raw) => return problems.is_empty().then_some(raw),
            Err(error) => {
                let path = error.span().and_then(|span| path_to(document.get_ref(), span.start));
                report(&error, path.as_deref(), problems);
                let removed = path.is_some_and(|path| remove(document.get_mut(), &path));
                if !removed || problems.len() >= MOST {
                    return None;
                }
            }
        }
    }
}

/// A step down from a table or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn report(error: &Error, path: Option<&[Step]>, problems: &mut Problems<'_>) {
    let at = error.span().map_or(0, |span| span.start);
    let key = path.map(dotted).unwrap_or_default();
    let message = error.message();
    if message.starts_with("unknown field") {
        problems.plain(at, &key, keys::unknown(&key));
    } else if let Some(found) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", exp"))
    {
        problems.key(at, &key, format!("wrong type: this is {}", toml_word(found.0)));
    } else {
        problems.key(at, &key, message);
    }
}

/// serde's words for TOML's types, where they differ.
fn toml_word(found: &str) -> &str {
    match found {
        "map" => "a table",
        "sequence" => "a list",
        other => other,
    }
}

fn dotted(path: &[Step]) -> String {
    let mut key = String::new();
    for step in path {
        match step {
            Step::Key(name) if key.is_empty() => key.push_str(name),
            Step::Key(name) => {
                key.push('.');
                key.push_str(name);
            }
            Step::Index(index) => key.push_str(&format!("[{index}]")),
        }
    }
    key
}

/// The key or value that begins at `at`. Of a value and what begins at the same place inside it, the outer one:
/// serde reports a wrong type with the span of the whole value.
fn path_to(table: &DeTable<'_>, at: usize) -> Option<Vec<Step>> {
    table.iter().find_map(|(key, value)| {
        let below = if key.span().start == at { Some(Vec::new()) } else { path_into(value, at) };
        below.map(|below| prepend(Step::Key(key.get_ref().to_string()), below))
    })
}

fn path_into(value: &Spanned<DeValue<'_>>, at: usize) -> Option<Vec<Step>> {
    if value.span().start == at {
        return Some(Vec::new());
    }
    match value.get_ref() {
        DeValue::Table(table) => path_to(table, at),
        DeValue::Array(list) => list.iter().enumerate().find_map(|(index, element)| {
            path_into(element, at).map(|below| prepend(Step::Index(index), below))
        }),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

fn prepend(step: Step, mut path: Vec<Step>) -> Vec<Step> {
    path.insert(0, step);
    path
}

/// Takes out the innermost key of `path`. An element of a list goes with its whole list.
fn remove(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    let Some((Step::Key(name), below)) = path.split_first() else { return false };
    if !below.iter().any(|step| matches!(step, Step::Key(_))) {
        return table.remove(name.as_str()).is_some();
    }
    let mut value = table.get_mut(name.as_str());
    let mut below = below;
    while let Some((Step::Index(index), rest)) = below.split_first() {
        value = value.and_then(|value| match value.get_mut() {
            DeValue::Array(list) => list.get_mut(*index),
            _ => None,
        });
        below = rest;
    }
    match value.map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => remove(inner, below),
        Some(_) | None => false,
    }
}
