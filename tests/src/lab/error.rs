//! What can go wrong in the lab. Every variant names the operation and its object, because most of these are
//! read in a test log, long after the namespaces are gone.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// An error of the lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or a directory of the lab could not be read or written.
    #[error("cannot {doing} {}: {source}", .path.display())]
    File {
        /// The operation, as a verb: "write", "create the directory".
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error(
        "cannot start `{command}`: {source}. Is it installed? `cargo xtask setup` installs what the lab needs"
    )]
    Start {
        /// The whole command line.
        command: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Command {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error, trimmed.
        stderr: String,
    },
    /// A namespace could not be entered, or something in it could not be set.
    #[error("namespace {namespace}: cannot {doing}: {source}")]
    Namespace {
        /// The namespace's name, as `ip netns list` shows it.
        namespace: String,
        /// The operation, as a verb.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A process could not be signalled or waited for.
    #[error("process {pid} ({name}): cannot {doing}: {source}")]
    Process {
        /// The name it was started under.
        name: String,
        /// Its process id.
        pid: i32,
        /// The operation, as a verb.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Something did not come up in time.
    #[error("{what} is not ready after {waited:.1?}: {why}. The end of its log:\n{log_tail}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What the last attempt said.
        why: String,
        /// The last lines of its log.
        log_tail: String,
    },
    /// The lab's address plan has no room for this many.
    #[error("a lab has room for 1 to {most} {what}, not {wanted}")]
    Size {
        /// Clients or replicas.
        what: &'static str,
        /// The number asked for.
        wanted: usize,
        /// The largest number.
        most: usize,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate of {name}: {source}")]
    Certificate {
        /// The subject.
        name: String,
        /// The reason.
        source: rcgen::Error,
    },
    /// A program's output, or a file, is not what the lab expects.
    #[error("cannot read {what}: {why}: {text:?}")]
    Unreadable {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
        /// The text itself.
        text: String,
    },
    /// The XDP program on the far end of a balancer's cable could not be attached.
    #[error("cannot attach the XDP_PASS stub to {interface} in {namespace}: {source:#}")]
    PassStub {
        /// The switch's namespace.
        namespace: String,
        /// The switch's port.
        interface: String,
        /// What the caller's function said.
        source: anyhow::Error,
    },
}

impl Error {
    /// For `map_err`: wraps an I/O error with the operation and the file.
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}
