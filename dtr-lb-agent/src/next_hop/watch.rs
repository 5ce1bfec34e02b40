//! [`Watcher`]: keeps the next hops of a changing set of addresses up to date.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rtnetlink::Handle;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    NextHopError,
    events::{Events, is_overrun},
    kernel::NeighbourKey,
    resolve::{KnownMacs, NextHops, survey},
};

/// From the first notice to the look at the kernel: changes come in bursts.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Between two looks that notices cause: what a flood of notices can cost at most.
const EVENT_SPACING: Duration = Duration::from_millis(100);
/// Between two looks while a neighbour is unresolved.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks when nothing happens: for changes that no notice tells.
const SWEEP: Duration = Duration::from_secs(5);
/// Before the netlink sockets are opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// A trouble that comes again within this time is not logged again.
const QUIET: Duration = Duration::from_secs(60);

/// Keeps the next hops of a set of addresses up to date, until it is dropped.
///
/// A next hop that was resolved and whose neighbour then fails or vanishes (the replica is cut off, or the kernel has
/// collected an entry that nothing used) stays published with its last known MAC address, as long as the route points
/// to the same interface and gateway. Whether a replica is dead is the probes' business: withdrawing its next hop
/// here would break the flows of a replica whose neighbour entry is merely gone. A changed MAC address is published.
///
/// If the kernel cannot be asked for a while, what was published stays, too.
#[derive(Debug)]
pub struct Watcher {
    _task: TaskGuard,
    rounds: Arc<AtomicU64>,
}

impl Watcher {
    /// Starts watching, in the network namespace of the calling thread and within a tokio runtime.
    ///
    /// The receiver has the next hop of each address, or why there is none; it changes only when one of them does. An
    /// address that is not in it has not been looked up yet. After `addresses`' sender is gone, the last set stays.
    pub fn spawn(
        addresses: watch::Receiver<BTreeSet<IpAddr>>,
    ) -> Result<(Self, watch::Receiver<NextHops>), NextHopError> {
        let session = Session::open()?;
        let (published, receiver) = watch::channel(NextHops::new());
        let rounds = Arc::new(AtomicU64::new(0));
        let task = Task {
            addresses,
            addresses_end: false,
            published,
            watched: BTreeSet::new(),
            known: KnownMacs::new(),
            rounds: Arc::clone(&rounds),
        };
        let task = TaskGuard(tokio::spawn(task.run(session)).abort_handle());
        Ok((Self { _task: task, rounds }, receiver))
    }

    /// How often the kernel's tables have been read: a measure of what the watching costs.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

/// The sockets. A session ends when its sockets can no longer be trusted, and another is opened.
struct Session {
    events: Events,
    handle: Handle,
    _connection: TaskGuard,
}

impl Session {
    fn open() -> Result<Self, NextHopError> {
        let failed = |call| move |error: io::Error| NextHopError::Netlink { call, reason: error.to_string() };
        // Subscribed before the first question: what changes after its answer is noticed.
        let events = Events::subscribe().map_err(failed("subscription to changes"))?;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed("opening a socket"))?;
        let connection = TaskGuard(tokio::spawn(connection).abort_handle());
        Ok(Self { events, handle, _connection: connection })
    }
}

struct Task {
    addresses: watch::Receiver<BTreeSet<IpAddr>>,
    /// The sender of `addresses` is gone.
    addresses_end: bool,
    published: watch::Sender<NextHops>,
    watched: BTreeSet<NeighbourKey>,
    known: KnownMacs,
    rounds: Arc<AtomicU64>,
}

impl Task {
    async fn run(mut self, first: Session) {
        let mut session = Ok(first);
        let mut logged: Option<Instant> = None;
        loop {
            let error = match session {
                Ok(open) => self.watch(open).await,
                Err(error) => error,
            };
            if logged.is_none_or(|at| at.elapsed() >= QUIET) {
                logged = Some(Instant::now());
                tracing::warn!(%error, "changes of next hops may have been missed; looking at all of them again");
            } else {
                tracing::debug!(%error, "changes of next hops may have been missed again");
            }
            self.publish_unasked(&error);
            sleep(REOPEN_PAUSE).await;
            session = Session::open();
        }
    }

    /// Watches until the session is no longer to be trusted, and says why.
    async fn watch(&mut self, mut session: Session) -> NextHopError {
        let mut due = Instant::now();
        // Whether a notice set `due`, and before when the next one may not.
        let mut due_by_event = false;
        let mut events_from = due;
        loop {
            tokio::select! {
                event = session.events.relevant(&self.watched) => {
                    if let Err(error) = event {
                        return listening_failed(&error);
                    }
                    let wanted = events_from.max(Instant::now() + DEBOUNCE);
                    if wanted < due {
                        due = wanted;
                        due_by_event = true;
                    }
                }
                changed = self.addresses.changed(), if !self.addresses_end => match changed {
                    Ok(()) => due = Instant::now(),
                    Err(_) => self.addresses_end = true,
                },
                () = sleep_until(due) => {
                    let waits = match self.look(&session.handle).await {
                        Ok(waits) => waits,
                        Err(error) => return error,
                    };
                    let now = Instant::now();
                    if due_by_event {
                        events_from = now + EVENT_SPACING;
                    }
                    due_by_event = false;
                    due = now + if waits { RETRY } else { SWEEP };
                }
            }
        }
    }

    /// Looks at the kernel's tables once and publishes what has changed. Returns whether an address waits for its
    /// neighbour to answer.
    async fn look(&mut self, handle: &Handle) -> Result<bool, NextHopError> {
        let addresses = self.addresses.borrow_and_update().clone();
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let survey = survey(handle, &addresses, &self.known).await?;
        let waits = survey.waits();
        self.watched = survey.watched;
        self.known = survey.known;
        self.published.send_if_modified(|published| {
            let changed = *published != survey.next_hops;
            if changed {
                *published = survey.next_hops;
            }
            changed
        });
        Ok(waits)
    }

    /// Tells of addresses that have no result yet why they have none; the others keep theirs.
    fn publish_unasked(&self, error: &NextHopError) {
        let addresses = self.addresses.borrow().clone();
        self.published.send_if_modified(|published| {
            let before = published.len();
            for address in addresses {
                published.entry(address).or_insert_with(|| Err(error.clone()));
            }
            published.len() != before
        });
    }
}

fn listening_failed(error: &io::Error) -> NextHopError {
    let reason = if is_overrun(error) {
        "more changes at once than the socket's buffer holds".to_owned()
    } else {
        error.to_string()
    };
    NextHopError::Netlink { call: "listening for changes", reason }
}

/// Ends a task when dropped.
#[derive(Debug)]
struct TaskGuard(AbortHandle);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
