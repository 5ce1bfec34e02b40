//! What the main loop is asked, and what it answers.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Look;
use crate::{agent::TraceRequest, status::Status};

/// Who asked waits at the other end, or has gone.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the main loop is asked.
#[derive(Debug)]
pub enum Request {
    Status(Answer<Status>),
    /// Remove the datapath, answer, and end.
    Detach(Answer<Detached>),
    /// Read the config file again, and apply what is different.
    Reload(Answer<Reloaded>),
    /// What it takes to look at the datapath's tables.
    Look(Answer<Look>),
    Trace(TraceRequest),
}

/// What became of the datapath.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {
    /// Where it was pinned.
    pub bpffs: PathBuf,
    /// Whether there was one.
    pub removed: bool,
}

/// What another config has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// In words, a line each; empty if the config says what it said before.
    pub changes: Vec<String>,
}

/// Why something was not done. Nothing has changed by it, unless the message says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// What failed, on what, why, and what to do.
    pub message: String,
}

/// What kind of reason it is: what a client may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request makes no sense, as it stands.
    BadRequest,
    /// What it names is not there.
    NotFound,
    /// It does not go together with what is there.
    Conflict,
    /// The config file is not valid.
    BadConfig,
    /// The agent or the host could not do it.
    Failed,
    /// The agent is ending.
    Ending,
}

impl Refusal {
    pub fn new(kind: RefusalKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// The agent or the host could not do it.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(RefusalKind::Failed, message)
    }
}
