//! What the main loop is asked, and what it answers.

use std::{fmt, path::PathBuf, sync::Arc};

use dtr_lb_common::abi::Ticks;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    datapath::Reader, directory::Directory, flow_log::Subscription, metrics::Snapshot, status::Status,
    trace::TraceRequest,
};

/// Who asked waits at the other end, or has gone.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the main loop is asked.
#[derive(Debug)]
pub enum Request {
    Status(Answer<Status>),
    Metrics(Answer<Snapshot>),
    /// Remove the datapath, answer, and end.
    Detach(Answer<Detached>),
    /// Read the config file again, and apply what is different.
    Reload(Answer<Reloaded>),
    /// Say what the same would change; nothing is changed.
    WouldReload(Answer<WouldReload>),
    /// Change what becomes of a replica.
    Replica(ReplicaOrder, Answer<Ordered>),
    /// What it takes to look at the datapath's tables.
    Look(Answer<Look>),
    Trace(TraceRequest),
    /// Tell of each connection that ends or fails from now on.
    Follow(Answer<Follow>),
}

/// What it takes to follow the flow log.
#[derive(Debug)]
pub struct Follow {
    pub subscription: Subscription,
    pub directory: Directory,
}

/// What it takes to look at the datapath's tables.
pub struct Look {
    pub reader: Arc<Reader>,
    pub directory: Directory,
    /// The kernel's clock.
    pub now: Ticks,
}

impl fmt::Debug for Look {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Look").field("now", &self.now).finish_non_exhaustive()
    }
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
    /// What is to be known besides.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldReload {
    /// The file that it would read.
    pub config: String,
    /// What it would change, a line each; empty if the config says what it said before.
    pub changes: Vec<String>,
    /// Why it would be refused, and change nothing; empty if it would not. What cannot change without a restart comes first.
    pub refused: Vec<String>,
    /// What is to be known besides.
    pub notes: Vec<String>,
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

/// What an operator wants of a replica: the body of `POST /v1/replica`, tagged by `action`. A replica is named by its name or
/// by its address; without a `service`, all services that have it are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum ReplicaOrder {
    /// No new flows; those that it has go on.
    Drain {
        replica: String,
        #[serde(default)]
        service: Option<String>,
    },
    /// No new flows and no probes; those that it has are reset, unless `datapath.on_down` is "leave".
    Maint {
        replica: String,
        #[serde(default)]
        service: Option<String>,
    },
    /// The end of `drain` and `maint`.
    Ready {
        replica: String,
        #[serde(default)]
        service: Option<String>,
    },
    Weight {
        replica: String,
        #[serde(default)]
        service: Option<String>,
        /// 0 to 256.
        weight: u16,
        /// Into the config file, too.
        #[serde(default)]
        save: bool,
    },
    Add {
        /// An IP address or a host name.
        address: String,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        weight: Option<u16>,
        /// All, if none is named.
        #[serde(default)]
        services: Vec<String>,
        #[serde(default)]
        save: bool,
    },
    Remove {
        replica: String,
        #[serde(default)]
        service: Option<String>,
        /// Also if it is the last one of a service.
        #[serde(default)]
        last: bool,
        #[serde(default)]
        save: bool,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// In words, a line for each replica of a service.
    pub done: Vec<String>,
    /// What is to be known besides.
    #[serde(default)]
    pub notes: Vec<String>,
}
