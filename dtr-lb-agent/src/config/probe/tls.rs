//! How a probe speaks TLS: whom it trusts, and what it offers.

use std::fs::File;
use std::path::PathBuf;

use toml::Spanned;

use super::super::field::Field;
use super::super::problems::Problems;
use super::super::raw::BoolOrText;
use super::Scheme;

/// Whether a TLS probe trusts what it connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// Whatever certificate: replicas usually sign their own.
    No,
    /// One that the host's CA store vouches for.
    Yes,
    /// One that a CA in this file vouches for; it existed when the config was read.
    Ca(PathBuf),
}

pub(super) fn verify(field: &Field<'_, BoolOrText>, problems: &mut Problems<'_>) -> Option<Verify> {
    let path = match field.value {
        BoolOrText::Bool(false) => return Some(Verify::No),
        BoolOrText::Bool(true) => return Some(Verify::Yes),
        BoolOrText::Text(path) => PathBuf::from(path),
    };
    let what = if !path.is_absolute() {
        "not an absolute path".to_owned()
    } else if path.is_dir() {
        "a directory".to_owned()
    } else {
        // Opening it finds a missing file and one that this user may not read.
        match File::open(&path) {
            Ok(_) => return Some(Verify::Ca(path)),
            Err(error) => format!("cannot read this CA file: {error}"),
        }
    };
    problems.refuse(field, what);
    None
}

/// Every element is checked, also after a bad one. A length of one byte goes before each on the wire (RFC 7301 section 3.1).
pub(super) fn alpn(
    field: &Field<'_, Vec<Spanned<String>>>,
    scheme: Option<Scheme>,
    problems: &mut Problems<'_>,
) -> Option<Vec<String>> {
    let mut protocols = Some(Vec::new());
    for (index, element) in field.elements().enumerate() {
        let name = element.value;
        let what = if !(1..=255).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            "not the name of a protocol"
        } else if scheme == Some(Scheme::Https) && !["http/1.1", "http/1.0"].contains(&name.as_str()) {
            "https probes speak HTTP/1 only"
        } else if field.value[..index].iter().any(|before| before.get_ref() == name) {
            "written twice"
        } else {
            if let Some(protocols) = &mut protocols {
                protocols.push(name.clone());
            }
            continue;
        };
        problems.refuse(&element, what);
        protocols = None;
    }
    protocols
}
