//! A line's words: quotes, escapes, and braces.

use std::iter::Peekable;

/// What a line is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Open,
    Close,
}

/// The tokens of a line without comments.
pub(super) fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
        } else if c == '{' {
            chars.next();
            tokens.push(Token::Open);
        } else if c == '}' {
            chars.next();
            tokens.push(Token::Close);
        } else {
            word(&mut chars, &mut tokens);
        }
    }
    tokens
}

/// A word, and a brace that stands at its end.
fn word(chars: &mut Peekable<impl Iterator<Item = char>>, tokens: &mut Vec<Token>) {
    let mut word = String::new();
    let mut inner = 0usize;
    // What is in `${...}` belongs together, also with spaces in it.
    let mut is_variable = false;
    let mut brace = None;
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() && !is_variable {
            break;
        }
        chars.next();
        match c {
            '"' | '\'' => quoted(c, chars, &mut word),
            '\\' if chars.peek().is_some_and(|next| matches!(next, '"' | '\'')) => word.extend(chars.next()),
            '{' => {
                let ends = chars.peek().is_none_or(|next| next.is_whitespace());
                if ends && inner == 0 {
                    brace = Some(Token::Open);
                    break;
                }
                inner += 1;
                is_variable |= word.ends_with('$');
                word.push(c);
            }
            '}' if inner == 0 => {
                brace = Some(Token::Close);
                break;
            }
            '}' => {
                inner -= 1;
                is_variable &= inner > 0;
                word.push(c);
            }
            _ => word.push(c),
        }
    }
    tokens.push(Token::Word(word));
    tokens.extend(brace);
}

/// Up to the closing quote, or the end of the line.
fn quoted(quote: char, chars: &mut Peekable<impl Iterator<Item = char>>, word: &mut String) {
    while let Some(c) = chars.next() {
        if c == quote {
            return;
        }
        if c == '\\' {
            word.extend(escaped(chars));
        } else {
            word.push(c);
        }
    }
}

/// What a backslash and the next characters stand for.
fn escaped(chars: &mut Peekable<impl Iterator<Item = char>>) -> Option<char> {
    let c = chars.next()?;
    Some(match c {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        'E' => '\x1b',
        'x' => number(16, 2, 0, chars)?,
        '0'..='7' => number(8, 2, c.to_digit(8)?, chars)?,
        other => other,
    })
}

fn number(
    base: u32,
    most: usize,
    start: u32,
    chars: &mut Peekable<impl Iterator<Item = char>>,
) -> Option<char> {
    let mut number = start;
    for _ in 0..most {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(base)) else { break };
        number = number * base + digit;
        chars.next();
    }
    char::from_u32(number)
}

/// A line up to its comment: `#` or `!`, outside quotes.
pub(super) fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (place, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (None, '#' | '!') => return &line[..place],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> Vec<String> {
        let show = |token: Token| match token {
            Token::Word(word) => format!("<{word}>"),
            Token::Open => "{".to_owned(),
            Token::Close => "}".to_owned(),
        };
        tokens(line).into_iter().map(show).collect()
    }

    #[test]
    fn words_quotes_and_braces() {
        for (line, expected) in [
            ("virtual_server 10.0.0.1 443 {", "<virtual_server> <10.0.0.1> <443> {"),
            ("virtual_server 10.0.0.1 443{", "<virtual_server> <10.0.0.1> <443> {"),
            ("url { path /health }", "<url> { <path> </health> }"),
            ("\tscript \"killall -0 haproxy\"", "<script> <killall -0 haproxy>"),
            ("abcd\" efg h jkl \"mnop", "<abcd efg h jkl mnop>"),
            (r#"misc_path "/x \"a b\" \x41\101""#, r#"<misc_path> </x "a b" AA>"#),
            ("a '${X} b' c", "<a> <${X} b> <c>"),
            ("10.0.${NUM}.1/24 ${_ENV VIP}", "<10.0.${NUM}.1/24> <${_ENV VIP}>"),
            ("include /etc/{a,b}/*.conf", "<include> </etc/{a,b}/*.conf>"),
            ("}", "}"),
            ("script \"unfinished", "<script> <unfinished>"),
            ("path \"\"", "<path> <>"),
        ] {
            assert_eq!(shown(line).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn comments() {
        for (line, expected) in [
            ("a b # c", "a b "),
            ("! all of it", ""),
            ("auth_pass ab!c", "auth_pass ab"),
            ("script \"a # b ! c\" # d", "script \"a # b ! c\" "),
            ("x 'a!' ! b", "x 'a!' "),
        ] {
            assert_eq!(without_comment(line), expected, "{line}");
        }
    }
}
