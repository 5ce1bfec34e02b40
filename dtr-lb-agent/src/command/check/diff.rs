//! `dtr-lb check --diff`: the agent that runs says what a reload would change.

use std::path::Path;

use super::super::Failure;
use crate::{
    agent::Origin,
    api::{self, ClientError, WouldReload},
};

/// Asks it. `checked`: what `check` has read.
pub(super) async fn diff(socket: &Path, checked: &Origin) -> Result<WouldReload, Failure> {
    let mut would = api::ask_would_reload(socket).await.map_err(|error| match error {
        ClientError::NoAgent(socket) => Failure::failed(format!(
            "--diff: no agent answers on `{}`, so there is no config that a reload could change; start one with `dtr-lb run`, or \
             name its socket by --socket",
            socket.display()
        )),
        error => error.into(),
    })?;
    if let Some(note) = another_file(&would.config, checked) {
        would.notes.push(note);
    }
    Ok(would)
}

/// The agent reads the file that it was started with, whatever is checked here.
fn another_file(of_agent: &str, checked: &Origin) -> Option<String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    match checked {
        Origin::File(path) if real(path) == real(Path::new(of_agent)) => None,
        Origin::File(_) | Origin::CommandLine(_) => Some(format!(
            "a reload reads {of_agent}, with which the agent was started, and not the config {checked}, which was checked here"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_agent_it_says_so_and_fails() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("none.sock");
        let failure = diff(&socket, &Origin::File("/etc/x.toml".into())).await.expect_err("nobody is there");
        assert_eq!(failure.status, 1);
        assert!(failure.message.contains("no agent answers on `") && failure.message.contains("none.sock"));
    }

    #[test]
    fn that_the_agent_reads_another_file_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, link) = (directory.path().join("one.toml"), directory.path().join("link.toml"));
        std::fs::write(&one, "").expect("a file");
        std::os::unix::fs::symlink(&one, &link).expect("a link");
        let one = one.to_str().expect("text");
        assert_eq!(another_file(one, &Origin::File(one.into())), None);
        assert_eq!(another_file(one, &Origin::File(link)), None, "it is the same file");
        let note = another_file(one, &Origin::File("/etc/other.toml".into())).expect("it is another");
        assert!(note.contains("one.toml") && note.contains("/etc/other.toml"), "{note}");
    }
}
