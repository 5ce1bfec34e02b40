//! A line's words: quotes, escapes, comments, and variables of the environment, as HAProxy reads them.

use std::collections::HashMap;

/// What a word may grow to by variables.
const LONGEST_WORD: usize = 8 * 1024;

/// What `setenv` and `presetenv` in the file say of the environment. The rest of it is not known.
#[derive(Debug, Default)]
pub(super) struct Environment {
    set: HashMap<String, String>,
}

impl Environment {
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.set.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn preset(&mut self, name: &str, value: &str) {
        self.set.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    pub(super) fn unset(&mut self, name: &str) {
        self.set.remove(name);
    }
}

/// A line in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split<'a> {
    pub(super) words: Vec<String>,
    /// The line without its comment.
    pub(super) code: &'a str,
    /// A quote that is not closed.
    pub(super) unclosed: Option<char>,
    /// A byte above 7f was written by its number, which no text holds.
    pub(super) is_binary: bool,
    /// Variables whose default value stands in for what the environment says.
    pub(super) defaulted: Vec<String>,
}

/// Splits a line. A variable that is not known becomes a placeholder, `<NAME>`.
pub(super) fn split<'a>(line: &'a str, environment: &Environment) -> Split<'a> {
    let mut split = Split { code: line.trim(), ..Split::default() };
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if quote == Some('\'') {
            rest = after;
            if c == '\'' {
                quote = None;
            } else {
                word.get_or_insert_default().push(c);
            }
            continue;
        }
        let weak = quote == Some('"');
        match c {
            '\\' => {
                let (text, length, binary) = escape(after);
                split.is_binary |= binary;
                word.get_or_insert_default().push_str(&text);
                rest = &after[length..];
                continue;
            }
            '"' => {
                quote = if weak { None } else { Some('"') };
                word.get_or_insert_default();
            }
            '\'' if !weak => {
                quote = Some('\'');
                word.get_or_insert_default();
            }
            '#' if !weak => {
                split.code = line[..line.len() - rest.len()].trim();
                break;
            }
            '$' if weak => {
                let (text, length) = variable(after, environment, &mut split.defaulted);
                let word = word.get_or_insert_default();
                if word.len() + text.len() <= LONGEST_WORD {
                    word.push_str(&text);
                } else {
                    word.push_str("<...>");
                }
                rest = &after[length..];
                continue;
            }
            _ if c.is_whitespace() && !weak => split.words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
        rest = after;
    }
    split.words.extend(word);
    split.unclosed = quote;
    split
}

/// What stands behind a backslash: its text, its length, and whether it is a byte that is no text.
fn escape(after: &str) -> (String, usize, bool) {
    let plain = |text: &str| (text.to_owned(), 1, false);
    match after.as_bytes().first() {
        Some(b'n') => plain("\n"),
        Some(b'r') => plain("\r"),
        Some(b't') => plain("\t"),
        Some(byte @ (b' ' | b'\\' | b'#' | b'\'' | b'"' | b'$' | b'\t')) => {
            plain(char::from(*byte).encode_utf8(&mut [0; 4]))
        }
        Some(b'x') => {
            let byte = after.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
            // A sign is none of a number's digits here.
            match byte.filter(|_| after.as_bytes()[1].is_ascii_hexdigit()) {
                Some(byte) => (char::from(byte).to_string(), 3, !byte.is_ascii()),
                None => ("\\".to_owned(), 0, false),
            }
        }
        // It stays where it means nothing: in regular expressions.
        _ => ("\\".to_owned(), 0, false),
    }
}

/// What stands behind a `$` within double quotes, and its length.
fn variable(after: &str, environment: &Environment, defaulted: &mut Vec<String>) -> (String, usize) {
    let name_length = |text: &str| {
        text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.').count()
    };
    let (name, default, length) = if let Some(inner) = after.strip_prefix('{') {
        let Some(end) = inner.find('}') else { return ("$".to_owned(), 0) };
        let inner = &inner[..end];
        let name = &inner[..name_length(inner)];
        let behind = inner[name.len()..].trim_end_matches("[*]");
        (name, behind.strip_prefix('-'), end + 2)
    } else {
        let name = &after[..name_length(after)];
        (name, None, name.len())
    };
    if name.is_empty() {
        return ("$".to_owned(), 0);
    }
    let value = environment.set.get(name).cloned();
    let value = value.or_else(|| {
        let default = default?;
        defaulted.push(name.to_owned());
        Some(default.to_owned())
    });
    (value.unwrap_or_else(|| format!("<{name}>")), length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        let mut environment = Environment::default();
        environment.set("SET", "10.0.0.1");
        split(line, &environment).words
    }

    #[test]
    fn quotes_escapes_comments_and_variables() {
        for (line, expected) in [
            ("\tserver  a 10.0.0.1:80\tcheck\r", &["server", "a", "10.0.0.1:80", "check"][..]),
            (
                r"option httpchk GET / HTTP/1.1\r\nHost:\ a",
                &["option", "httpchk", "GET", "/", "HTTP/1.1\r\nHost: a"],
            ),
            ("a # b", &["a"]),
            ("a#b", &["a"]),
            (r"a\#b", &["a#b"]),
            (r#""a # b" 'c # $d \n' """#, &["a # b", r"c # $d \n", ""]),
            (r#""a"' b'\ c"#, &["a b c"]),
            (r#""it's" \"x\""#, &["it's", "\"x\""]),
            (r"^/a\.b\d \x41\x0a \xzz \x+1", &[r"^/a\.b\d", "A\n", r"\xzz", r"\x+1"]),
            (r#""$SET:80" "${SET}:81" $SET "\$SET""#, &["10.0.0.1:80", "10.0.0.1:81", "$SET", "$SET"]),
            (r#""${A}:80" "$A-b" "${A-c}" "${A" "$""#, &["<A>:80", "<A>-b", "c", "${A", "$"]),
            ("# all", &[]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
        let unclosed = split("a 'b c", &Environment::default());
        assert_eq!((unclosed.unclosed, unclosed.words.len()), (Some('\''), 2));
        assert!(split(r"a \xff", &Environment::default()).is_binary);
        assert_eq!(split("  a b # c ", &Environment::default()).code, "a b");
    }

    #[test]
    fn variables_do_not_grow_without_end() {
        let mut environment = Environment::default();
        environment.set("A", "0123456789");
        for _ in 0..60 {
            let value = split(r#""$A$A""#, &environment).words.remove(0);
            environment.set("A", &value);
        }
        assert!(environment.set["A"].len() <= LONGEST_WORD + 10);
    }

    proptest! {
        #[test]
        fn any_line_is_split(line in r#"([ -~]|[\t"'\\$#{}é]){0,60}"#) {
            let split = split(&line, &Environment::default());
            prop_assert!(split.words.len() <= line.len());
        }
    }
}
