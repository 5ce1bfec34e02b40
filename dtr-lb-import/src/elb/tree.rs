//! The members of AWS's objects as statements: a member and its value are one, unless what is in it is read by itself.

use super::{
    fields::{Context, within},
    json::{Document, Kind, LineHas, Raw, RawMember},
};
use crate::report::{At, FileId, Ledger};

/// The text of a statement in the report is cut off here: JSON may be one line.
const LONGEST: usize = 160;

/// A value, and the statement that it stands in.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) at: At,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) enum Shape {
    Object(Vec<Member>),
    Array(Vec<Value>),
    Scalar(String),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) value: Value,
}

impl Value {
    pub(super) fn members(&self) -> &[Member] {
        match &self.shape {
            Shape::Object(members) => members,
            _ => &[],
        }
    }

    /// The last one of this name.
    pub(super) fn get(&self, key: &str) -> Option<&Member> {
        self.members().iter().rfind(|member| member.key == key)
    }

    /// The elements of an array; anything else is one.
    pub(super) fn items(&self) -> &[Value] {
        match &self.shape {
            Shape::Array(items) => items,
            Shape::Nothing => &[],
            Shape::Object(_) | Shape::Scalar(_) => std::slice::from_ref(self),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        match &self.shape {
            Shape::Object(members) => members.is_empty(),
            Shape::Array(items) => items.is_empty(),
            Shape::Scalar(text) => text.is_empty(),
            Shape::Nothing => true,
        }
    }

    /// The text of a member.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.value.text()
    }

    /// What is in the array, or the object, of a member.
    pub(super) fn items_of(&self, key: &str) -> &[Value] {
        self.get(key).map_or(&[], |member| member.value.items())
    }
}

/// Objects at the top of a file, each with what it is.
pub(super) fn of(
    document: Document,
    text: &str,
    file: FileId,
    shape: fn(&[RawMember]) -> Context,
    ledger: &mut Ledger,
) -> Vec<(Context, Value)> {
    let mut objects = Vec::new();
    for root in document.roots {
        flatten(root, &mut objects);
    }
    let objects: Vec<_> =
        objects.into_iter().map(|(members, lines)| (shape(&members), members, lines)).collect();
    let mut spans = Vec::new();
    for (context, members, _) in &objects {
        members.iter().for_each(|member| span(member, *context, &mut spans));
    }
    let within_objects: Vec<_> = objects.iter().map(|(_, _, lines)| *lines).collect();
    let statements = Statements::enter(spans, &document.lines, &within_objects, text, file, ledger);
    let place = |(context, members, lines): (Context, Vec<RawMember>, (usize, usize))| {
        let raw = Raw { kind: Kind::Object(members), lines };
        statements.placed(raw, lines.0).map(|value| (context, value))
    };
    objects.into_iter().filter_map(place).collect()
}

/// The outer list may be there, or missing.
fn flatten(root: Raw, objects: &mut Vec<(Vec<RawMember>, (usize, usize))>) {
    match root.kind {
        Kind::Object(members) => objects.push((members, root.lines)),
        Kind::Array(items) => {
            // Lists within lists are as deep as JSON may be, which is bounded.
            for item in items {
                flatten(item, objects);
            }
        }
        Kind::Scalar(_) | Kind::Nothing => {}
    }
}

/// The lines of a member's statement, and those of what is in it.
fn span(member: &RawMember, context: Context, spans: &mut Vec<(usize, usize)>) {
    match within(context, &member.key) {
        Some(inner) if matches!(member.value.kind, Kind::Object(_) | Kind::Array(_)) => {
            spans.push((member.line, member.value.lines.0));
            inner_spans(&member.value, inner, spans);
        }
        _ => spans.push((member.line, member.value.lines.1)),
    }
}

fn inner_spans(value: &Raw, context: Context, spans: &mut Vec<(usize, usize)>) {
    match &value.kind {
        // A key and its value say one thing.
        Kind::Object(members) if context == Context::Attribute => {
            let last = members.iter().map(|member| member.value.lines.1).max();
            spans.extend(members.first().zip(last).map(|(first, last)| (first.line, last)));
        }
        Kind::Object(members) => members.iter().for_each(|member| span(member, context, spans)),
        Kind::Array(items) => items.iter().for_each(|item| inner_spans(item, context, spans)),
        Kind::Scalar(_) => spans.push(value.lines),
        Kind::Nothing => {}
    }
}

/// The statements of a file, in the order of their lines.
struct Statements {
    entered: Vec<(usize, usize, At)>,
}

impl Statements {
    fn enter(
        mut spans: Vec<(usize, usize)>,
        lines: &[LineHas],
        objects: &[(usize, usize)],
        text: &str,
        file: FileId,
        ledger: &mut Ledger,
    ) -> Self {
        spans.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (first, last) in spans {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        let (statements, strays) = with_brackets(&merged, lines);
        let lines: Vec<&str> = text.lines().collect();
        let mut entered = Vec::new();
        for (first, last) in statements {
            let at = ledger.statement(file, (first, last), &cut(&lines, first, last));
            entered.push((first, last, at));
        }
        for (first, last) in strays {
            let at = ledger.statement(file, (first, last), &cut(&lines, first, last));
            // Objects are in order, and in none of each other.
            let before = objects.partition_point(|(begin, _)| *begin <= first);
            let is_within = before.checked_sub(1).is_some_and(|index| first < objects[index].1);
            let has_word = lines.get(first - 1).is_some_and(|line| line.contains(char::is_alphanumeric));
            match (is_within, has_word) {
                (_, false) => ledger.taken(at, ""),
                (true, true) => ledger.fault_that_decides(at, "this is no JSON: nothing was made of it"),
                (false, true) => ledger.left_out(at, "text beside the JSON"),
            }
        }
        Self { entered }
    }

    /// The statement that a line stands in.
    fn at(&self, line: usize) -> Option<At> {
        let index = self.entered.partition_point(|(first, _, _)| *first <= line).checked_sub(1)?;
        self.entered.get(index).map(|(_, _, at)| *at)
    }

    /// `None` of what stands on no line of a statement: an object without members.
    fn placed(&self, raw: Raw, outer: usize) -> Option<Value> {
        let line = raw.lines.0;
        let at = self.at(line).or_else(|| self.at(outer)).or_else(|| Some(self.entered.first()?.2))?;
        let shape = match raw.kind {
            Kind::Object(members) => Shape::Object(
                members
                    .into_iter()
                    .filter_map(|RawMember { key, line, value }| {
                        Some(Member { key, at: self.at(line)?, value: self.placed(value, line)? })
                    })
                    .collect(),
            ),
            Kind::Array(items) => {
                Shape::Array(items.into_iter().filter_map(|item| self.placed(item, line)).collect())
            }
            Kind::Scalar(text) => Shape::Scalar(text),
            Kind::Nothing => Shape::Nothing,
        };
        Some(Value { at, shape })
    }
}

/// First and last lines.
type Spans = Vec<(usize, usize)>;

/// Statements with the opening brackets on lines of their own before them; and lines that belong to none.
fn with_brackets(merged: &[(usize, usize)], lines: &[LineHas]) -> (Spans, Spans) {
    let mut statements = Vec::new();
    let mut strays = Vec::new();
    let mut opening: Option<(usize, usize)> = None;
    let mut next = merged.iter().copied().peekable();
    let mut line = 1;
    while line <= lines.len() {
        if let Some((first, last)) = next.next_if(|(first, _)| *first == line) {
            statements.push((opening.take().map_or(first, |(begin, _)| begin), last));
            line = last + 1;
            continue;
        }
        let has = lines[line - 1];
        if has.other {
            strays.extend(opening.take());
            strays.push((line, line));
        } else if has.opening {
            // Several before one statement are all part of it.
            opening = Some((opening.map_or(line, |(begin, _)| begin), line));
        } else if has.closing {
            strays.extend(opening.take());
        }
        line += 1;
    }
    strays.extend(opening);
    (statements, strays)
}

/// What stands on these lines, on one.
fn cut(lines: &[&str], first: usize, last: usize) -> String {
    let mut text = String::new();
    for line in lines.iter().take(last).skip(first - 1) {
        text.push_str(line.trim());
        text.push(' ');
        if text.len() > LONGEST {
            let end = text.floor_char_boundary(LONGEST);
            text.truncate(end);
            text.push_str("...");
            return text;
        }
    }
    text.trim_end().trim_end_matches(',').to_owned()
}
