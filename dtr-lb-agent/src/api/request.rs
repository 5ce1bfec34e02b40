//! What the main loop is asked, and what it answers.

use std::{fmt, path::PathBuf, sync::Arc};

use dtr_lb_common::abi::Ticks;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    datapath::Reader, directory::Directory, events::By, flow_log::Subscription, metrics::Snapshot,
    status::Status, trace::TraceRequest,
};

/// Who asked waits at the other end, or has gone.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the main loop is asked; with who asks, where that is known and something is changed.
#[derive(Debug)]
pub enum Request {
    Status(Answer<Status>),
    Metrics(Answer<Snapshot>),
    /// Remove the datapath, answer, and end.
    Detach(Option<By>, Answer<Detached>),
    /// Read the config file again, and apply what is different.
    Reload(Option<By>, Answer<Reloaded>),
    /// Say what the same would change; nothing is changed.
    WouldReload(Answer<WouldReload>),
    /// Change what becomes of a replica.
    Replica(ReplicaOrder, Option<By>, Answer<Ordered>),
    /// Take back the last of these changes that is not taken back.
    Undo(Option<By>, Answer<Ordered>),
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

/// The replicas of one order, each by its name or its address; in JSON a string, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMore", into = "OneOrMore")]
pub struct Replicas(pub Vec<String>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "`replica` is a name or an address, or a list of them")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Replicas {
    fn from(named: OneOrMore) -> Self {
        match named {
            OneOrMore::One(one) => Self(vec![one]),
            OneOrMore::More(more) => Self(more),
        }
    }
}

impl From<Replicas> for OneOrMore {
    fn from(Replicas(mut named): Replicas) -> Self {
        match (named.pop(), named.is_empty()) {
            (Some(one), true) => Self::One(one),
            (last, _) => {
                named.extend(last);
                Self::More(named)
            }
        }
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join(" "))
    }
}

/// What an operator wants of a replica: the body of `POST /v1/replica`, tagged by `action`. A replica is named by its name or
/// by its address; without a `service`, all services that have it are meant. Drain, maint and ready take several replicas, and
/// are done for all or for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
pub enum ReplicaOrder {
    /// No new flows; those that it has go on.
    Drain {
        replica: Replicas,
        #[serde(default)]
        service: Option<String>,
    },
    /// No new flows and no probes; those that it has are reset, unless `datapath.on_down` is "leave".
    Maint {
        replica: Replicas,
        #[serde(default)]
        service: Option<String>,
    },
    /// The end of `drain` and `maint`.
    Ready {
        replica: Replicas,
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

impl fmt::Display for ReplicaOrder {
    /// As it would be typed.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, services, flags) = match self {
            Self::Drain { replica, service } => (format!("drain {replica}"), service.as_slice(), ""),
            Self::Maint { replica, service } => (format!("maint {replica}"), service.as_slice(), ""),
            Self::Ready { replica, service } => (format!("ready {replica}"), service.as_slice(), ""),
            Self::Weight { replica, service, weight, save } => {
                (format!("weight {replica} {weight}"), service.as_slice(), if *save { " --save" } else { "" })
            }
            Self::Add { address, name: _, weight: _, services, save } => {
                (format!("add {address}"), services.as_slice(), if *save { " --save" } else { "" })
            }
            Self::Remove { replica, service, last: _, save } => {
                (format!("remove {replica}"), service.as_slice(), if *save { " --save" } else { "" })
            }
        };
        write!(out, "replica {text}")?;
        services.iter().try_for_each(|service| write!(out, " --service {service}"))?;
        out.write_str(flags)
    }
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
