//! The directives of a text, each entered in the ledger with its place.

use std::collections::HashSet;

use nginx_lint_parser::ast::{ConfigItem, Directive};

use super::{
    dump::{File, Files},
    known::{self, Context},
    text::{Flaw, Readable, Stray},
};
use crate::{
    SyntaxError,
    report::{At, FileId, Ledger},
};

/// Longer statements are cut in the report.
const LONGEST_TEXT: usize = 200;
/// What stands behind so many words says nothing to dtr-lb.
const MOST_WORDS: usize = 500;
/// Files that include each other go no deeper.
const DEEPEST_INCLUDE: u8 = 8;
/// Directives that begin a line where the one before has no `;`: nobody means them as another's argument.
const BEGIN_LINES: &str = "listen proxy_pass server proxy_timeout proxy_connect_timeout upstream location server_name allow deny \
    least_conn ip_hash ssl_preread ssl_certificate ssl_certificate_key proxy_set_header proxy_protocol proxy_ssl return include";

/// A directive.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    /// Behind the name, without quotes.
    pub(super) words: Vec<String>,
    pub(super) at: At,
    pub(super) context: Context,
    pub(super) block: Option<Vec<Node>>,
}

impl Node {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub(super) fn children(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Of its children, those of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children().iter().filter(move |node| node.name == name)
    }

    /// The last one of a name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.children().iter().rev().find(|node| node.name == name)
    }

    pub(super) fn is_on(&self) -> bool {
        self.word(0) == "on"
    }
}

/// One word, and where it stands.
struct Word {
    text: String,
    first_line: usize,
    last_line: usize,
}

struct Reader<'a, 'b> {
    text: &'a str,
    /// How many lines are before it.
    before: usize,
    file: FileId,
    ledger: &'b mut Ledger,
    others: &'b mut Files<'a>,
    depth: u8,
    error: Option<SyntaxError>,
    unended: HashSet<usize>,
    last_line: usize,
}

/// Reads a text into directives.
///
/// # Errors
/// As [`super::text::readable`].
pub(super) fn read(text: &str, file: FileId, ledger: &mut Ledger) -> Result<Vec<Node>, SyntaxError> {
    let (first, mut others) = Files::of(text);
    let mut nodes = one(first, None, file, ledger, &mut others, 0)?;
    while let Some(part) = others.next() {
        nodes.extend(one(part, None, file, ledger, &mut others, 0)?);
    }
    Ok(nodes)
}

/// Reads a file of a text. `context`: what includes it.
fn one<'a>(
    part: File<'a>,
    context: Option<Context>,
    file: FileId,
    ledger: &mut Ledger,
    others: &mut Files<'a>,
    depth: u8,
) -> Result<Vec<Node>, SyntaxError> {
    let File { line: before, text, .. } = part;
    let Readable { text: masked, strays, unended } = super::text::readable(text)
        .map_err(|SyntaxError { line, why }| SyntaxError { line: line + before, why })?;
    let (config, _) = nginx_lint_parser::parse_string_with_errors(&masked);
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
    let mut reader = Reader {
        text,
        before,
        file,
        ledger,
        others,
        depth,
        error: None,
        unended: unended.into_iter().collect(),
        last_line: before + text.lines().count().max(1),
    };
    let nodes = reader.nodes(&config.items, context.unwrap_or_else(|| top(&config.items)));
    for stray in strays {
        reader.stray(stray, &starts);
    }
    reader.error.map_or(Ok(nodes), Err)
}

/// What the outermost directives stand in: a file that another one includes has no `stream {}` of its own.
fn top(items: &[ConfigItem]) -> Context {
    let mut names = directives(items).map(|directive| directive.name.as_str());
    if names.any(|name| ["stream", "http", "events", "mail"].contains(&name)) {
        return Context::Main;
    }
    let mut is_part = false;
    let mut todo: Vec<&Directive> = directives(items).collect();
    while let Some(directive) = todo.pop() {
        let name = directive.name.as_str();
        is_part |=
            ["server", "upstream", "map", "listen", "proxy_pass", "log_format", "match"].contains(&name);
        let is_url =
            name == "proxy_pass" && directive.args.first().is_some_and(|word| word.raw.contains("://"));
        if is_url
            || ["location", "server_name", "proxy_set_header", "root", "proxy_http_version"].contains(&name)
        {
            return Context::Http;
        }
        todo.extend(directive.block.iter().flat_map(|block| directives(&block.items)));
    }
    if is_part { Context::Stream } else { Context::Main }
}

fn directives(items: &[ConfigItem]) -> impl Iterator<Item = &Directive> {
    items.iter().filter_map(|item| match item {
        ConfigItem::Directive(directive) => Some(&**directive),
        _ => None,
    })
}

/// What is in a directive's block.
fn inside(context: Context, name: &str, words: &[Word]) -> Context {
    use Context::*;
    match (context, name) {
        (Main, "events") => Events,
        (Main, "stream") => Stream,
        (Main, "http") => Http,
        (Stream | Main, "server") => StreamServer,
        (Stream | Main, "upstream") => StreamUpstream,
        (Stream, "match") => StreamMatch,
        (Http, "server") => HttpServer,
        (Http, "upstream") => HttpUpstream,
        (Http, "match") => HttpMatch,
        // It does not belong there, but what it means is plain.
        (StreamServer, "location") => Location,
        (HttpServer, "location")
            if words.last().is_some_and(|word| word.text == "/") && words[0].text != "=" =>
        {
            Location
        }
        _ => Ignored,
    }
}

impl Reader<'_, '_> {
    fn nodes(&mut self, items: &[ConfigItem], context: Context) -> Vec<Node> {
        let mut nodes = Vec::new();
        for directive in directives(items) {
            for node in self.directive(directive, context) {
                let included = self.included(&node);
                nodes.push(node);
                nodes.extend(included);
            }
        }
        nodes
    }

    /// What an `include` names, if the text has it.
    fn included(&mut self, node: &Node) -> Vec<Node> {
        if node.name != "include" || self.others.is_empty() || self.depth >= DEEPEST_INCLUDE {
            return Vec::new();
        }
        let mut nodes = Vec::new();
        for part in self.others.take(node.word(0)) {
            self.ledger.taken(node.at, format!("this text has the file, from line {} on", part.line + 1));
            match one(part, Some(node.context), self.file, self.ledger, self.others, self.depth + 1) {
                Ok(included) => nodes.extend(included),
                Err(error) => self.error = Some(error),
            }
        }
        nodes
    }

    /// One directive, or several where a `;` between them is missing.
    fn directive(&mut self, directive: &Directive, context: Context) -> Vec<Node> {
        let mut statements = self.statements(self.words(directive), context);
        let start = directive.name_span.start.offset;
        let end_line = (self.before + directive.span.end.line).min(self.last_line);
        let mut nodes = Vec::new();
        let last = statements.pop().unwrap_or_default();
        for words in statements {
            let last_line = words.last().map_or(end_line, |word| word.last_line);
            let node = self.enter(words, (last_line, last_line), context, None);
            self.ledger.fault(node.at, format!("no `;` ends line {last_line}: nginx takes the next line for a part of it. It is read as if it were there"));
            nodes.push(node);
        }
        let head_end = directive.block.as_ref().map_or(end_line, |block| self.before + block.span.start.line);
        let node = self.enter(
            last,
            (head_end, end_line),
            context,
            directive.block.as_ref().map(|block| &block.items[..]),
        );
        if self.unended.contains(&start) {
            self.ledger.fault(
                node.at,
                "no `;` ends it: nginx does not start with that. It is read as if it were there",
            );
        }
        nodes.push(node);
        nodes
    }

    /// The words of each statement, of which all but the last lack a `;`.
    fn statements(&self, words: Vec<Word>, context: Context) -> Vec<Vec<Word>> {
        let begins = |before: &Word, word: &Word| {
            word.first_line > before.last_line
                && BEGIN_LINES.split_whitespace().any(|name| name == word.text)
                && known::find(context, &word.text).is_some()
        };
        let mut statements: Vec<Vec<Word>> = Vec::new();
        for word in words {
            match statements.last_mut() {
                Some(statement) if !statement.last().is_some_and(|before| begins(before, &word)) => {
                    statement.push(word);
                }
                _ => statements.push(vec![word]),
            }
        }
        statements
    }

    /// Name and arguments. Variables within a word are tokens of their own to the parser.
    fn words(&self, directive: &Directive) -> Vec<Word> {
        let spans = std::iter::once(directive.name_span).chain(directive.args.iter().map(|word| word.span));
        let mut words: Vec<Word> = Vec::new();
        let mut end = None;
        for span in spans {
            let raw = self.text.get(span.start.offset..span.end.offset).unwrap_or("");
            let last_line = self.before + span.end.line;
            match words.last_mut() {
                Some(word) if end == Some(span.start.offset) => {
                    word.text.push_str(raw);
                    word.last_line = last_line;
                }
                _ => words.push(Word {
                    text: raw.to_owned(),
                    first_line: self.before + span.start.line,
                    last_line,
                }),
            }
            end = Some(span.end.offset);
        }
        for word in &mut words {
            word.text = unquoted(&word.text);
        }
        words
    }

    /// Enters a statement that goes to the line `head_end`, and with its block to `end`.
    fn enter(
        &mut self,
        words: Vec<Word>,
        (head_end, end): (usize, usize),
        context: Context,
        block: Option<&[ConfigItem]>,
    ) -> Node {
        let first = words.first().map_or(head_end, |word| word.first_line);
        let last = words.last().map_or(head_end, |word| word.last_line).max(head_end);
        let name = words.first().map_or_else(String::new, |word| word.text.clone());
        let inner = inside(context, &name, &words[words.len().min(1)..]);
        let mut text = String::new();
        for word in &words {
            if text.len() > LONGEST_TEXT {
                text.push('…');
                break;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.extend(word.text.chars().take(LONGEST_TEXT));
        }
        let is_whole = block.is_some() && inner == Context::Ignored;
        text.push_str(match (block, is_whole) {
            (None, _) => ";",
            (Some(_), false) => " {",
            (Some(_), true) => " { ... }",
        });
        let lines = if is_whole { (first, end) } else { (first, last) };
        let at = self.ledger.statement(self.file, lines, &text);
        let block = block.map(|items| if is_whole { self.data(items, at) } else { self.nodes(items, inner) });
        let words = words.into_iter().skip(1).take(MOST_WORDS).map(|word| word.text).collect();
        Node { name, words, at, context, block }
    }

    /// What is in a block that is one statement with it.
    fn data(&mut self, items: &[ConfigItem], at: At) -> Vec<Node> {
        directives(items)
            .map(|directive| {
                let mut words = self.words(directive).into_iter().map(|word| word.text);
                let name = words.next().unwrap_or_default();
                let words = words.collect();
                let block = directive.block.as_ref().map(|block| self.data(&block.items, at));
                Node { name, words, at, context: Context::Ignored, block }
            })
            .collect()
    }

    fn stray(&mut self, Stray { offset, what }: Stray, starts: &[usize]) {
        let line = self.before + starts.partition_point(|start| *start <= offset);
        let enter = |ledger: &mut Ledger, text: &str| ledger.statement(self.file, (line, line), text);
        match what {
            Flaw::Brace => {
                let at = enter(self.ledger, "}");
                self.ledger.fault(
                    at,
                    "it closes no block: nginx does not start with that. It is read as if it were not there",
                );
            }
            Flaw::Semicolon => {
                let at = enter(self.ledger, ";");
                self.ledger.fault(at, "there is no directive before it: nginx does not start with that. It is read as if it were not there");
            }
            Flaw::Quote => {
                let at = enter(self.ledger, "a quotation mark");
                self.ledger.fault(at, "no second one ends what is quoted: nginx does not start with that. It is read as if it were not there");
            }
            Flaw::Unclosed => {
                let at = enter(self.ledger, "{");
                self.ledger.fault(at, "nothing closes this block: the file is cut off, or a } is missing. It is read as if it went to the end");
            }
            Flaw::Omission => {
                let at = enter(self.ledger, "...");
                self.ledger.left_out_that_decides(
                    at,
                    "something is left out of this text here: give the whole file",
                );
            }
        }
    }
}

/// Without the quotes around it, and with what backslashes mean within them.
fn unquoted(word: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|quote| word.strip_prefix(*quote)?.strip_suffix(*quote));
    let Some(inner) = inner.filter(|_| word.len() >= 2) else { return word.to_owned() };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = match (character, characters.peek()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('r')) => '\r',
            ('\\', Some('t')) => '\t',
            ('\\', Some(next @ ('"' | '\'' | '\\'))) => *next,
            _ => {
                text.push(character);
                continue;
            }
        };
        text.push(escaped);
        characters.next();
    }
    text
}
