//! JSON as it is pasted: with text around it, several values one after the other, members without their object, commas too many,
//! brackets too few. What can be read is; what cannot is told with its line.

use jsonc_parser::{Scanner, ScannerOptions, tokens::Token};

/// AWS has no more than about eight.
const DEEPEST: usize = 48;

/// A value, and the lines on which it begins and ends, from 1 on.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) kind: Kind,
    pub(super) lines: (usize, usize),
}

#[derive(Debug)]
pub(super) enum Kind {
    Object(Vec<RawMember>),
    Array(Vec<Raw>),
    /// A string without quotes, a number or a word as it is written.
    Scalar(String),
    Nothing,
}

#[derive(Debug)]
pub(super) struct RawMember {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Raw,
}

/// What is on a line, besides comments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineHas {
    pub(super) opening: bool,
    pub(super) closing: bool,
    pub(super) other: bool,
}

/// What a text is.
#[derive(Debug)]
pub(super) struct Document {
    /// Values that are in no other. Members that are in no object are one.
    pub(super) roots: Vec<Raw>,
    /// By line, from 0 on.
    pub(super) lines: Vec<LineHas>,
}

/// The tokens of a text, with what is none as [`Token::Word`].
struct Tokens<'a> {
    text: &'a str,
    /// Where the scanner began.
    base: usize,
    scanner: Scanner<'a>,
}

const fn options() -> ScannerOptions {
    ScannerOptions {
        // Prose has apostrophes.
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: true,
        allow_unary_plus_numbers: true,
        allow_bare_decimal_point_numbers: true,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: true,
    }
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, base: 0, scanner: Scanner::new(text, &options()) }
    }

    /// Goes on from there.
    fn restart(&mut self, place: usize) {
        self.base = place;
        self.scanner = Scanner::new(&self.text[place..], &options());
    }

    /// A token, and where it begins and ends.
    fn next(&mut self) -> Option<(Token<'a>, usize, usize)> {
        let scanned = self.scanner.scan();
        let start = self.base + self.scanner.token_start();
        match scanned {
            Ok(None) => None,
            Ok(Some(token)) => {
                let end = self.base + self.scanner.token_end();
                // A string ends on its line: this one was not closed.
                if matches!(token, Token::String(_)) && self.text[start..end].contains('\n') {
                    return self.junk(start);
                }
                Some((token, start, end))
            }
            Err(_) => self.junk(start),
        }
    }

    /// What is no JSON, up to something that may be.
    fn junk(&mut self, start: usize) -> Option<(Token<'a>, usize, usize)> {
        let rest = &self.text[start..];
        let first = rest.chars().next()?.len_utf8();
        let more = rest[first..].find(['\n', '\r', ',', '{', '}', '[', ']']).unwrap_or(rest.len() - first);
        let end = start + first + more;
        self.restart(end);
        Some((Token::Word(rest[..first + more].trim_end()), start, end))
    }

    /// The rest of the line is prose, but for a bracket at its end.
    fn skip_line(&mut self, from: usize) {
        let end = self.text[from..].find('\n').map_or(self.text.len(), |length| from + length);
        let line = self.text[from..end].trim_end();
        self.restart(if line.ends_with(['{', '[']) { from + line.len() - 1 } else { end });
    }
}

/// A container that is not closed yet.
struct Frame {
    is_array: bool,
    first_line: usize,
    members: Vec<RawMember>,
    items: Vec<Raw>,
    key: Option<(String, usize)>,
    /// The last item is a string that may be a key.
    may_be_key: bool,
}

impl Frame {
    const fn new(is_array: bool, first_line: usize) -> Self {
        Self { is_array, first_line, members: Vec::new(), items: Vec::new(), key: None, may_be_key: false }
    }

    fn push(&mut self, value: Raw, may_be_key: bool) {
        self.may_be_key = may_be_key && self.key.is_none();
        match self.key.take() {
            Some((key, line)) => self.members.push(RawMember { key, line, value }),
            None => self.items.push(value),
        }
    }

    fn colon(&mut self) {
        if std::mem::take(&mut self.may_be_key)
            && let Some(Raw { kind: Kind::Scalar(key), lines }) = self.items.pop()
        {
            self.key = Some((key, lines.0));
        }
    }

    /// A key without a value.
    fn end_member(&mut self, line: usize) {
        self.may_be_key = false;
        if self.key.is_some() {
            self.push(Raw { kind: Kind::Nothing, lines: (line, line) }, false);
        }
    }

    fn into_value(mut self, last_line: usize) -> Raw {
        self.end_member(last_line);
        let lines = (self.first_line, last_line);
        let object = |members| Raw { kind: Kind::Object(members), lines };
        if !self.is_array {
            return object(self.members);
        }
        if !self.members.is_empty() {
            self.items.push(object(self.members));
        }
        Raw { kind: Kind::Array(self.items), lines }
    }
}

/// Reads a text. Nothing is an error here.
pub(super) fn read(text: &str) -> Document {
    let mut lines = vec![LineHas::default(); text.lines().count().max(1)];
    let mut tokens = Tokens::new(text);
    let mut frames: Vec<Frame> = Vec::new();
    let mut root = Frame::new(true, 1);
    let mut deeper = 0usize;
    let (mut line, mut counted) = (1usize, 0usize);
    while let Some((token, start, end)) = tokens.next() {
        line += text[counted..start].bytes().filter(|byte| *byte == b'\n').count();
        counted = start;
        let here = lines.get_mut(line - 1);
        let mark = |set: fn(&mut LineHas)| here.map(set);
        let top = frames.last_mut().unwrap_or(&mut root);
        match token {
            Token::CommentLine(_) | Token::CommentBlock(_) => continue,
            Token::OpenBrace | Token::OpenBracket => {
                mark(|has| has.opening = true);
                if frames.len() < DEEPEST && deeper == 0 {
                    frames.push(Frame::new(matches!(token, Token::OpenBracket), line));
                } else {
                    deeper += 1;
                }
            }
            Token::CloseBrace | Token::CloseBracket => {
                mark(|has| has.closing = true);
                if deeper > 0 {
                    deeper -= 1;
                    if deeper == 0 {
                        top.push(Raw { kind: Kind::Nothing, lines: (line, line) }, false);
                    }
                } else {
                    close(matches!(token, Token::CloseBracket), &mut frames, &mut root, line);
                }
            }
            Token::Comma => {
                mark(|has| has.closing = true);
                if deeper == 0 {
                    top.end_member(line);
                }
            }
            Token::Colon => {
                mark(|has| has.other = true);
                if deeper == 0 {
                    top.colon();
                }
            }
            Token::Null | Token::Boolean(_) | Token::Number(_) | Token::String(_) | Token::Word(_) => {
                mark(|has| has.other = true);
                let is_string = matches!(token, Token::String(_));
                if deeper > 0 {
                    continue;
                }
                if frames.is_empty() && root.key.is_none() && !is_string {
                    tokens.skip_line(end);
                    continue;
                }
                let kind = match token {
                    Token::Null => Kind::Nothing,
                    _ => Kind::Scalar(token.as_str().to_owned()),
                };
                frames.last_mut().unwrap_or(&mut root).push(Raw { kind, lines: (line, line) }, is_string);
            }
        }
    }
    let last = lines.len();
    while let Some(frame) = frames.pop() {
        let value = frame.into_value(last);
        frames.last_mut().unwrap_or(&mut root).push(value, false);
    }
    let Raw { kind: Kind::Array(roots), .. } = root.into_value(last) else {
        return Document { roots: Vec::new(), lines };
    };
    Document { roots, lines }
}

/// Ends the innermost container of this kind, and those within it. One bracket too many ends nothing.
fn close(is_array: bool, frames: &mut Vec<Frame>, root: &mut Frame, line: usize) {
    let Some(depth) = frames.iter().rposition(|frame| frame.is_array == is_array) else { return };
    while frames.len() > depth {
        let Some(frame) = frames.pop() else { return };
        let value = frame.into_value(line);
        frames.last_mut().unwrap_or(root).push(value, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Raw) -> String {
        let list = |items: Vec<String>| items.join(", ");
        match &value.kind {
            Kind::Object(members) => format!(
                "{{{}}}",
                list(
                    members
                        .iter()
                        .map(|member| format!("{}: {}", member.key, shown(&member.value)))
                        .collect()
                )
            ),
            Kind::Array(items) => format!("[{}]", list(items.iter().map(shown).collect())),
            Kind::Scalar(text) => text.clone(),
            Kind::Nothing => "null".to_owned(),
        }
    }

    fn roots(text: &str) -> String {
        read(text).roots.iter().map(shown).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn fragments() {
        for (text, expected) in [
            (r#"{"a": 1, "b": [true, null, "x"]}"#, "{a: 1, b: [true, null, x]}"),
            (r#"{"a": 1,},"#, "{a: 1}"),
            ("{\"a\": 1}\n{\"b\": 2}", "{a: 1} | {b: 2}"),
            ("\"a\": [1, 2],\n\"b\": {}", "{a: [1, 2], b: {}}"),
            ("$ aws elb describe-load-balancers\nIt's this:\n{\"a\": 1}", "{a: 1}"),
            ("lb = {\n\"a\": 1 }", "{a: 1}"),
            ("{\"a\": [1, {\"b\": 2", "{a: [1, {b: 2}]}"),
            ("{\"a\": [1, 2}", "{a: [1, 2]}"),
            ("]}{\"a\": 1}", "{a: 1}"),
            ("{\"a\": <PORT>, \"b\": ... }", "{a: <PORT>, b: ...}"),
            ("{\"a\": \"not closed,\n\"b\": 2}", "{a: \"not closed, b: 2}"),
            ("{\"a\"}", "{}"),
            ("{\"a\":, \"b\": 1}", "{a: null, b: 1}"),
            ("// no\n{\"a\": 1 /* yes */}", "{a: 1}"),
            ("", ""),
        ] {
            assert_eq!(roots(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_and_depth() {
        let document = read("{\n  \"a\": {\n    \"b\": 1\n  },\n  \"c\": [\n  ]\n}\n");
        let Kind::Object(members) = &document.roots[0].kind else { panic!("{document:?}") };
        let lines: Vec<_> = members.iter().map(|member| (member.line, member.value.lines)).collect();
        assert_eq!(lines, [(2, (2, 4)), (5, (5, 6))]);
        let deep = "[".repeat(300_000);
        assert_eq!(read(&deep).roots.len(), 1);
        read(&"{\"a\":".repeat(100_000));
        read(&"\"".repeat(100_000));
        read(&"\"\n".repeat(100_000));
        read(&"@".repeat(500_000));
    }
}
