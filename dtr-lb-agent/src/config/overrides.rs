//! `--set KEY=VALUE`: one key of the config, from the command line.
//!
//! KEY is dotted, with tables and list elements counted from 0: `replica.0.weight`, or `replica[0].weight` as error
//! messages write it. VALUE is TOML, or, when it is not, a bare string: `--set datapath.attach=tc`. The values go into
//! the parsed document before it is checked, so they obey the same rules as the file's, and the last of several wins.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problems::Problems;
use super::source::Source;

/// No key of the config is deeper; a longer one would only cost memory and stack.
const DEEPEST: usize = 8;

pub(super) fn apply<'a>(document: &mut DeTable<'a>, items: &'a [String], problems: &mut Problems<'a>) {
    for item in items {
        let at = problems.source.begin_override(item);
        let Some((key, value)) = item.split_once('=') else {
            problems.plain(at, "", "has no value; write KEY=VALUE, as in datapath.attach=tc");
            continue;
        };
        let key = key.trim();
        let steps = steps(key);
        if steps.iter().any(String::is_empty) || steps.len() > DEEPEST {
            let what = "not a key; write it dotted, as in datapath.attach or replica.0.weight";
            problems.plain(at, key, what);
            continue;
        }
        if let Err(what) = put_in_table(document, &steps, value, &mut problems.source) {
            problems.plain(at, key, what);
        }
    }
}

fn steps(key: &str) -> Vec<String> {
    key.split('.')
        .flat_map(|part| part.split('['))
        .map(|step| step.strip_suffix(']').unwrap_or(step).to_owned())
        .collect()
}

fn put_in_table<'a>(
    table: &mut DeTable<'a>,
    steps: &[String],
    text: &'a str,
    source: &mut Source<'a>,
) -> Result<(), String> {
    let Some((name, below)) = steps.split_first() else { return Ok(()) };
    if below.is_empty() {
        let value = parse(text, source);
        table.insert(fresh_key(name, source), value);
        return Ok(());
    }
    if !table.contains_key(name.as_str()) {
        if below[0].parse::<usize>().is_ok() {
            return Err(format!("there is no `{name}` in the file to count in; add it to the file"));
        }
        let empty = Spanned::new(source.fresh(), DeValue::Table(DeTable::new()));
        table.insert(fresh_key(name, source), empty);
    }
    table.get_mut(name.as_str()).map_or(Ok(()), |value| put_in_value(value, name, below, text, source))
}

/// `name` is what the steps so far led to, for the error message.
fn put_in_value<'a>(
    value: &mut Spanned<DeValue<'a>>,
    name: &str,
    steps: &[String],
    text: &'a str,
    source: &mut Source<'a>,
) -> Result<(), String> {
    match value.get_mut() {
        DeValue::Table(table) => put_in_table(table, steps, text, source),
        DeValue::Array(list) => {
            let Some((step, below)) = steps.split_first() else { return Ok(()) };
            let element = step.parse::<usize>().ok().and_then(|index| list.get_mut(index));
            match (element, below) {
                (None, _) => Err(no_such_element(name, step, list)),
                (Some(element), []) => {
                    *element = parse(text, source);
                    Ok(())
                }
                (Some(element), below) => {
                    put_in_value(element, &format!("{name}.{step}"), below, text, source)
                }
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => Err(format!("`{name}` is neither a table nor a list, so nothing is in it")),
    }
}

fn no_such_element(name: &str, step: &str, list: &DeArray<'_>) -> String {
    match list.len() {
        0 => format!("`{name}` is empty, so there is no {step} in it"),
        1 => format!("there is no {step} in `{name}`: it has one element, 0"),
        count => format!("there is no {step} in `{name}`: it has {count} elements, 0 to {}", count - 1),
    }
}

fn fresh_key<'a>(name: &str, source: &mut Source<'a>) -> Spanned<Cow<'a, str>> {
    Spanned::new(source.fresh(), Cow::Owned(name.to_owned()))
}

fn parse<'a>(text: &'a str, source: &mut Source<'a>) -> Spanned<DeValue<'a>> {
    let value = DeValue::parse(text.trim())
        .map_or_else(|_| DeValue::String(Cow::Borrowed(text)), Spanned::into_inner);
    relocate(value, source)
}

/// Gives a value and all in it spans that lead back to the `--set`: its own count from the start of VALUE.
fn relocate<'a>(value: DeValue<'a>, source: &mut Source<'a>) -> Spanned<DeValue<'a>> {
    let span = source.fresh();
    let value = match value {
        DeValue::Array(list) => {
            let mut moved = DeArray::new();
            for element in list {
                moved.push(relocate(element.into_inner(), source));
            }
            DeValue::Array(moved)
        }
        DeValue::Table(table) => {
            let mut moved = DeTable::new();
            for (key, element) in table {
                let key = Spanned::new(source.fresh(), key.into_inner());
                let element = relocate(element.into_inner(), source);
                moved.insert(key, element);
            }
            DeValue::Table(moved)
        }
        scalar @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => scalar,
    };
    Spanned::new(span, value)
}
