//! The text of a config, as far as `--save` changes it. It is a valid config when it comes here.

use toml_edit::visit_mut::{VisitMut, visit_table_mut};
use toml_edit::{
    Array, ArrayOfTables, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value, value,
};

use super::{EditError, unwritten_name};
use crate::config::error::{ConfigError, Place, Problem};
use crate::config::listed::{DEFAULT_WEIGHT, Listed};
use crate::config::preset::Preset;

#[derive(Debug)]
pub(super) struct Document {
    document: DocumentMut,
    /// The file ends its lines as DOS does; the library as Unix does.
    dos: bool,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, EditError> {
        let unix = text.replace("\r\n", "\n");
        // It is valid: only what the two libraries disagree on comes here.
        let document = unix.parse::<DocumentMut>().map_err(|error| {
            let place = Place::File { name: "the config".into(), line: 1, column: 1 };
            let what = format!("not TOML: {}", error.message());
            ConfigError::Invalid(vec![Problem {
                place,
                key: String::new(),
                value: None,
                what,
                allowed: None,
            }])
        })?;
        Ok(Self { document, dos: text.contains("\r\n") })
    }

    pub(super) fn into_text(self) -> String {
        let text = self.document.to_string();
        if self.dos { text.replace('\n', "\r\n") } else { text }
    }

    /// What each `[[replica]]` is called, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let text =
            |table: &dyn TableLike, key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
        let name = |table: &dyn TableLike| {
            text(table, "name").or_else(|| text(table, "address").map(|address| unwritten_name(&address)))
        };
        tables(self.document.get("replica"))
            .into_iter()
            .map(|table| name(table).unwrap_or_default())
            .collect()
    }

    /// Whether a service has a list `replicas`.
    pub(super) fn lists(&self, service: &str) -> bool {
        let mut services = tables(self.document.get("service")).into_iter();
        services.any(|table| is_named(table, service, self.preset()) && table.contains_key("replicas"))
    }

    /// Adds a replica to the list of a service, if it has one.
    pub(super) fn list(&mut self, service: &str, replica: &str) {
        let Some(list) = self.list_of(service, "replicas") else { return };
        let last = list.len().checked_sub(1).and_then(|last| list.get(last)).map(prefix).unwrap_or_default();
        let Some((_, indent)) = last.rsplit_once('\n') else { return list.push(replica) };
        // A list with an element a line goes on so.
        let trailing = raw(Some(list.trailing()));
        let comment = own_line(&trailing);
        let after = trailing[comment.len()..].to_owned();
        let new = Value::from(replica).decorated(format!("{comment}\n{indent}"), "");
        list.set_trailing(if after.is_empty() { "\n".to_owned() } else { after });
        list.push_formatted(new);
    }

    /// Takes a replica out of a list of a service, if it is in it, with the comment behind it.
    pub(super) fn unlist(&mut self, service: &str, list: &str, replica: &str) {
        let Some(list) = self.list_of(service, list) else { return };
        let Some(place) = list.iter().position(|element| element.as_str() == Some(replica)) else { return };
        let removed = list.remove(place);
        let before = prefix(&removed);
        // A comment behind an element is part of what is before the next one.
        let comment = own_line(&before);
        match list.get_mut(place) {
            Some(next) => {
                let behind = prefix(next);
                let joined = match behind.find('\n') {
                    Some(end) => format!("{comment}{}", &behind[end..]),
                    None => before,
                };
                next.decor_mut().set_prefix(joined);
            }
            None => {
                let suffix = raw(removed.decor().suffix());
                let behind = [raw(Some(list.trailing())), suffix].into_iter().find_map(|behind| {
                    let end = behind.find('\n')?;
                    Some(format!("{comment}{}", &behind[end..]))
                });
                if let Some(behind) = behind {
                    list.set_trailing(behind);
                }
            }
        }
    }

    /// Writes a weight into the `[[replica]]` at `place`.
    pub(super) fn set_weight(&mut self, place: usize, weight: u16) {
        let Some(replicas) = self.document.get_mut("replica") else { return };
        let mut replicas = tables_mut(replicas);
        let Some(table) = replicas.get_mut(place) else { return };
        match table.get_mut("weight").and_then(Item::as_value_mut) {
            Some(old) => {
                let decor = old.decor().clone();
                *old = Value::from(i64::from(weight));
                *old.decor_mut() = decor;
            }
            None => {
                table.insert("weight", value(i64::from(weight)));
                self.even_out(place);
            }
        }
    }

    /// In an inline table, the space before the closing brace belongs to what is last now.
    fn even_out(&mut self, place: usize) {
        let list = self.document.get_mut("replica").and_then(Item::as_array_mut);
        let Some(table) = list.and_then(|list| list.get_mut(place)?.as_inline_table_mut()) else { return };
        let mut last: Vec<_> = table.iter_mut().map(|(_, value)| value).collect();
        let Some(new) = last.pop() else { return };
        if let Some(before) = last.pop() {
            new.decor_mut().set_suffix(raw(before.decor().suffix()));
            before.decor_mut().set_suffix("");
        }
    }

    /// Adds a `[[replica]]` behind the others.
    pub(super) fn add(&mut self, replica: &Listed) {
        match self.document.get_mut("replica") {
            Some(Item::ArrayOfTables(tables)) => {
                let mut table = Table::new();
                fill(&mut table, replica);
                // A blank line before it, if there is one before the others.
                let last = tables.len().checked_sub(1).and_then(|last| tables.get(last));
                let prefix = last.and_then(|last| last.decor().prefix()).and_then(RawString::as_str);
                let blank = prefix.is_none_or(|prefix| prefix.starts_with('\n'));
                table.decor_mut().set_prefix(if blank { "\n" } else { "" });
                tables.push(table);
            }
            Some(Item::Value(Value::Array(list))) => {
                let mut table = InlineTable::new();
                fill(&mut table, replica);
                list.push(table);
            }
            // A valid config has one of the two.
            Some(Item::None | Item::Value(_) | Item::Table(_)) | None => {}
        }
    }

    /// Takes away the `[[replica]]` at `place`, with the comment right above it. What is above a blank line stays.
    pub(super) fn remove(&mut self, place: usize) {
        match self.document.get_mut("replica") {
            Some(Item::ArrayOfTables(tables)) if place < tables.len() => {
                let removed = tables.remove(place);
                let above =
                    removed.decor().prefix().and_then(RawString::as_str).map(stays).unwrap_or_default();
                if !above.trim().is_empty() {
                    self.put_behind(removed.position().unwrap_or_default(), above);
                }
            }
            Some(Item::Value(Value::Array(list))) if place < list.len() => {
                list.remove(place);
            }
            Some(_) | None => {}
        }
    }

    /// Puts a comment where a table was that is gone: before the next one, or at the end.
    fn put_behind(&mut self, position: isize, comment: &str) {
        let mut next = Next { after: position, found: None };
        next.visit_document_mut(&mut self.document);
        let Some(found) = next.found else {
            let trailing = self.document.trailing().as_str().unwrap_or_default().to_owned();
            self.document.set_trailing(format!("{comment}{trailing}"));
            return;
        };
        Prepend { at: found, comment }.visit_document_mut(&mut self.document);
    }

    fn list_of(&mut self, service: &str, list: &str) -> Option<&mut Array> {
        let preset = self.preset();
        let services = tables_mut(self.document.get_mut("service")?).into_iter();
        let mut of_name = services.filter(|table| is_named(&**table, service, preset));
        of_name.next()?.get_mut(list)?.as_array_mut()
    }

    fn preset(&self) -> Preset {
        let written = self.document.get("preset").and_then(Item::as_str);
        written.and_then(Preset::from_word).unwrap_or(Preset::Dtr)
    }
}

/// By its name, or by the one that the preset has for its port.
fn is_named(table: &dyn TableLike, name: &str, preset: Preset) -> bool {
    let of_port = || {
        let port = table.get("port").and_then(Item::as_integer)?;
        preset.name_of(u16::try_from(port).ok()?)
    };
    table.get("name").and_then(Item::as_str).or_else(of_port) == Some(name)
}

/// `[[name]]` or `name = [{}]`.
fn tables(item: Option<&Item>) -> Vec<&dyn TableLike> {
    match item {
        Some(Item::ArrayOfTables(tables)) => {
            ArrayOfTables::iter(tables).map(|table| table as &dyn TableLike).collect()
        }
        Some(Item::Value(Value::Array(list))) => {
            list.iter().filter_map(|element| Some(element.as_inline_table()? as &dyn TableLike)).collect()
        }
        Some(Item::None | Item::Value(_) | Item::Table(_)) | None => Vec::new(),
    }
}

fn tables_mut(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Item::Value(Value::Array(list)) => list
            .iter_mut()
            .filter_map(|element| Some(element.as_inline_table_mut()? as &mut dyn TableLike))
            .collect(),
        Item::None | Item::Value(_) | Item::Table(_) => Vec::new(),
    }
}

/// What is not as it would be unwritten.
fn fill(table: &mut dyn TableLike, replica: &Listed) {
    // A service says which are backups.
    let Listed { name, host, weight, slow_start, backup: _ } = replica;
    let address = host.to_string();
    if *name != address {
        table.insert("name", value(name));
    }
    table.insert("address", value(address));
    if *weight != DEFAULT_WEIGHT {
        table.insert("weight", value(i64::from(*weight)));
    }
    if !slow_start.is_zero() {
        table.insert("slow_start", value(humantime::format_duration(*slow_start).to_string()));
    }
}

/// The part of a table's prefix that is not about the table: up to its last blank line.
fn stays(prefix: &str) -> &str {
    prefix.rfind("\n\n").map_or("", |end| &prefix[..end + 1])
}

/// What stands before an element.
fn prefix(element: &Value) -> String {
    raw(element.decor().prefix())
}

fn raw(text: Option<&RawString>) -> String {
    text.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

/// The part that is on the line of the element before.
fn own_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

/// Finds the first table behind a place.
struct Next {
    after: isize,
    found: Option<isize>,
}

impl VisitMut for Next {
    fn visit_table_mut(&mut self, table: &mut Table) {
        if let Some(position) = table.position()
            && position > self.after
            && !table.is_implicit()
            && self.found.is_none_or(|found| position < found)
        {
            self.found = Some(position);
        }
        visit_table_mut(self, table);
    }
}

/// Puts a comment before a table.
struct Prepend<'a> {
    at: isize,
    comment: &'a str,
}

impl VisitMut for Prepend<'_> {
    fn visit_table_mut(&mut self, table: &mut Table) {
        if table.position() == Some(self.at) && !table.is_implicit() {
            let prefix = table.decor().prefix().and_then(RawString::as_str).unwrap_or_default().to_owned();
            table.decor_mut().set_prefix(format!("{}{prefix}", self.comment));
        }
        visit_table_mut(self, table);
    }
}
