//! Characters that word processors and web pages put in the place of plain ones.

use crate::report::{FileId, Ledger};

/// With plain blanks, quotes and line ends. Lines stay where they are.
pub(super) fn plain(text: &str, file: FileId, ledger: &mut Ledger) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let text = if text.contains('\n') { text.replace('\r', " ") } else { text.replace('\r', "\n") };
    let is_quote =
        |c: char| matches!(c, '\u{201c}'..='\u{201f}' | '\u{2018}'..='\u{201b}' | '\u{ab}' | '\u{bb}');
    let quoted = |line: &str| {
        let config = line.split('#').next().unwrap_or(line);
        config.contains(is_quote)
    };
    let lines: Vec<usize> =
        text.lines().enumerate().filter(|(_, line)| quoted(line)).map(|(index, _)| index + 1).collect();
    let is_document =
        text.lines().any(|line| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~"));
    if let Some(first) = lines.first().filter(|_| !is_document) {
        let count = lines.len();
        let at = ledger.statement(file, (*first, *first), "typographic quotes");
        ledger.fault(
            at,
            format!(
                "in {count} line{}: they mean nothing in a config. Plain ones are read",
                if count == 1 { "" } else { "s" }
            ),
        );
    }
    text.chars()
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'))
        .map(|c| match c {
            '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => '"',
            '\u{2018}'..='\u{201b}' => '\'',
            '\t' | '\n' => c,
            c if c.is_whitespace() => ' ',
            c => c,
        })
        .collect()
}
