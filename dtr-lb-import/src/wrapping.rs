//! What stands around a config, or in it, that is none of it: Markdown, YAML, heredocs, shell commands, templates.
//!
//! Lines stay where they are: of what is stripped an empty line is left, so that the report names the file's own lines. Each
//! stripped region is a statement of its own in the report.

mod characters;
mod regions;
mod shell;
mod templates;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    Format,
    report::{FileId, Ledger},
};
use regions::Found;

/// A config as it was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As many lines as the file.
    pub text: String,
    /// What it is written in, where it had to be known to find it.
    pub format: Option<Format>,
}

/// A document with configs of several formats, of which one has to be chosen: they are not parts of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several {
    /// Format, first and last line.
    pub blocks: Vec<(Format, usize, usize)>,
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (format, first, last)) in self.blocks.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} in lines {first}-{last}", format.name())?;
        }
        Ok(())
    }
}

/// The configs in a text: one, or one of each format that is in it. A template's variables are placeholders in them (`<name>`).
/// `of` says what a text is written in; `from` which formats are wanted, empty: any.
///
/// # Errors
/// A document shows the same job in several formats.
pub fn unwrap(
    text: &str,
    file: FileId,
    from: &[Format],
    of: &dyn Fn(&str) -> Option<Format>,
    ledger: &mut Ledger,
) -> Result<Vec<Part>, Several> {
    let text = characters::plain(text, file, ledger);
    let lines: Vec<&str> = text.split('\n').collect();
    let regions::Outcome { kind, found } = regions::find(&lines, &|text| of(&templates::plain(text).text));
    if found.is_empty() {
        // JSON has an end, and its reader tells what stands around it.
        let text =
            if of(&text) == Some(Format::Elb) { text } else { shell::without_commands(&lines, file, ledger) };
        return Ok(vec![Part { text: template(&text, file, ledger), format: None }]);
    }
    let wanted = |found: &&Found| from.is_empty() || from.contains(&found.format);
    let mut chosen: Vec<&Found> = found.iter().filter(wanted).collect();
    if chosen.is_empty() {
        chosen = found.iter().collect();
    }
    let mut formats: Vec<Format> = chosen.iter().map(|found| found.format).collect();
    formats.sort();
    formats.dedup();
    // Files in a script or a manifest are there to work together; examples in a document are not, but for the VIP of one and the
    // servers of another.
    let others = formats.iter().filter(|format| **format != Format::Keepalived).count();
    if kind.is_document() && others > 1 {
        let blocks = chosen.iter().map(|found| (found.format, found.first(), found.last())).collect();
        return Err(Several { blocks });
    }
    let mut parts: Vec<(Format, Vec<&str>)> = Vec::new();
    for found in &chosen {
        // Two texts of JSON are not one.
        let same = parts.iter_mut().find(|(format, _)| *format == found.format && *format != Format::Elb);
        let part = match same {
            Some((_, part)) => part,
            None => {
                parts.push((found.format, vec![""; lines.len()]));
                let Some((_, part)) = parts.last_mut() else { continue };
                part
            }
        };
        for (line, text) in &found.lines {
            part[line - 1] = text;
        }
    }
    let mut taken = vec![Region::Stripped; lines.len()];
    for one in &found {
        let region = if chosen.iter().any(|chosen| std::ptr::eq(*chosen, one)) {
            Region::Taken
        } else {
            Region::Other(one.format)
        };
        for (line, _) in &one.lines {
            taken[line - 1] = region;
        }
    }
    tell(&lines, &taken, kind, file, ledger);
    let parts = parts.into_iter().map(|(format, lines)| Part {
        text: template(&lines.join("\n"), file, ledger),
        format: Some(format),
    });
    Ok(parts.collect())
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Region {
    Taken,
    Stripped,
    /// A config of a format that was not asked for.
    Other(Format),
}

/// Enters each region that is not read.
fn tell(lines: &[&str], taken: &[Region], kind: regions::Kind, file: FileId, ledger: &mut Ledger) {
    let mut index = 0;
    while index < lines.len() {
        let region = taken[index];
        let end = (index..lines.len()).find(|other| taken[*other] != region).unwrap_or(lines.len());
        let is_blank = |line: &usize| lines[*line].trim().is_empty();
        let first = (index..end).find(|line| !is_blank(line));
        if let Some(first) = first.filter(|_| region != Region::Taken) {
            let last = (first..end).rev().find(|line| !is_blank(line)).unwrap_or(first);
            let lines = (first + 1, last + 1);
            let named = if lines.0 == lines.1 {
                format!("line {}", lines.0)
            } else {
                format!("lines {}-{}", lines.0, lines.1)
            };
            if let Region::Other(format) = region {
                let at = ledger.statement(file, lines, &format!("{named}: a config of {}", format.name()));
                ledger.left_out(at, "another format was asked for by --from");
            } else {
                let at =
                    ledger.statement(file, lines, &format!("{named}: {} around the config", kind.name()));
                ledger.left_out(at, "not a part of the config");
            }
        }
        index = end;
    }
}

/// Without a template's tags, which are told.
fn template(text: &str, file: FileId, ledger: &mut Ledger) -> String {
    let plain = templates::plain(text);
    for tag in plain.tags {
        let at = ledger.statement(file, tag.lines, &tag.text);
        if tag.decides {
            ledger.left_out_that_decides(at, tag.why);
        } else {
            ledger.left_out(at, tag.why);
        }
    }
    plain.text
}
