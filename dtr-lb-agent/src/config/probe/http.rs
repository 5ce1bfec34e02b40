//! What an HTTP probe sends beside its path, and what it looks for in the answer's headers.

use std::fmt;

use hyper::Method;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use toml::Spanned;

use super::super::field::Field;
use super::super::pattern::Pattern;
use super::super::problems::Problems;

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

pub(super) fn method(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Method> {
    let what = match Method::from_bytes(field.value.as_bytes()) {
        Err(_invalid) => "not a method",
        Ok(Method::CONNECT) => "asks for a tunnel, not for an answer",
        // They are case-sensitive (RFC 9110 section 9.1): a server knows no "get".
        Ok(method) if method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) => {
            "methods are written in upper case"
        }
        Ok(method) => return Some(method),
    };
    problems.refuse(field, what);
    None
}

/// Every element is checked, also after a bad one.
pub(super) fn headers(
    field: &Field<'_, Vec<Spanned<String>>>,
    problems: &mut Problems<'_>,
) -> Option<Vec<Header>> {
    each(field, problems, |text| {
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
    })
}

/// Every element is checked, also after a bad one.
pub(super) fn header_patterns(
    field: &Field<'_, Vec<Spanned<String>>>,
    problems: &mut Problems<'_>,
) -> Option<Vec<HeaderPattern>> {
    each(field, problems, |text| {
        let (name, pattern) = split(text)?;
        Ok(HeaderPattern { name, pattern: Pattern::new(pattern)? })
    })
}

pub(super) fn request_body(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<String> {
    if field.value.len() <= LONGEST_BODY {
        return Some(field.value.clone());
    }
    problems.refuse(field, format!("longer than {} KiB", LONGEST_BODY / 1024));
    None
}

/// The name before the first colon, and what follows it.
fn split(text: &str) -> Result<(HeaderName, &str), String> {
    let (name, rest) = text.split_once(':').ok_or_else(|| "no \":\" after the header's name".to_owned())?;
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| "not a header's name".to_owned())?;
    Ok((name, rest.trim_matches([' ', '\t'])))
}

fn each<T>(
    field: &Field<'_, Vec<Spanned<String>>>,
    problems: &mut Problems<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let all: Vec<_> = field
        .elements()
        .map(|element| read(element.value).map_err(|what| problems.refuse(&element, what)).ok())
        .collect();
    all.into_iter().collect()
}
