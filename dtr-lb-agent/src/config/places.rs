//! Where an agent and its datapath are to be found, from a config of which nothing else need be right.
//!
//! `status` and `detach` are what one types when something is wrong, and that may be the config. So they read two keys
//! of it, and where even these cannot be had, the defaults; what was wrong with them is told.

use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::agent::{DEFAULT_BPFFS, DEFAULT_SOCKET, WrittenAgent};
use super::node::Table;
use super::overrides;
use super::problems::Problems;
use super::source::Source;

/// Where an agent and its datapath are to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The Unix socket of the agent.
    pub socket: PathBuf,
    /// The directory in a BPF file system with the datapath's pins.
    pub bpffs: PathBuf,
    /// What kept the config from telling, each a line for the operator; empty if nothing did.
    pub notes: Vec<String>,
}

impl Places {
    /// Reads `agent.socket` and `agent.bpffs`, with the `--set` items of the command line on top. Never fails: what
    /// cannot be read is the default. No file at the default path is nothing to tell; any other missing one is.
    #[must_use]
    pub fn read(path: &Path, overrides: &[String]) -> Self {
        let (text, unread) = match std::fs::read(path) {
            Ok(bytes) => (String::from_utf8_lossy(&bytes).into_owned(), None),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && path == Path::new(super::DEFAULT_PATH) =>
            {
                (String::new(), None)
            }
            Err(error) => {
                (String::new(), Some(format!("cannot read the config {}: {error}", path.display())))
            }
        };
        let mut places = Self::parse(&text, &path.to_string_lossy(), overrides);
        if let Some(unread) = unread {
            places.notes.insert(0, unread);
        }
        places
    }

    /// The same for a config that is already in memory; `name` stands for the file in the notes.
    #[must_use]
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Self {
        let mut problems = Problems::new(Source::new(name, text));
        let document = super::document(text, overrides, &mut problems).unwrap_or_else(|| {
            let mut empty = DeTable::new();
            overrides::apply(&mut empty, overrides, &mut problems);
            empty
        });
        let agent = Table::top(&document).table("agent", &mut problems);
        let WrittenAgent {
            socket,
            bpffs,
            http: _,
            http_names: _,
            admin_token_file: _,
            flow_log: _,
            flow_log_sample: _,
        } = WrittenAgent::read(&agent, &mut problems);
        // The other keys are not asked for here.
        let other = |key: &str| key.starts_with("agent.") && !["agent.socket", "agent.bpffs"].contains(&key);
        let notes =
            problems.into_sorted().iter().filter(|note| !other(&note.key)).map(ToString::to_string).collect();
        Self {
            socket: socket.value.unwrap_or_else(|| DEFAULT_SOCKET.into()),
            bpffs: bpffs.value.unwrap_or_else(|| DEFAULT_BPFFS.into()),
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, overrides: &[&str]) -> (String, String, Vec<String>) {
        let overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
        let Places { socket, bpffs, notes } = Places::parse(text, "test.toml", &overrides);
        (socket.display().to_string(), bpffs.display().to_string(), notes)
    }

    #[test]
    fn two_keys_are_read_whatever_the_others_hold() {
        let cases = [
            ("", DEFAULT_SOCKET, DEFAULT_BPFFS),
            ("[agent]\nsocket = \"/a\"", "/a", DEFAULT_BPFFS),
            ("vip = 5\nnonsense = 1\n[agent]\nbpffs = \"/b\"\nsocket = \"/a\"\nhtpp = 3", "/a", "/b"),
            ("agent.socket = \"/a\"\n[[replica]]\naddress = \"no\"", "/a", DEFAULT_BPFFS),
        ];
        for (text, socket, bpffs) in cases {
            assert_eq!(parse(text, &[]), (socket.into(), bpffs.into(), Vec::new()), "{text}");
        }
        let (socket, bpffs, notes) =
            parse("[agent]\nsocket = \"/a\"", &["agent.socket=/s", "agent.bpffs=/t"]);
        assert_eq!((socket.as_str(), bpffs.as_str(), notes.len()), ("/s", "/t", 0));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_default() {
        let cases = [
            ("[agent\nsocket = \"/a\"", "test.toml:1:", "not TOML"),
            ("agent = 5", "test.toml:1:", "`agent = 5`: wrong type: this is an integer"),
            ("[agent]\nsocket = 5", "test.toml:2:", "`agent.socket = 5`: wrong type: this is an integer"),
            ("[agent]\nsocket = \"a\"", "test.toml:2:", "not an absolute path"),
        ];
        for (text, place, words) in cases {
            let (socket, bpffs, notes) = parse(text, &[]);
            assert_eq!((socket.as_str(), bpffs.as_str()), (DEFAULT_SOCKET, DEFAULT_BPFFS), "{text}");
            let [note] = &notes[..] else { panic!("{text}: {notes:?}") };
            assert!(note.starts_with(place) && note.contains(words), "{text}: {note}");
        }
        let (socket, _, notes) = parse("[agent", &["agent.socket=/s"]);
        assert_eq!((socket.as_str(), notes.len()), ("/s", 1), "--set holds without a file");
    }

    #[test]
    fn a_missing_file_is_told_unless_it_is_the_default() {
        let missing = Places::read(Path::new("/nonexistent/dtr-lb.toml"), &[]);
        assert_eq!(missing.socket, Path::new(DEFAULT_SOCKET));
        assert!(missing.notes[0].contains("/nonexistent/dtr-lb.toml"), "{:?}", missing.notes);
    }
}
