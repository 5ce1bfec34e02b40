//! `expect`, which `http-check` and `tcp-check` have in common.

use crate::{haproxy::sections::Line, report::Ledger};

/// What an `expect` says.
#[derive(Debug)]
pub(super) struct Expect<'a> {
    pub(super) negated: bool,
    /// `status`, `string`, ...
    pub(super) kind: &'a str,
    /// What stands behind it.
    pub(super) pattern: &'a [String],
}

/// Reads it from the third word of a line on. `None` if there is nothing in it.
pub(super) fn read<'a>(line: &'a Line, ledger: &mut Ledger) -> Option<Expect<'a>> {
    let mut words = line.from(2);
    let mut negated = false;
    loop {
        let [first, rest @ ..] = words else { break };
        match first.as_str() {
            "min-recv" | "comment" | "ok-status" | "error-status" | "tout-status" | "on-success"
            | "on-error" | "status-code" => {
                words = rest.get(1..).unwrap_or_default();
            }
            "!" => {
                negated = !negated;
                words = rest;
            }
            kind => {
                let bare = kind.trim_start_matches('!');
                negated ^= (kind.len() - bare.len()) % 2 == 1;
                if rest.is_empty() {
                    break;
                }
                return Some(Expect { negated, kind: bare, pattern: rest });
            }
        }
    }
    ledger.fault_that_decides(line.at, "it says nothing to expect: HAProxy refuses this");
    None
}

/// A fixed string as a regular expression.
pub(super) fn literal(text: &str) -> String {
    regex::escape(text)
}

/// Bytes as a regular expression.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut pattern = "(?s-u)".to_owned();
    for byte in bytes {
        pattern.push_str(&format!("\\x{byte:02x}"));
    }
    pattern
}

/// What two digits each stand for.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return None;
    }
    (0..text.len()).step_by(2).map(|index| u8::from_str_radix(&text[index..index + 2], 16).ok()).collect()
}

/// A regular expression of HAProxy's as one of the crate `regex`.
pub(super) fn pattern(text: &str) -> String {
    // PCRE lets these stand for themselves where they begin no repetition.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if c == '\\' {
            let next = after.chars().next();
            match next {
                // Escapes of what needs none.
                Some(
                    next @ ('/' | '"' | '\'' | ':' | ',' | ';' | '=' | '!' | '@' | '%' | '_' | '<' | '>'
                    | '`'),
                ) => out.push(next),
                Some('Z') => out.push_str(r"\n?\z"),
                Some('h') => out.push_str(r"[ \t]"),
                Some('R') => out.push_str(r"(?:\r\n|[\n\r])"),
                Some(next) => {
                    out.push('\\');
                    out.push(next);
                }
                None => out.push('\\'),
            }
            rest = next.map_or(after, |next| &after[next.len_utf8()..]);
            continue;
        }
        if c == '{' && !is_repetition(after) {
            out.push_str(r"\{");
        } else {
            out.push(c);
        }
        rest = after;
    }
    out
}

/// Whether `{` begins one: `3}`, `3,}`, `3,5}`.
fn is_repetition(after: &str) -> bool {
    let Some(end) = after.bytes().take(16).position(|byte| byte == b'}') else { return false };
    let inner = &after[..end];
    inner.starts_with(|c: char| c.is_ascii_digit())
        && inner.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions() {
        for (text, expected) in [
            (r"^[23]..", r"^[23].."),
            (r#"{\"ok\":true}"#, r#"\{"ok":true}"#),
            (r"^a{2,3}b{4}c{,5}", r"^a{2,3}b{4}c\{,5}"),
            (r"\/health\:ok\.", r"/health:ok\."),
            (r"a\", r"a\"),
        ] {
            assert_eq!(pattern(text), expected);
        }
        assert!(regex::bytes::Regex::new(&pattern(r#"\{"status":"UP"}"#)).is_ok());
        assert_eq!(hex("2b504F"), Some(b"+PO".to_vec()));
        assert_eq!((hex("2b5"), hex(""), hex("zz"), hex("é")), (None, None, None, None));
    }
}
