//! The file as it was parsed: tables, and the values in them, each with its dotted key and its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Unwritten;
use super::problems::Problems;
use super::takes::Takes;

/// A table of the file, or the place where it would be.
#[derive(Debug, Clone)]
pub(super) struct Table<'a> {
    pub(super) key: String,
    pub(super) at: usize,
    written: Option<&'a DeTable<'a>>,
}

impl<'a> Table<'a> {
    pub(super) fn top(document: &'a DeTable<'a>) -> Self {
        Self { key: String::new(), at: 0, written: Some(document) }
    }

    /// One that is not in the file: each of its keys is as it is unwritten.
    pub(super) fn unwritten() -> Self {
        Self { key: String::new(), at: 0, written: None }
    }

    pub(super) fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a Spanned<std::borrow::Cow<'a, str>>, Node<'a>)> {
        self.written
            .into_iter()
            .flatten()
            .map(|(name, value)| (name, Node::new(self.key_of(name.get_ref()), value)))
    }

    pub(super) fn node(&self, name: &str) -> Option<Node<'a>> {
        self.written?.get(name).map(|value| Node::new(self.key_of(name), value))
    }

    /// `[name]`; if it is not there, or no table, one without keys.
    pub(super) fn table(&self, name: &str, problems: &mut Problems<'_>) -> Self {
        let written = self.node(name).and_then(|node| node.table(problems));
        written.unwrap_or_else(|| Self { key: self.key_of(name), at: self.at, written: None })
    }

    /// Each `[[name]]`, without those that are no tables; `None` if it is no list.
    pub(super) fn tables(&self, name: &str, problems: &mut Problems<'_>) -> Option<Vec<Self>> {
        let Some(node) = self.node(name) else { return Some(Vec::new()) };
        Some(node.elements(problems)?.iter().filter_map(|element| element.table(problems)).collect())
    }

    /// Reads a key. [`super::key::table!`] calls this, for each.
    pub(super) fn field<T: Takes>(
        &self,
        name: &str,
        takes: &T,
        unwritten: Unwritten<T::Value>,
        problems: &mut Problems<'_>,
    ) -> Field<'a, T::Value> {
        let node = self.node(name);
        let value = match &node {
            Some(node) => takes.read(node, problems),
            None => unwritten.value,
        };
        if node.is_none() && unwritten.required {
            problems.missing(self, name, "missing");
        }
        Field { node, value }
    }
}

/// A key as it was read.
#[derive(Debug)]
pub(super) struct Field<'a, T> {
    /// `None`: it is not in the file.
    pub(super) node: Option<Node<'a>>,
    /// As written, or the default. `None`: it is wrong, which is reported; or its default depends on others, see [`Self::or`].
    pub(super) value: Option<T>,
}

impl<T> Field<'_, T> {
    /// The default where it depends on other keys; `None` where these are wrong.
    pub(super) fn or(&mut self, default: impl FnOnce() -> Option<T>) {
        if self.node.is_none() && self.value.is_none() {
            self.value = default();
        }
    }

    /// The written value does not go together with something else. Nothing is wrong with a default.
    pub(super) fn refuse(&mut self, what: impl Into<String>, problems: &mut Problems<'_>) {
        let Some(node) = &self.node else { return };
        problems.refuse(node, what);
        self.value = None;
    }
}

/// A value that is in the file, or in a `--set`.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    /// Dotted and indexed: `service[0].probe.status[1]`.
    pub(super) key: String,
    pub(super) at: usize,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Node<'a> {
    fn new(key: String, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { key, at: value.span().start, value: value.get_ref() }
    }

    pub(super) fn text(&self, problems: &mut Problems<'_>) -> Option<&'a str> {
        self.value.as_str().or_else(|| self.wrong_type(problems))
    }

    pub(super) fn elements(&self, problems: &mut Problems<'_>) -> Option<Vec<Self>> {
        let DeValue::Array(list) = self.value else { return self.wrong_type(problems) };
        let key = |index| format!("{}[{index}]", self.key);
        Some(list.iter().enumerate().map(|(index, value)| Self::new(key(index), value)).collect())
    }

    pub(super) fn table(&self, problems: &mut Problems<'_>) -> Option<Table<'a>> {
        self.as_table().or_else(|| self.wrong_type(problems))
    }

    pub(super) fn as_table(&self) -> Option<Table<'a>> {
        let DeValue::Table(table) = self.value else { return None };
        Some(Table { key: self.key.clone(), at: self.at, written: Some(table) })
    }

    /// Reports that the key takes another type; `None`, for the caller to return.
    pub(super) fn wrong_type<T>(&self, problems: &mut Problems<'_>) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a floating-point number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        problems.refuse(self, format!("wrong type: this is {found}"));
        None
    }

    /// The value as it stands in an error message: as TOML would have it, and not longer than helps. `None`: it would not help.
    pub(super) fn shown(&self) -> Option<String> {
        shown(self.value)
    }
}

fn shown(value: &DeValue<'_>) -> Option<String> {
    const LONGEST: usize = 60;
    const MOST: usize = 4;
    Some(match value {
        DeValue::String(text) if text.chars().count() > LONGEST => {
            format!("\"{}…\"", text.chars().take(LONGEST).collect::<String>())
        }
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => {
            let mut elements: Vec<_> = list
                .iter()
                .take(MOST)
                .map(|element| shown(element.get_ref()).unwrap_or("…".into()))
                .collect();
            if list.len() > MOST {
                elements.push("…".to_owned());
            }
            format!("[{}]", elements.join(", "))
        }
        DeValue::Table(_) => return None,
    })
}
