//! What a key takes: each kind reads a value, says what it would accept, and shows a value to a person.

use std::collections::HashMap;
use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;
use toml_edit::Value;

use super::choice::Choice;
use super::key::{Level, or};
use super::keys::closest;
use super::node::Node;
use super::problems::Problems;

/// A kind of value.
pub(super) trait Takes {
    type Value;

    /// What it accepts, behind "allowed: ".
    fn words(&self) -> String;

    /// `None`: it is wrong, and that is reported.
    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self::Value>;

    /// A value for a person; what is secret in it is left out.
    fn shown(&self, value: &Self::Value) -> String;

    /// A value as the file has it.
    fn toml(&self, value: &Self::Value) -> String {
        quoted(&self.shown(value))
    }

    /// The only words that it accepts, and what each means.
    fn values(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The keys in it, if it is made of tables.
    fn below(&self) -> Level {
        &[]
    }
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A whole number inside a range.
pub(super) struct Whole<N>(pub(super) RangeInclusive<N>);

impl<N: TryFrom<i64> + PartialOrd + Display> Takes for Whole<N> {
    type Value = N;

    fn words(&self) -> String {
        format!("a whole number, {} to {}", self.0.start(), self.0.end())
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<N> {
        let DeValue::Integer(written) = node.value else { return node.wrong_type(problems) };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        let number =
            number.and_then(|number| N::try_from(number).ok()).filter(|number| self.0.contains(number));
        if number.is_none() {
            problems.must(node, format!("must be between {} and {}", self.0.start(), self.0.end()));
        }
        number
    }

    fn shown(&self, value: &N) -> String {
        value.to_string()
    }

    fn toml(&self, value: &N) -> String {
        value.to_string()
    }
}

/// A TCP port.
pub(super) const PORT: Whole<u16> = Whole(1..=u16::MAX);

/// A duration with a unit, inside a range.
pub(super) struct Time(pub(super) RangeInclusive<Duration>);

/// The same, from and to so many milliseconds.
pub(super) const fn millis(first: u64, last: u64) -> Time {
    Time(Duration::from_millis(first)..=Duration::from_millis(last))
}

pub(super) const SECOND: u64 = 1000;
pub(super) const HOUR: u64 = 60 * 60 * SECOND;
pub(super) const WEEK: u64 = 7 * 24 * HOUR;

pub(super) fn time(time: &Duration) -> String {
    humantime::format_duration(*time).to_string()
}

impl Takes for Time {
    type Value = Duration;

    fn words(&self) -> String {
        format!("a duration in quotes, {} to {}, as in \"2s\"", time(self.0.start()), time(self.0.end()))
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Duration> {
        match humantime::parse_duration(node.text(problems)?) {
            Ok(duration) if self.0.contains(&duration) => return Some(duration),
            Ok(_) => {
                problems.must(
                    node,
                    format!("must be between {} and {}", time(self.0.start()), time(self.0.end())),
                );
            }
            Err(reason) => problems.refuse(node, format!("not a duration ({reason})")),
        }
        None
    }

    fn shown(&self, value: &Duration) -> String {
        time(value)
    }
}

/// One of a few words.
pub(super) struct Word<T>(PhantomData<T>);

pub(super) const fn word<T>() -> Word<T> {
    Word(PhantomData)
}

impl<T: Choice> Takes for Word<T> {
    type Value = T;

    fn words(&self) -> String {
        or(&T::ALL.iter().map(|choice| format!("\"{}\"", choice.word())).collect::<Vec<_>>())
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<T> {
        let text = node.text(problems)?;
        let found = T::ALL.iter().copied().find(|choice| choice.word() == text);
        if found.is_none() {
            let near = closest(text, T::ALL.iter().map(|choice| choice.word()));
            let hint = near.map_or_else(String::new, |near| format!(" (did you mean \"{near}\"?)"));
            problems.refuse(node, format!("unknown value{hint}"));
        }
        found
    }

    fn shown(&self, value: &T) -> String {
        value.word().to_owned()
    }

    fn values(&self) -> Vec<(&'static str, &'static str)> {
        T::ALL.iter().map(|choice| (choice.word(), choice.help().trim())).collect()
    }
}

/// A text with a meaning of its own.
pub(super) struct Text<T> {
    pub(super) words: &'static str,
    /// The value, or what is wrong with the text.
    pub(super) parse: fn(&str) -> Result<T, String>,
    pub(super) show: fn(&T) -> String,
}

impl<T> Takes for Text<T> {
    type Value = T;

    fn words(&self) -> String {
        self.words.to_owned()
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<T> {
        (self.parse)(node.text(problems)?).map_err(|what| problems.refuse(node, what)).ok()
    }

    fn shown(&self, value: &T) -> String {
        (self.show)(value)
    }
}

/// What need not be there: `None` where it is turned off, or where it is unwritten.
pub(super) struct Maybe<K> {
    takes: K,
    /// What turns it off, in TOML; empty if nothing does.
    off: &'static str,
}

impl<K> Maybe<K> {
    pub(super) const fn written(takes: K) -> Self {
        Self { takes, off: "" }
    }

    pub(super) const fn unless(off: &'static str, takes: K) -> Self {
        Self { takes, off }
    }
}

impl<K: Takes> Takes for Maybe<K> {
    type Value = Option<K::Value>;

    fn words(&self) -> String {
        let words = self.takes.words();
        if self.off.is_empty() { words } else { format!("{words}; {} is none", self.off) }
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Self::Value> {
        if node.shown().as_deref() == Some(self.off) {
            return Some(None);
        }
        self.takes.read(node, problems).map(Some)
    }

    fn shown(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "none".to_owned(), |value| self.takes.shown(value))
    }

    /// "none" is no TOML: what nothing turns off needs an example of its own.
    fn toml(&self, value: &Self::Value) -> String {
        let none = if self.off.is_empty() { "none" } else { self.off };
        value.as_ref().map_or_else(|| none.to_owned(), |value| self.takes.toml(value))
    }
}

/// A list of texts.
pub(super) struct List<T> {
    words: &'static str,
    parse: fn(&str) -> Result<T, String>,
    show: fn(&T) -> String,
    /// Why it may not be empty.
    empty: Option<&'static str>,
    once: bool,
    or_one: bool,
}

impl<T> List<T> {
    pub(super) const fn of(
        words: &'static str,
        parse: fn(&str) -> Result<T, String>,
        show: fn(&T) -> String,
    ) -> Self {
        Self { words, parse, show, empty: None, once: false, or_one: false }
    }

    /// An empty one is refused, with the reason.
    pub(super) const fn not_empty(mut self, why: &'static str) -> Self {
        self.empty = Some(why);
        self
    }

    /// Each element is there once: two are the same if they are shown alike.
    pub(super) const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// A text that is not in a list counts as a list of it.
    pub(super) const fn or_one(mut self) -> Self {
        self.or_one = true;
        self
    }

    /// The elements as they are written.
    pub(super) fn nodes<'a>(&self, node: &Node<'a>, problems: &mut Problems<'_>) -> Option<Vec<Node<'a>>> {
        if self.or_one && node.value.is_str() { Some(vec![node.clone()]) } else { node.elements(problems) }
    }
}

impl<T> Takes for List<T> {
    type Value = Vec<T>;

    fn words(&self) -> String {
        self.words.to_owned()
    }

    /// Each element is checked, also after a bad one.
    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Vec<T>> {
        let elements = self.nodes(node, problems)?;
        if let Some(why) = self.empty.filter(|_| elements.is_empty()) {
            problems.refuse(node, why);
            return None;
        }
        let mut first = HashMap::new();
        let mut read = Vec::with_capacity(elements.len());
        for element in &elements {
            let value = element.text(problems).map(self.parse);
            let value = value.and_then(|value| value.map_err(|what| problems.refuse(element, what)).ok());
            let shown = value.as_ref().filter(|_| self.once).map(self.show);
            if let Some(twin) = shown.and_then(|shown| first.insert(shown, element.at)) {
                let line = problems.source.brief(twin);
                problems.refuse(element, format!("in the list already ({line})"));
                read.push(None);
            } else {
                read.push(value);
            }
        }
        read.into_iter().collect()
    }

    fn shown(&self, value: &Vec<T>) -> String {
        match &value[..] {
            [] => "none".to_owned(),
            _ => value.iter().map(self.show).collect::<Vec<_>>().join(", "),
        }
    }

    fn toml(&self, value: &Vec<T>) -> String {
        let elements: Vec<_> = value.iter().map(|element| quoted(&(self.show)(element))).collect();
        format!("[{}]", elements.join(", "))
    }
}

/// Of elements that are right, each by itself, one value; or which of them does not go together with those before, and why.
type Make<T, E> = fn(Vec<E>) -> Result<T, (usize, String)>;

/// What is made of the elements of a list.
pub(super) struct Made<T, E> {
    pub(super) list: List<E>,
    pub(super) make: Make<T, E>,
    pub(super) parts: fn(&T) -> Vec<E>,
}

impl<T, E> Takes for Made<T, E> {
    type Value = T;

    fn words(&self) -> String {
        self.list.words()
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<T> {
        let elements = self.list.read(node, problems)?;
        let nodes = self.list.nodes(node, problems)?;
        (self.make)(elements).map_err(|(index, what)| problems.refuse(&nodes[index], what)).ok()
    }

    fn shown(&self, value: &T) -> String {
        self.list.shown(&(self.parts)(value))
    }

    fn toml(&self, value: &T) -> String {
        self.list.toml(&(self.parts)(value))
    }
}
