//! The text as the parser can read it: of the same length, so that each place is the same, but without comments, with one kind of
//! blanks, with as many closing braces as there are opening ones, and with nothing in it that the parser takes for something else than nginx does.

use crate::SyntaxError;

/// nginx's own blocks are five deep at most.
const DEEPEST: usize = 64;

/// What was found on the way.
#[derive(Debug, Default)]
pub(super) struct Readable {
    /// As long as the original, and closing braces that it lacks.
    pub(super) text: String,
    pub(super) strays: Vec<Stray>,
    /// Where statements begin that no `;` ends.
    pub(super) unended: Vec<usize>,
}

/// What is wrong at some place in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stray {
    pub(super) offset: usize,
    pub(super) what: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Brace,
    Semicolon,
    Quote,
    /// A block that nothing closes.
    Unclosed,
    /// `...` in place of statements.
    Omission,
}

struct Masker<'a> {
    text: &'a str,
    bytes: &'a [u8],
    out: Vec<u8>,
    found: Readable,
    /// Where the open blocks begin.
    open: Vec<usize>,
    /// Where the statement begins that is being read.
    statement: Option<usize>,
    in_word: bool,
    /// No quote of this kind is left.
    no_more: [bool; 2],
}

/// Makes a text readable.
///
/// # Errors
/// A block has no name, or blocks are too deep.
pub(super) fn readable(text: &str) -> Result<Readable, SyntaxError> {
    let mut masker = Masker {
        text,
        bytes: text.as_bytes(),
        out: text.as_bytes().to_vec(),
        found: Readable::default(),
        open: Vec::new(),
        statement: None,
        in_word: false,
        no_more: [false; 2],
    };
    masker.run()?;
    let Masker { out, mut found, open, statement, .. } = masker;
    found.unended.extend(statement);
    // Whatever was written over is a whole character, by ASCII.
    found.text = String::from_utf8_lossy(&out).into_owned();
    if let Some(offset) = open.last() {
        found.strays.push(Stray { offset: *offset, what: Flaw::Unclosed });
        found.text.extend(open.iter().map(|_| '}'));
    }
    Ok(found)
}

impl Masker<'_> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        let mut at = 0;
        while let Some(byte) = self.bytes.get(at).copied() {
            at = match byte {
                b'\n' | b' ' | b'\t' => {
                    self.in_word = false;
                    at + 1
                }
                b'#' if !self.in_word => self.blank_line_from(at),
                b'.' | b'[' | b'<' | 0xe2 if self.statement.is_none() && self.is_omission(at) => {
                    self.found.strays.push(Stray { offset: at, what: Flaw::Omission });
                    self.blank_line_from(at)
                }
                b'"' | b'\'' => self.quote(at, byte),
                b'\\' => {
                    self.word(at);
                    if let Some(next @ 0..=0x7f) = self.bytes.get(at + 1).copied() {
                        if b";{}\"'#$\n".contains(&next) {
                            self.out[at + 1] = if next == b'\n' { b'\n' } else { b'_' };
                        }
                        at + 2
                    } else {
                        at + 1
                    }
                }
                b'$' => self.variable(at),
                b';' => {
                    if self.statement.take().is_none() {
                        self.stray(at, Flaw::Semicolon);
                    }
                    self.in_word = false;
                    at + 1
                }
                b'{' => self.open_brace(at)?,
                b'}' => {
                    self.close_brace(at);
                    at + 1
                }
                _ => self.other(at),
            };
        }
        Ok(())
    }

    fn word(&mut self, at: usize) {
        self.statement.get_or_insert(at);
        self.in_word = true;
    }

    fn stray(&mut self, offset: usize, what: Flaw) {
        self.out[offset] = b' ';
        self.found.strays.push(Stray { offset, what });
    }

    fn blank(&mut self, from: usize, to: usize) {
        for byte in &mut self.out[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }

    fn blank_line_from(&mut self, at: usize) -> usize {
        let end =
            self.bytes[at..].iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |n| at + n);
        self.blank(at, end);
        end
    }

    /// A line of dots and nothing else.
    fn is_omission(&self, at: usize) -> bool {
        let words = ["...", "…", "[...]", "[…]", "<...>", "<snip>", "[snip]", "...."];
        let ends = |rest: &str| {
            let rest = rest.trim_start_matches([' ', '\t', '\r']);
            rest.is_empty() || rest.starts_with('\n')
        };
        words.iter().any(|word| self.text[at..].strip_prefix(word).is_some_and(ends))
    }

    fn quote(&mut self, at: usize, byte: u8) -> usize {
        if self.in_word {
            // It means nothing within a word.
            self.out[at] = b'_';
            return at + 1;
        }
        self.word(at);
        let kind = usize::from(byte == b'"');
        if !self.no_more[kind] {
            let mut end = at + 1;
            while let Some(next) = self.bytes.get(end).copied() {
                if next == b'\\' {
                    end += 2;
                } else if next == byte {
                    return end + 1;
                } else {
                    end += 1;
                }
            }
            self.no_more[kind] = true;
            self.found.strays.push(Stray { offset: at, what: Flaw::Quote });
        }
        self.out[at] = b'_';
        at + 1
    }

    /// `$name` and `${name}`.
    fn variable(&mut self, at: usize) -> usize {
        self.word(at);
        if self.bytes.get(at + 1) != Some(&b'{') {
            return at + 1;
        }
        let name = self.bytes[at + 2..]
            .iter()
            .take(256)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        if self.bytes.get(at + 2 + name) == Some(&b'}') {
            return at + 3 + name;
        }
        self.out[at] = b'_';
        self.out[at + 1] = b'_';
        at + 2
    }

    fn open_brace(&mut self, at: usize) -> Result<usize, SyntaxError> {
        if self.in_word
            && let Some(end) = self.quantifier(at)
        {
            self.out[at..end].fill(b'_');
            return Ok(end);
        }
        let line = || 1 + self.bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let Some(start) = self.statement.take() else {
            return Err(SyntaxError { line: line(), why: "a block begins here that has no name".to_owned() });
        };
        if self.open.len() >= DEEPEST {
            let why = format!("blocks are more than {DEEPEST} deep");
            return Err(SyntaxError { line: line(), why });
        }
        self.in_word = false;
        self.open.push(at);
        let head = &self.text[start..at];
        if head.split_whitespace().next().is_some_and(|name| name.ends_with("_by_lua_block")) {
            let end = self.lua(at + 1);
            self.blank(at + 1, end);
            return Ok(end);
        }
        Ok(at + 1)
    }

    /// `{2}`, `{2,}`, `{2,3}` of a regular expression.
    fn quantifier(&self, at: usize) -> Option<usize> {
        let inner = self.bytes[at + 1..]
            .iter()
            .take(12)
            .take_while(|byte| byte.is_ascii_digit() || **byte == b',')
            .count();
        let is_one =
            inner > 0 && self.bytes[at + 1].is_ascii_digit() && self.bytes.get(at + 1 + inner) == Some(&b'}');
        is_one.then_some(at + 2 + inner)
    }

    /// Where a block of Lua ends: at its closing brace, or with the text.
    fn lua(&self, from: usize) -> usize {
        let mut depth = 0usize;
        let mut at = from;
        while let Some(byte) = self.bytes.get(at).copied() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 0 => return at,
                b'}' => depth -= 1,
                b'-' if self.bytes.get(at + 1) == Some(&b'-') => {
                    while self.bytes.get(at + 1).is_some_and(|byte| *byte != b'\n') {
                        at += 1;
                    }
                }
                b'"' | b'\'' => {
                    // To its end on the same line.
                    let mut end = at + 1;
                    while let Some(next) =
                        self.bytes.get(end).copied().filter(|next| *next != b'\n' && *next != byte)
                    {
                        end += if next == b'\\' { 2 } else { 1 };
                    }
                    at = end.min(self.bytes.len());
                }
                _ => {}
            }
            at += 1;
        }
        self.bytes.len()
    }

    fn close_brace(&mut self, at: usize) {
        self.in_word = false;
        if self.open.pop().is_none() {
            self.stray(at, Flaw::Brace);
            return;
        }
        self.found.unended.extend(self.statement.take());
    }

    fn other(&mut self, at: usize) -> usize {
        let Some(character) = self.text[at..].chars().next() else { return at + 1 };
        let end = at + character.len_utf8();
        if character.is_whitespace()
            || ('\u{200b}'..='\u{200d}').contains(&character)
            || character == '\u{feff}'
        {
            self.blank(at, end);
            self.in_word = false;
        } else {
            self.word(at);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> String {
        readable(text).unwrap().text
    }

    #[test]
    fn what_the_parser_would_misread_is_written_over() {
        let cases = [
            ("listen 80;#a;b\n", "listen 80;    \n"),
            ("a b#c;", "a b#c;"),
            ("a {#c\n}", "a {  \n}"),
            ("a don't;", "a don_t;"),
            ("a 'x;#y' \"}\";", "a 'x;#y' \"}\";"),
            ("a \"b;", "a _b;"),
            ("a ${b}c ${d;", "a ${b}c __d;"),
            ("location ~ ^/[a-z]{2,3}/ {}", "location ~ ^/[a-z]_____/ {}"),
            ("a\r\n\u{a0}b;", "a \n  b;"),
            ("a { b; } }", "a { b; }  "),
            ("a { b { c;", "a { b { c;}}"),
            ("a { b; };", "a { b; } "),
            ("a {\n ...\n}", "a {\n    \n}"),
            (
                "x_by_lua_block { t = {1} -- } don't\n s = '}' } b;",
                "x_by_lua_block {                   \n         } b;",
            ),
        ];
        for (text, expected) in cases {
            let masked = mask(text);
            assert_eq!(masked.replace(' ', "~"), expected.replace(' ', "~"), "{text}");
        }
    }

    #[test]
    fn blocks_without_a_name_and_too_deep_are_refused() {
        assert_eq!(readable("a;\n{ b; }").unwrap_err().line, 2);
        let deep = "a {\n".repeat(100_000);
        assert_eq!(readable(&deep).unwrap_err().line, 65);
    }
}
