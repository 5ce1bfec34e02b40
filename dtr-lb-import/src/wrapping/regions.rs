//! Configs within other texts: fenced blocks of Markdown, heredocs of a shell or Terraform, block scalars of YAML.

use crate::Format;

/// A manifest in a heredoc in a document: no deeper.
const DEEPEST: u8 = 4;

/// What stands around a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Markdown,
    Shell,
    Yaml,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Markdown => "Markdown",
            Self::Shell => "a script",
            Self::Yaml => "YAML",
        }
    }

    pub(super) const fn is_document(self) -> bool {
        matches!(self, Self::Markdown)
    }
}

/// A config.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) format: Format,
    /// Line numbers, which count from 1, and what is left of the lines. There is one at least.
    pub(super) lines: Vec<(usize, String)>,
}

impl Found {
    pub(super) fn first(&self) -> usize {
        self.lines.first().map_or(1, |(line, _)| *line)
    }

    pub(super) fn last(&self) -> usize {
        self.lines.last().map_or(1, |(line, _)| *line)
    }
}

pub(super) struct Outcome {
    pub(super) kind: Kind,
    /// In the order of the text; empty: nothing is wrapped.
    pub(super) found: Vec<Found>,
}

type Lines = Vec<(usize, String)>;
/// Finds the blocks of its kind in a text.
type Way = fn(&Lines) -> Vec<Lines>;

/// Looks for configs that something is wrapped around.
pub(super) fn find(lines: &[&str], of: &dyn Fn(&str) -> Option<Format>) -> Outcome {
    let lines: Lines =
        lines.iter().enumerate().map(|(index, line)| (index + 1, (*line).to_owned())).collect();
    let (kind, found) = look(&lines, of, 0).unwrap_or((Kind::Markdown, Vec::new()));
    Outcome { kind, found }
}

fn look(lines: &Lines, of: &dyn Fn(&str) -> Option<Format>, depth: u8) -> Option<(Kind, Vec<Found>)> {
    if depth >= DEEPEST {
        return None;
    }
    let ways: [(Kind, Way); 3] = [(Kind::Markdown, fences), (Kind::Shell, heredocs), (Kind::Yaml, scalars)];
    ways.into_iter().find_map(|(kind, way)| {
        let mut found = Vec::new();
        for block in way(lines) {
            if let Some((_, inner)) = look(&block, of, depth + 1) {
                found.extend(inner);
                continue;
            }
            let text = block.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
            if let Some(format) = of(&text) {
                found.push(Found { format, lines: block });
            }
        }
        (!found.is_empty()).then_some((kind, found))
    })
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Without so much of its blanks as another line begins with.
fn dedented(line: &str, indent: &str) -> String {
    if let Some(rest) = line.strip_prefix(indent) {
        return rest.to_owned();
    }
    // Tabs in one, blanks in the other.
    let width = indent.chars().map(|c| if c == '\t' { 4 } else { 1 }).sum::<usize>();
    let mut column = 0;
    let rest = line.trim_start_matches(|c| {
        let is_indent = (c == ' ' || c == '\t') && column < width;
        column += if c == '\t' { 4 } else { 1 };
        is_indent
    });
    rest.to_owned()
}

/// The blocks between fences.
fn fences(lines: &Lines) -> Vec<Lines> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, &str, Lines)> = None;
    for (number, line) in lines {
        let bare = line.trim_start_matches([' ', '\t', '>']);
        let marker = ["```", "~~~"].into_iter().find(|marker| bare.starts_with(marker));
        let length = marker.map_or(0, |marker| bare.chars().take_while(|c| marker.starts_with(*c)).count());
        match (&mut open, marker) {
            (None, Some(marker)) => open = Some((marker, length, indentation(line), Vec::new())),
            (None, None) => {}
            (Some((opened, opened_length, _, _)), Some(marker))
                if *opened == marker && length >= *opened_length && bare[length..].trim().is_empty() =>
            {
                blocks.extend(open.take().map(|(_, _, _, block)| block));
            }
            (Some((_, _, indent, block)), _) => block.push((*number, dedented(line, indent))),
        }
    }
    blocks.extend(open.map(|(_, _, _, block)| block));
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The word that ends a heredoc which begins in this line, and whether its text is taken as it stands.
fn heredoc(line: &str) -> Option<(&str, bool)> {
    let bare = line.trim_start();
    if bare.starts_with('#') || bare.starts_with("//") {
        return None;
    }
    let rest = line.split_once("<<")?.1;
    if rest.starts_with('<') {
        return None;
    }
    let rest = rest.trim_start_matches(['-', '~']).trim_start_matches([' ', '\t']);
    let quote = rest.chars().next().filter(|c| ['"', '\'', '\\'].contains(c));
    let rest = quote.map_or(rest, |quote| &rest[quote.len_utf8()..]);
    let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let word = &rest[..length];
    let begins = word.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    begins.then_some((word, quote.is_some()))
}

fn heredocs(lines: &Lines) -> Vec<Lines> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, bool, Lines)> = None;
    for (number, line) in lines {
        match &mut open {
            None => open = heredoc(line).map(|(word, is_quoted)| (word, is_quoted, Vec::new())),
            Some((word, _, _)) if line.trim() == *word => {
                blocks.extend(open.take().map(|(_, _, block)| block));
            }
            Some((_, is_quoted, block)) => {
                let line = if *is_quoted {
                    line.clone()
                } else {
                    line.replace("\\$", "$").replace("\\`", "`").replace("\\\\", "\\")
                };
                block.push((*number, line));
            }
        }
    }
    blocks.extend(open.map(|(_, _, block)| block));
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Whether a block scalar of YAML begins in this line (`nginx.conf: |`, `content: >-`, `- |`), and how far what it belongs to is indented.
fn scalar(line: &str) -> Option<usize> {
    let indent = indentation(line).len();
    let head = line.trim();
    let head = head.split(" #").next().unwrap_or(head).trim_end();
    let head = head.trim_end_matches(|c: char| c.is_ascii_digit() || c == '+' || c == '-');
    let head = head.strip_suffix(['|', '>'])?;
    let key = head.trim_end();
    let begins = key.len() < head.len() && (key.ends_with(':') || key == "-");
    let is_key = |c: char| c.is_ascii_alphanumeric() || "._-/ \"'{}$".contains(c);
    (begins && key.trim_end_matches(':').chars().all(is_key)).then_some(indent)
}

fn scalars(lines: &Lines) -> Vec<Lines> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Option<&str>, Lines)> = None;
    for (number, line) in lines {
        let is_blank = line.trim().is_empty();
        if let Some((outer, indent, block)) = &mut open {
            // A template's tags may stand anywhere.
            let is_tag = line.trim_start().starts_with("{{") || line.trim_start().starts_with("{%");
            if is_blank || indentation(line).len() > *outer || (is_tag && indent.is_some()) {
                if !is_blank && indent.is_none() {
                    *indent = Some(indentation(line));
                }
                block.push((*number, dedented(line, indent.unwrap_or(""))));
                continue;
            }
            blocks.extend(open.take().map(|(_, _, block)| block));
        }
        open = scalar(line).map(|outer| (outer, None, Vec::new()));
    }
    blocks.extend(open.map(|(_, _, block)| block));
    blocks.retain(|block| block.iter().any(|(_, line)| !line.trim().is_empty()));
    blocks
}
