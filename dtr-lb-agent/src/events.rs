//! What changed, when, why and by whom: the events of the agent, which outlive it.
//!
//! An event is a line of the log that has a name (`event = "…"`): `recorder` takes it from there, so that log and events
//! cannot disagree, and `words` has the sentence for people. The last ones are in memory, for whoever asks; `writer` is the
//! thread that appends them to a file beside the agent's socket, and `file` is that file: bounded, and mended where an agent
//! was killed in the midst of a line. The main loop never waits for a disk.

mod file;
mod recorder;
mod words;
mod writer;

use std::{
    borrow::Borrow,
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::field::{DisplayValue, display};
use tracing_subscriber::{Layer, registry::LookupSpan};

use recorder::Recorder;
use writer::Writer;

/// Bytes of events, as JSON, that are kept in memory. The file has as many, in two segments.
const MOST_BYTES: usize = 2 * file::SEGMENT;
/// Events that are told where no number is given ...
pub const FEW: usize = 500;
/// ... and at most: more than there ever are.
pub const MOST: usize = 50_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Each has a larger one than the one before; across agents, too, as long as there is the file.
    pub id: u64,
    pub time: Timestamp,
    /// Its stable name, as in the log: docs/messages.md has all of them.
    pub event: String,
    #[serde(default)]
    pub service: Option<String>,
    #[serde(default)]
    pub replica: Option<String>,
    /// One sentence for people.
    pub text: String,
    /// Who wanted it, where somebody did and that is known.
    #[serde(default)]
    pub by: Option<By>,
    /// The other fields of the log line.
    #[serde(default)]
    pub details: Map<String, Value>,
}

/// Who asked the agent for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum By {
    /// A process of this host, over the agent's socket: as whom it ran, by the kernel's word.
    User {
        uid: u32,
        /// `None` where the host has no name for it.
        user: Option<String>,
    },
    /// Over HTTP.
    Http {
        /// By what the sender has proven that it may: a name, never the secret.
        token: String,
        address: SocketAddr,
    },
}

impl std::fmt::Display for By {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User { user: Some(user), .. } => out.write_str(user),
            Self::User { uid, user: None } => write!(out, "uid {uid}"),
            Self::Http { token, address } => write!(out, "{token} from {}", address.ip()),
        }
    }
}

/// The fields of a log line that say who it was; those that are `None` are not in it.
#[derive(Clone, Debug, Default)]
pub struct ByFields<'a> {
    pub uid: Option<u32>,
    pub user: Option<&'a str>,
    pub token: Option<&'a str>,
    pub peer: Option<DisplayValue<SocketAddr>>,
}

impl By {
    /// For a log line.
    #[must_use]
    pub fn fields(by: Option<&Self>) -> ByFields<'_> {
        match by {
            None => ByFields::default(),
            Some(Self::User { uid, user }) => {
                ByFields { uid: Some(*uid), user: user.as_deref(), ..ByFields::default() }
            }
            Some(Self::Http { token, address }) => {
                ByFields { token: Some(token), peer: Some(display(*address)), ..ByFields::default() }
            }
        }
    }
}

/// Which events are asked for: the query of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Those with a larger id.
    pub since: Option<u64>,
    /// Not more than so many, the newest of them; [`FEW`] where it is not given.
    pub limit: Option<usize>,
    /// Those of a service, by its name, and those that name it.
    pub service: Option<String>,
    /// The same of a replica, by its name or address.
    pub replica: Option<String>,
}

/// What `GET /v1/events` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing<E = Event> {
    /// The newest last.
    pub events: Vec<E>,
    /// The id of the oldest event that is kept; 0 where there is none.
    pub oldest: u64,
    /// The id of the newest one, whether it was asked for or not. Smaller than what somebody knows already: another agent
    /// began to count anew, as its file was gone.
    #[serde(default)]
    pub newest: u64,
    /// Whether there are more of those that were asked for, older than the first of `events`, or may have been.
    pub left_out: bool,
}

impl Query {
    fn fits(&self, event: &Event) -> bool {
        let Self { since, limit: _, service, replica } = self;
        let is = |wanted: &String, found: &Option<String>| found.as_ref() == Some(wanted);
        // An order is about all services of a replica, and what a reload changes about whatever it names.
        let names = |what: String| event.text.contains(&what);
        let of_service = |wanted: &String| is(wanted, &event.service) || names(format!("service `{wanted}`"));
        let of_replica = |wanted: &String| {
            let address = event.details.get("address").and_then(Value::as_str);
            is(wanted, &event.replica)
                || address == Some(wanted)
                || names(format!("replica `{wanted}`"))
                || names(format!("({wanted})"))
        };
        since.is_none_or(|since| event.id > since)
            && service.as_ref().is_none_or(of_service)
            && replica.as_ref().is_none_or(of_replica)
    }

    /// Chooses among all that are kept, the newest last.
    fn choose<'a, E: Borrow<Event> + Clone + 'a>(
        &self,
        all: impl DoubleEndedIterator<Item = &'a E> + Clone,
    ) -> Listing<E> {
        let id = |event: Option<&E>| event.map_or(0, |event| event.borrow().id);
        let (oldest, newest) = (id(all.clone().next()), id(all.clone().next_back()));
        let limit = self.limit.unwrap_or(FEW).min(MOST);
        let mut fitting = all.rev().filter(|event| self.fits((*event).borrow()));
        let mut events: Vec<_> = fitting.by_ref().take(limit).cloned().collect();
        events.reverse();
        // What was before the oldest is not known any more.
        let left_out =
            fitting.next().is_some() || self.since.is_some_and(|since| since.saturating_add(1) < oldest);
        Listing { events, oldest, newest, left_out }
    }
}

/// A handle: all of them are one. What is recorded before [`Events::open`] is written after it.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// With the bytes that each has as JSON.
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// Of the last event that there was.
    last: u64,
    /// `None` before it is opened, and after it is closed.
    writer: Option<Writer>,
}

/// How the agent before this one ended, by its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// There is no word of one.
    None,
    Ended,
    /// It was killed, or the host went down.
    Killed,
}

impl Previous {
    /// For the log.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Ended => Some("ended"),
            Self::Killed => Some("killed"),
        }
    }
}

impl Events {
    /// Where the events of an agent with this socket are kept.
    #[must_use]
    pub fn path(socket: &Path) -> PathBuf {
        socket.with_extension("events.jsonl")
    }

    /// What makes events of log lines.
    pub fn recorder<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        Recorder::layer(self.clone())
    }

    /// Takes up the events of the agents before this one, and writes to their file from here on. Only the agent that has the
    /// socket may do so. Returns how the last of them ended.
    pub fn open(&self, path: &Path) -> Previous {
        let mut opened = file::open(path);
        let previous = previous(&opened.events);
        let mut kept = self.lock();
        let early = std::mem::take(&mut kept.events);
        *kept = Kept::default();
        for event in opened.events.drain(..) {
            kept.keep(event);
        }
        kept.writer = Some(Writer::spawn(path.to_owned(), opened.problem));
        // What has happened since this agent began has no number that the file knows.
        for (event, _) in early {
            kept.record(Arc::unwrap_or_clone(event));
        }
        drop(kept);
        for note in opened.notes {
            tracing::info!(path = %path.display(), "{note}");
        }
        for warning in opened.warnings {
            tracing::warn!(path = %path.display(), "{warning}");
        }
        previous
    }

    /// Waits until what was recorded is written, though not for long; what is recorded afterwards is not.
    pub fn close(&self) {
        let writer = self.lock().writer.take();
        if let Some(writer) = writer {
            writer.finish();
        }
    }

    /// What is asked for.
    #[must_use]
    pub fn list(&self, query: &Query) -> Listing<Arc<Event>> {
        // Chosen among without the lock: whoever records an event waits for nobody who asks.
        let all: Vec<_> = self.lock().events.iter().map(|(event, _)| Arc::clone(event)).collect();
        query.choose(all.iter())
    }

    /// The same as JSON. Whoever records events does not wait for it.
    ///
    /// # Errors
    /// It cannot be put into words, which is a fault of dtr-lb.
    pub fn list_as_json(&self, query: &Query) -> serde_json::Result<Vec<u8>> {
        let Listing { events, oldest, newest, left_out } = self.list(query);
        let events: Vec<_> = events.iter().map(Arc::as_ref).collect();
        serde_json::to_vec(&Listing { events, oldest, newest, left_out })
    }

    /// The same by the file, without an agent; and what is wrong with the file. It is left as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path, query: &Query) -> std::io::Result<(Listing, Vec<String>)> {
        let file::Read { events, notes } = file::read(path)?;
        Ok((query.choose(events.iter()), notes))
    }

    fn record(&self, event: Event) {
        self.lock().record(event);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Numbers a new event, and has it written.
    fn record(&mut self, event: Event) {
        let event = Event { id: self.last + 1, ..event };
        let line = self.keep(event);
        if let Some(writer) = &self.writer {
            writer.write(line);
        }
    }

    /// Returns its line.
    fn keep(&mut self, event: Event) -> String {
        // A map of text and numbers can always be written.
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        self.last = event.id;
        self.bytes += line.len();
        self.events.push_back((Arc::new(event), line.len()));
        while self.bytes > MOST_BYTES
            && let Some((_, bytes)) = self.events.pop_front()
        {
            self.bytes -= bytes;
        }
        line
    }
}

/// Now, as an event has it: nobody needs nanoseconds.
fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

fn previous(events: &[Event]) -> Previous {
    let about_agents = |event: &&Event| [STARTED, ENDED, DETACHED].contains(&event.event.as_str());
    match events.iter().rev().find(about_agents) {
        None => Previous::None,
        Some(event) if event.event == STARTED => Previous::Killed,
        Some(_) => Previous::Ended,
    }
}

/// An agent serves.
pub const STARTED: &str = "agent_started";
/// An agent ends by a signal; the datapath stays.
pub const ENDED: &str = "agent_ended";
/// An agent has removed the datapath, and ends.
pub const DETACHED: &str = "agent_detached";

#[cfg(test)]
mod tests;
