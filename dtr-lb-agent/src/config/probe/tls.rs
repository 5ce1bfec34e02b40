//! How a probe speaks TLS: whom it trusts, and what it offers.

use std::fs::File;
use std::path::PathBuf;

use super::super::node::{Field, Node};
use super::super::problems::Problems;
use super::super::takes::{List, Takes, quoted};

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

/// A key that takes it.
pub(super) struct Trust;

impl Takes for Trust {
    type Value = Verify;

    fn words(&self) -> String {
        "false, true (no quotes), or the absolute path of an existing CA file, in quotes".to_owned()
    }

    fn read(&self, node: &Node<'_>, problems: &mut Problems<'_>) -> Option<Verify> {
        if let Some(yes) = node.value.as_bool() {
            return Some(if yes { Verify::Yes } else { Verify::No });
        }
        let path = PathBuf::from(node.text(problems)?);
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
        problems.refuse(node, what);
        None
    }

    fn shown(&self, value: &Verify) -> String {
        match value {
            Verify::No => "false".to_owned(),
            Verify::Yes => "true".to_owned(),
            Verify::Ca(file) => file.display().to_string(),
        }
    }

    fn toml(&self, value: &Verify) -> String {
        match value {
            Verify::No | Verify::Yes => self.shown(value),
            Verify::Ca(_) => quoted(&self.shown(value)),
        }
    }
}

/// A length of one byte goes before each on the wire (RFC 7301 section 3.1).
pub(super) const PROTOCOLS: List<String> = List::of(
    "a list of names of protocols, each once, for https \"http/1.1\" and \"http/1.0\" only, as in [\"http/1.1\"]",
    |name| {
        let usable = (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        usable.then(|| name.to_owned()).ok_or_else(|| "not the name of a protocol".to_owned())
    },
    String::clone,
)
.once();

/// Probes of `https` know no other.
pub(super) fn refuse_beyond_http1(alpn: &Field<'_, Vec<String>>, problems: &mut Problems<'_>) {
    let (Some(node), Some(names)) = (&alpn.node, &alpn.value) else { return };
    let elements = node.elements(problems).unwrap_or_default();
    for (_, element) in
        names.iter().zip(elements).filter(|(name, _)| !["http/1.1", "http/1.0"].contains(&name.as_str()))
    {
        problems.refuse(&element, "https probes speak HTTP/1 only");
    }
}
