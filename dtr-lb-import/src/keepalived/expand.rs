//! What keepalived makes of a line before it reads it: conditions (`@id`), definitions (`$NAME=`), sequences (`~SEQ`, `~LST`).

use std::collections::HashMap;

use super::lines::Unit;
use crate::report::{At, Ledger};

/// Values by name, as they are written.
pub(super) type Definitions = HashMap<String, String>;

/// Definitions within definitions.
const DEEPEST: usize = 16;
/// Lines that one statement may become.
const MOST_LINES: usize = 1024;
/// Bytes that one statement may become.
const MOST_BYTES: usize = 64 << 10;
/// What a line costs beside its bytes.
const OF_A_LINE: usize = 64;

pub(super) struct Expander<'a> {
    definitions: &'a mut Definitions,
    /// As which keepalived is taken to run: the first id of the file.
    id: Option<String>,
    /// Bytes that may still be written: by all statements, and by this one.
    total: usize,
    budget: usize,
}

/// It grows beyond all bounds.
struct TooMuch;

impl<'a> Expander<'a> {
    /// `size` is that of the whole text.
    pub(super) fn new(definitions: &'a mut Definitions, size: usize, units: &[Unit]) -> Self {
        let id = units
            .iter()
            .flat_map(|unit| unit.text.lines())
            .filter_map(|line| line.trim_start().strip_prefix('@')?.split_whitespace().next())
            .find(|id| !id.starts_with('^'));
        Self {
            definitions,
            id: id.map(str::to_owned),
            total: 2 * size + 2 * OF_A_LINE * units.len() + (1 << 20),
            budget: 0,
        }
    }

    /// The lines that a statement stands for.
    pub(super) fn lines(
        &mut self,
        text: &str,
        at: At,
        in_balancing: bool,
        ledger: &mut Ledger,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        // What is as it is written needs no more than that.
        let most = self.total.min(MOST_BYTES.max(2 * text.len() + OF_A_LINE));
        self.budget = most;
        let mut telling = Telling { at, in_balancing, ledger };
        if self.expand(text, DEEPEST, &mut lines, &mut telling).is_err() {
            telling.ledger.left_out_that_decides(
                at,
                format!("it stands for more than {MOST_LINES} lines, or for itself: write out what of it is needed"),
            );
            lines.clear();
        }
        self.total -= most - self.budget;
        lines
    }

    fn expand(
        &mut self,
        text: &str,
        depth: usize,
        lines: &mut Vec<String>,
        telling: &mut Telling<'_>,
    ) -> Result<(), TooMuch> {
        let text = text.trim();
        let depth = depth.checked_sub(1).ok_or(TooMuch)?;
        if let Some(conditional) = text.strip_prefix('@') {
            let (id, rest) = conditional.split_once(char::is_whitespace).unwrap_or((conditional, ""));
            return if self.holds(id, rest, telling) {
                self.expand(rest, depth, lines, telling)
            } else {
                Ok(())
            };
        }
        if let Some((name, value)) = definition(text) {
            self.budget = self.budget.checked_sub(value.len()).ok_or(TooMuch)?;
            self.definitions.insert(name.to_owned(), value);
            telling.ledger.taken(telling.at, "");
            return Ok(());
        }
        if text.starts_with("~SEQ") || text.starts_with("~LST") {
            let Some((variables, rest)) = sequence(text) else {
                telling.ledger.left_out_that_decides(
                    telling.at,
                    "this sequence cannot be read: write out what it stands for",
                );
                return Ok(());
            };
            for values in variables {
                self.definitions.extend(values);
                self.expand(rest, depth, lines, telling)?;
            }
            return Ok(());
        }
        match self.substituted(text)? {
            // What is put in may have more of it, and lines of its own.
            Some(put_in) => {
                for line in put_in.lines() {
                    self.expand(line, depth, lines, telling)?;
                }
            }
            None if text.is_empty() => {}
            None => {
                self.budget = self.budget.checked_sub(text.len() + OF_A_LINE).ok_or(TooMuch)?;
                if lines.len() >= MOST_LINES {
                    return Err(TooMuch);
                }
                lines.push(text.to_owned());
            }
        }
        Ok(())
    }

    fn holds(&self, id: &str, rest: &str, telling: &mut Telling<'_>) -> bool {
        let (wanted, other) = match id.strip_prefix('^') {
            Some(other) => (other, true),
            None => (id, false),
        };
        let is_it = self.id.as_deref() == Some(wanted);
        let run_as = self.id.as_deref().unwrap_or("another");
        let Telling { at, in_balancing, ledger } = telling;
        if is_it != other {
            ledger.differs(
                *at,
                format!("it holds where keepalived runs as `{run_as}`, and is taken as if it did"),
            );
            return true;
        }
        let why = format!("it does not hold where keepalived runs as `{run_as}`, as which this file is read");
        let balances = *in_balancing || rest.trim_start().starts_with("virtual_server");
        if balances {
            ledger.left_out_that_decides(*at, why);
        } else {
            ledger.left_out(*at, why);
        }
        false
    }

    /// The text with the values of what is defined in it; `None` if nothing is.
    fn substituted(&mut self, text: &str) -> Result<Option<String>, TooMuch> {
        let mut out = String::new();
        let mut rest = text;
        let mut found = false;
        while let Some(place) = rest.find('$') {
            let (before, from) = rest.split_at(place);
            out.push_str(before);
            if let Some((name, after)) = reference(from)
                && let Some(value) = self.value(name)
            {
                found = true;
                self.budget = self.budget.checked_sub(value.len()).ok_or(TooMuch)?;
                out.push_str(&value);
                rest = after;
            } else {
                out.push('$');
                rest = &from[1..];
            }
        }
        out.push_str(rest);
        Ok(found.then_some(out))
    }

    fn value(&self, name: &str) -> Option<String> {
        match name {
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            _ => self.definitions.get(name).cloned(),
        }
    }
}

/// Where what is found out is told.
struct Telling<'a> {
    at: At,
    in_balancing: bool,
    ledger: &'a mut Ledger,
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Name and value of `$NAME=value`, the lines of which end in backslashes that are gone already.
fn definition(text: &str) -> Option<(&str, String)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let fits =
        !name.is_empty() && name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit());
    fits.then(|| (name, value.trim().to_owned()))
}

/// The name that a text begins with, and what follows: `${NAME}`, or `$NAME` before a space.
fn reference(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('$')?;
    if let Some(braced) = text.strip_prefix('{') {
        let end = braced.find(|c| !is_name(c))?;
        return braced[end..].strip_prefix('}').map(|after| (&braced[..end], after));
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    (after.is_empty() || after.starts_with(char::is_whitespace)).then_some((name, after))
}

/// Values of variables.
type Values = Vec<(String, String)>;

/// What a sequence sets its variables to, each time that the rest of the line is read.
fn sequence(text: &str) -> Option<(Vec<Values>, &str)> {
    let (kind, inner) = text.split_once('(')?;
    let (inner, rest) = inner.split_once(')')?;
    let values = match kind.trim_end() {
        "~SEQ" => numbers(inner, false)?,
        "~SEQx" => numbers(inner, true)?,
        "~LST" => list(inner)?,
        _ => return None,
    };
    Some((values, rest))
}

/// `var, start, step, end`, of which the second and third may be left out.
fn numbers(inner: &str, hexadecimal: bool) -> Option<Vec<Values>> {
    let mut fields = inner.split(',').map(str::trim);
    let name = fields.next().filter(|name| !name.is_empty() && name.chars().all(is_name))?;
    let number = |text: &str| {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let number = match digits.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        number.ok().filter(|number| *number <= i64::from(u32::MAX)).map(|number| sign * number)
    };
    let numbers = fields.map(number).collect::<Option<Vec<_>>>()?;
    let toward = |start: i64, end: i64| if end < start { -1 } else { 1 };
    let (start, step, end) = match numbers[..] {
        [end] => (end.signum(), end.signum(), end),
        [start, end] => (start, toward(start, end), end),
        [start, step, end] => (start, step, end),
        _ => return None,
    };
    if step == 0 {
        return None;
    }
    let is_within = |number: &i64| if step > 0 { *number <= end } else { *number >= end };
    let values = std::iter::successors(Some(start), |number| number.checked_add(step))
        .take_while(is_within)
        .take(MOST_LINES + 1)
        .map(|number| {
            let text = if hexadecimal && number >= 0 { format!("{number:x}") } else { number.to_string() };
            vec![(name.to_owned(), text)]
        });
    Some(values.collect())
}

/// `var, value, value`, or the same with several in braces.
fn list(inner: &str) -> Option<Vec<Values>> {
    let mut items = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (item, after) = match rest.strip_prefix('{') {
            Some(braced) => {
                let (item, after) = braced.split_once('}')?;
                (item, after.trim_start().strip_prefix(',').unwrap_or(after))
            }
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        items.push(item.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>());
        rest = after.trim();
    }
    let mut items = items.into_iter();
    let names = items.next()?;
    Some(items.map(|values| names.iter().cloned().zip(values).collect()).collect())
}
