//! One written value, with its key and its place, and the checks that many keys share.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::choice::Choice;
use super::problems::Problems;

/// A table of the file, or the place where it would be.
#[derive(Debug, Clone)]
pub(super) struct Table {
    key: String,
    pub(super) at: usize,
}

impl Table {
    pub(super) fn top() -> Self {
        Self { key: String::new(), at: 0 }
    }

    pub(super) fn sub<T>(&self, name: &str, table: Option<&Spanned<T>>) -> Self {
        Self { key: self.key_of(name), at: table.map_or(self.at, |table| table.span().start) }
    }

    /// The `index`th of an array of tables in this one.
    pub(super) fn nth<T>(&self, name: &str, index: usize, table: &Spanned<T>) -> Self {
        Self { key: format!("{}[{index}]", self.key_of(name)), at: table.span().start }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    pub(super) fn field<'a, T>(&self, name: &str, value: &'a Option<Spanned<T>>) -> Option<Field<'a, T>> {
        value.as_ref().map(|value| Field {
            key: self.key_of(name),
            at: value.span().start,
            value: value.get_ref(),
        })
    }
}

/// A value that is in the file, or in a `--set`.
#[derive(Debug)]
pub(super) struct Field<'a, T> {
    /// Dotted and indexed.
    pub(super) key: String,
    pub(super) at: usize,
    pub(super) value: &'a T,
}

impl<T> Field<'_, T> {
    /// The same field, for a part of its value or another view of it.
    pub(super) fn with<'b, U>(&self, value: &'b U) -> Field<'b, U> {
        Field { key: self.key.clone(), at: self.at, value }
    }
}

impl<'a, T> Field<'a, Vec<Spanned<T>>> {
    /// Each element as a field of its own: `status[0]`.
    pub(super) fn elements(&self) -> impl Iterator<Item = Field<'a, T>> {
        self.value.iter().enumerate().map(|(index, element)| Field {
            key: format!("{}[{index}]", self.key),
            at: element.span().start,
            value: element.get_ref(),
        })
    }
}

/// A value as it stands in an error message: as TOML would have it, and not longer than helps.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

const LONGEST_SHOWN: usize = 60;

impl Shown for String {
    fn shown(&self) -> String {
        if self.chars().count() > LONGEST_SHOWN {
            let start: String = self.chars().take(LONGEST_SHOWN).collect();
            format!("\"{start}…\"")
        } else {
            format!("\"{self}\"")
        }
    }
}

impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl<T: Shown> Shown for Vec<Spanned<T>> {
    fn shown(&self) -> String {
        const MOST: usize = 4;
        let mut shown: Vec<String> = self.iter().take(MOST).map(|item| item.get_ref().shown()).collect();
        if self.len() > MOST {
            shown.push("…".to_owned());
        }
        format!("[{}]", shown.join(", "))
    }
}

/// A whole number inside `range`.
pub(super) fn whole_number<N>(
    field: &Field<'_, i64>,
    range: RangeInclusive<N>,
    problems: &mut Problems<'_>,
) -> Option<N>
where
    N: TryFrom<i64> + PartialOrd + Display,
{
    let number = N::try_from(*field.value).ok().filter(|number| range.contains(number));
    if number.is_none() {
        let (low, high) = range.into_inner();
        problems.refuse(field, format!("out of range: it is {low} to {high}"));
    }
    number
}

/// A TCP port.
pub(super) fn port(field: &Field<'_, i64>, problems: &mut Problems<'_>) -> Option<u16> {
    whole_number(field, 1..=u16::MAX, problems)
}

/// A duration with a unit, inside `range`.
pub(super) fn duration(
    field: &Field<'_, String>,
    range: RangeInclusive<Duration>,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    match humantime::parse_duration(field.value) {
        Ok(duration) if range.contains(&duration) => Some(duration),
        Ok(_) => {
            let (low, high) = range.into_inner();
            let (low, high) = (humantime::format_duration(low), humantime::format_duration(high));
            problems.refuse(field, format!("out of range: it is {low} to {high}"));
            None
        }
        Err(reason) => {
            problems.refuse(field, format!("not a duration ({reason})"));
            None
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Choice>(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<T> {
    let found = T::ALL.iter().copied().find(|choice| choice.word() == field.value);
    if found.is_none() {
        problems.refuse(field, "not known");
    }
    found
}

/// A path that means the same wherever the process was started.
pub(super) fn absolute_path(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<PathBuf> {
    if field.value.starts_with('/') && !field.value.contains('\0') {
        return Some(PathBuf::from(field.value));
    }
    problems.refuse(field, "not an absolute path");
    None
}

/// The name of a service or a replica: it is typed on the command line and is a label in the metrics.
pub(super) fn name(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<String> {
    if is_name(field.value) {
        return Some(field.value.clone());
    }
    problems.refuse(field, "not usable as a name");
    None
}

/// Whether it may be the name of a service or a replica.
pub(crate) fn is_name(text: &str) -> bool {
    const LONGEST: usize = 64;
    let good = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    (1..=LONGEST).contains(&text.len()) && text.chars().all(good)
}
