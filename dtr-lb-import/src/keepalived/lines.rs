//! The statements of a file: each line with words in it, with the brace that opens its block on a line of its own, and with its
//! continuations.

use super::words::{Token, tokens, without_comment};
use crate::report::{At, FileId, Ledger};

/// A statement's text without comments; several lines if it is continued.
#[derive(Debug)]
pub(super) struct Unit {
    /// `None`: braces that end blocks, which are no statement.
    pub(super) at: Option<At>,
    pub(super) text: String,
}

struct Raw {
    first: usize,
    last: usize,
    text: String,
    is_statement: bool,
}

/// The units of a file, each entered in the ledger.
pub(super) fn units(text: &str, file: FileId, ledger: &mut Ledger) -> Vec<Unit> {
    let mut raw: Vec<Raw> = Vec::new();
    let mut continued = false;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = without_comment(line).trim();
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line.trim_end(), true),
            None => (line, false),
        };
        if continued {
            if let Some(unit) = raw.last_mut() {
                unit.text.push('\n');
                unit.text.push_str(line);
                unit.last = number;
            }
        } else if line == "{" && raw.last().is_some_and(can_open) {
            if let Some(unit) = raw.last_mut() {
                unit.text.push_str("\n{");
                unit.last = number;
            }
        } else if !line.is_empty() || goes_on {
            let is_statement = !line.chars().all(|c| c == '}' || c.is_whitespace()) || goes_on;
            raw.push(Raw { first: number, last: number, text: line.to_owned(), is_statement });
        }
        continued = goes_on;
    }
    let enter = |raw: Raw| {
        let at = raw
            .is_statement
            .then(|| ledger.statement(file, (raw.first, raw.last), &without_secret(&raw.text)));
        Unit { at, text: raw.text }
    };
    raw.into_iter().map(enter).collect()
}

/// Whether a brace on the next line opens this statement's block.
fn can_open(unit: &Raw) -> bool {
    unit.is_statement && matches!(tokens(&unit.text).last(), Some(Token::Word(_)))
}

/// Passwords stay out of the report.
fn without_secret(text: &str) -> String {
    let mut words = text.split_whitespace();
    let mut kept: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        let secret = match word {
            "auth_pass" | "password" => words.next(),
            "key" => words.clone().nth(1).and_then(|_| words.nth(1)),
            _ => None,
        };
        if secret.is_some() {
            kept.push("***");
        }
    }
    kept.join(" ")
}
