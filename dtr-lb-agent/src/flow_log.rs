//! The flow log: a line for each connection that has ended, or never began, in a file or in systemd's journal, and for those who
//! follow it.
//!
//! Whoever watches the datapath offers [`FlowRecord`]s ([`FlowLog::offer`]), which never waits: a queue with a bound leads to a thread
//! of its own (`writer`), which leaves out what is to be left out (`omission`) and writes (`output`: `file`, `journal`). What has no
//! room, and what cannot be written, is lost and counted; nothing else of the agent depends on it. [`FlowLog::is_wanted`] says whether
//! records need be made at all.
//!
//! Changes of the config go through the same queue, so that what was offered before is written where it was meant to be.

mod counts;
mod file;
mod follow;
mod journal;
mod line;
mod news;
mod omission;
mod output;
mod record;
mod target;
mod text;
mod wanted;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, oneshot, watch},
    time::timeout,
};

pub use counts::FlowLogCounts;
pub use follow::{FollowFilter, FollowQuery, Followed, Subscription};
pub use line::{FlowLogLine, LoggedFlow, Note};
pub use news::{Now, record};
pub use record::{FlowEnd, FlowRecord};
pub use target::{FlowLogError, LOGS_DIRECTORY, check_target};

use crate::config::{self, FlowLogTarget};
use counts::Counts;
use omission::{FailedLimit, Repeats};
use output::Output;
use wanted::Wanted;
use writer::{Message, Telling, Writer};

/// Records that may wait for the thread: more than a second's of what it keeps up with, some 16 MB.
const QUEUE: usize = 65_536;
/// Records that may wait for one who follows.
const FOLLOWING: usize = 8192;
/// How long the end of the agent waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What the config says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// None: no log.
    pub target: Option<FlowLogTarget>,
    /// One of so many connections that ended; at least 1.
    pub sample: u32,
}

impl Settings {
    #[must_use]
    pub fn of(agent: &config::Agent) -> Self {
        Self { target: agent.flow_log.clone(), sample: agent.flow_log_sample }
    }
}

/// The flow log of an agent. Clones are the same one; its thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct FlowLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    messages: Sender<Message>,
    followers: broadcast::Sender<Arc<FlowRecord>>,
    counts: Arc<Counts>,
    wanted: Arc<Wanted>,
    /// Whether the agent ends, and those who follow with it.
    ended: watch::Sender<bool>,
}

impl FlowLog {
    /// Starts its thread. A place that cannot be written is told in the agent's log and tried again.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub fn start(settings: Settings) -> Result<Self, FlowLogError> {
        Self::start_with(settings, journal::SOCKET.into())
    }

    /// The same with a journal elsewhere.
    fn start_with(settings: Settings, journal: PathBuf) -> Result<Self, FlowLogError> {
        let Settings { target, sample } = settings;
        let (messages, incoming) = mpsc::channel();
        let followers = broadcast::Sender::new(FOLLOWING);
        let counts = Arc::new(Counts::default());
        let wanted = Arc::new(Wanted::new(target.is_some()));
        let (told, to_follow) = (Arc::clone(&counts), followers.clone());
        let write = move || {
            Writer {
                messages: incoming,
                counts: told,
                followers: to_follow,
                output: Output::new(target.as_ref(), journal, Instant::now()),
                sample,
                failed: FailedLimit::default(),
                repeats: Repeats::default(),
                telling: Telling::default(),
            }
            .run();
        };
        thread::Builder::new().name("flow-log".into()).spawn(write).map_err(FlowLogError::Thread)?;
        let ended = watch::Sender::new(false);
        Ok(Self(Arc::new(Shared { messages, followers, counts, wanted, ended })))
    }

    /// Offers records to the log and to those who follow. Never waits; what has no room is lost and counted, and what nobody wants
    /// is dropped.
    pub fn offer(&self, mut records: Vec<FlowRecord>) {
        if !self.is_wanted() {
            return;
        }
        let Shared { messages, counts, .. } = &*self.0;
        let offered = records.len();
        let mut room = 0;
        let _ = counts.queued.fetch_update(Relaxed, Relaxed, |queued| {
            room = offered.min(QUEUE.saturating_sub(queued));
            Some(queued + room)
        });
        records.truncate(room);
        let mut lost = offered - room;
        // The thread ends before its log only by a fault.
        if room > 0 && messages.send(Message::Records(records)).is_err() {
            counts.queued.fetch_sub(room, Relaxed);
            lost = offered;
        }
        counts.queue_full.fetch_add(lost as u64, Relaxed);
    }

    /// Goes on by another config; by the same, it looks whether its file is still there. What was offered before is written by the
    /// config before.
    pub fn apply(&self, settings: Settings) {
        self.0.wanted.by_log(settings.target.is_some());
        // Without its thread there is nothing to change.
        let _ = self.0.messages.send(Message::Settings(settings));
    }

    /// Whether anybody wants records: the log has a place, or somebody follows.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.0.wanted.is()
    }

    /// Tells of changes of [`Self::is_wanted`].
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.0.wanted.watch()
    }

    /// Follows all that is offered from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let Shared { followers, wanted, ended, .. } = &*self.0;
        Subscription::new(followers.subscribe(), ended.subscribe(), wanted.by_one_more())
    }

    /// Counts connections that the datapath could not tell.
    pub fn count_overtaken(&self, connections: u64) {
        self.0.counts.overtaken.fetch_add(connections, Relaxed);
    }

    /// What became of the lines.
    #[must_use]
    pub fn counts(&self) -> FlowLogCounts {
        self.0.counts.read()
    }

    /// At the end of the agent: writes all that was offered, but not for long, and ends those who follow.
    pub async fn finish(&self) {
        self.flush().await;
        self.0.ended.send_replace(true);
    }

    /// Waits until all that was offered is written, but not for long.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.messages.send(Message::Flush(done)).is_ok() {
            let _ = timeout(LAST_LINES, is_done).await;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
