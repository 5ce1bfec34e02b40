//! What an HTTP probe sends beside its path, and what it looks for in the answer's headers.

use std::fmt;

use hyper::Method;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::super::pattern::Pattern;
use super::super::takes::{List, Text};

/// The most that a probe sends as a body, in bytes: as much as it reads of one.
const LONGEST_BODY: usize = 64 * 1024;

/// A header that a probe sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: HeaderName,
    /// Its value. It may be secret: it is never shown.
    pub value: HeaderValue,
}

/// What a header of an answer is looked at for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPattern {
    /// The header's name, in lower case.
    pub name: HeaderName,
    /// What one of its values matches.
    pub pattern: Pattern,
}

impl fmt::Display for HeaderPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.name, self.pattern)
    }
}

pub(super) const METHOD: Text<Method> = Text {
    words: "an HTTP method in quotes, in upper case, as in \"GET\" or \"HEAD\"",
    parse: |text| match Method::from_bytes(text.as_bytes()) {
        Err(_invalid) => Err("not a method".to_owned()),
        Ok(Method::CONNECT) => Err("asks for a tunnel, not for an answer".to_owned()),
        // They are case-sensitive (RFC 9110 section 9.1): a server knows no "get".
        Ok(method) if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err("methods are written in upper case".to_owned())
        }
        Ok(method) => Ok(method),
    },
    show: Method::to_string,
};

/// What can stand in a request line without another meaning.
pub(super) const PATH: Text<String> = Text {
    words: "a path from \"/\" on, of visible ASCII characters, as in \"/health\"",
    parse: |text| {
        if !text.starts_with('/') {
            return Err("does not begin with \"/\"".to_owned());
        }
        let usable = text.bytes().all(|byte| byte.is_ascii_graphic());
        let what =
            "has a space, a control or a non-ASCII character in it; write it percent-encoded, as in %20";
        usable.then(|| text.to_owned()).ok_or_else(|| what.to_owned())
    },
    show: String::clone,
};

/// Its values may be secret: only the names are shown.
pub(super) const HEADERS: List<Header> =
    List::of("a list of headers, as in [\"Authorization: Basic YTpi\"]", header, |header| {
        header.name.to_string()
    });

pub(super) const PATTERNS: List<HeaderPattern> = List::of(
    "a list of headers with a regular expression each, as in ['Content-Type: ^application/json']",
    |text| {
        let (name, pattern) = split(text)?;
        Ok(HeaderPattern { name, pattern: Pattern::new(pattern)? })
    },
    HeaderPattern::to_string,
);

/// It may be secret: only its length is shown.
pub(super) const REQUEST_BODY: Text<String> = Text {
    words: "a text in quotes, of at most 64 KiB",
    parse: |text| {
        let usable = text.len() <= LONGEST_BODY;
        usable.then(|| text.to_owned()).ok_or_else(|| format!("longer than {} KiB", LONGEST_BODY / 1024))
    },
    show: |body| format!("{} bytes", body.len()),
};

fn header(text: &str) -> Result<Header, String> {
    let (name, value) = split(text)?;
    if name == HOST {
        return Err("the Host header is written without its name in `host`".to_owned());
    }
    if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
        return Err("the probe sets this header itself".to_owned());
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_invalid| "its value has a control or a non-ASCII character in it".to_owned())?;
    // Left out where a config is printed for debugging.
    value.set_sensitive(true);
    Ok(Header { name, value })
}

/// The name before the first colon, and what follows it.
fn split(text: &str) -> Result<(HeaderName, &str), String> {
    let (name, rest) = text.split_once(':').ok_or_else(|| "no \":\" after the header's name".to_owned())?;
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| "not a header's name".to_owned())?;
    Ok((name, rest.trim_matches([' ', '\t'])))
}
