//! The datapath's own thread: it turns what was decided last into system calls, so that building a table never keeps a probe, a
//! signal or the watchdog waiting.
//!
//! Level-triggered both ways: [`Applier::want`] says what the tables are to say, and only the last word counts;
//! [`Applier::state`] says how things stand. What is not a matter of level, [`Command`]s, is carried out between two writes.
//! The thread walks the flow table, and compares the tables with what it has written, when nothing else is to be done.

mod worker;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
};
use tracing::{error, info};

use super::{
    compare::{self, Compare},
    presence::Presence,
    retry::Retry,
    trace::Tracer,
};
use crate::{
    datapath::{
        Attached, Census, Datapath, DatapathError, Desired, Interface, Meter, Reader, Steering, TraceError,
        Wanted,
    },
    interface::Seen,
    trace::TraceRequest,
};
use worker::Worker;

/// A thread that has not turned for so long is stuck in a system call: the largest tables take some seconds.
const STUCK: Duration = Duration::from_secs(60);

/// For how long a wish may wait until the tables count as not up to date.
const LATE: Duration = Duration::from_secs(1);
/// Commands that may wait: there are a look every two seconds, one trial, and traces.
const COMMANDS: usize = 16;

/// As much as a process's first thread has: unoptimized code copies a table, which is 131 KB, again and again.
const STACK: usize = 8 << 20;

/// How the datapath stands.
#[derive(Clone, Debug, Default)]
pub(super) struct DatapathState {
    /// The number of the last wish that was tried.
    pub(super) tried: u64,
    /// Why it is not in force, and is tried again each second.
    pub(super) behind: Option<Arc<str>>,
    pub(super) attached: Option<Attached>,
    /// Interfaces of the config that the datapath is not on, or that are gone.
    pub(super) presence: Presence,
    /// Tables of services that were written since the start.
    pub(super) table_rewrites: u64,
    /// Entries that were not as they had been written, and were repaired, by map.
    pub(super) repairs: BTreeMap<&'static str, u64>,
    /// What the last whole walk through the flow table found.
    pub(super) census: Arc<Census>,
    /// How many walks are over.
    pub(super) walks: u64,
}

/// What the tables are to say, and the number of this wish.
#[derive(Clone, Debug)]
struct Wish {
    number: u64,
    desired: Arc<Desired>,
}

/// What another config needs of the datapath before it can come into force. Where a part fails, packets go as before; programs that
/// steer probes may stand ready then, for the next that wants them.
#[derive(Debug)]
pub(super) struct Trial {
    /// The tables have to have room for this.
    pub(super) desired: Desired,
    /// Probes are to be steered, and are not yet.
    pub(super) steer: bool,
    /// Where to go, if that is another place than now.
    pub(super) attach: Option<(Wanted, Vec<Interface>)>,
}

/// What came of a [`Trial`].
#[derive(Debug)]
pub(super) struct Prepared {
    /// Who steers probes, if that was asked for.
    pub(super) steering: Option<Steering>,
    /// Where it is attached now, if that was asked for.
    pub(super) attached: Option<Attached>,
}

/// What the thread does between two writes.
#[derive(Debug)]
enum Command {
    /// Takes in a look at the interfaces, and attaches to those that have come back.
    Look {
        begun: Instant,
        seen: Vec<Seen>,
    },
    Try(Trial, oneshot::Sender<Result<Prepared, DatapathError>>),
    Trace(TraceRequest),
}

/// The main loop's end of the thread.
pub(super) struct Applier {
    wishes: watch::Sender<Wish>,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<DatapathState>,
    /// The number of the last wish, and since when one of them was not tried yet.
    wanted: (u64, Option<Instant>),
    /// Comes when the thread ends.
    datapath: oneshot::Receiver<Datapath>,
    /// When the thread turned last, in milliseconds since `begun`.
    turned: Arc<AtomicU64>,
    begun: Instant,
    /// Whether the thread was stuck when that was last looked at.
    was_stuck: bool,
    meter: Arc<Meter>,
    reader: Arc<Reader>,
    adopted: bool,
}

/// The thread, before it has the datapath: what cannot be had is to be known before anything is attached.
pub(super) struct Thread {
    give: std::sync::mpsc::Sender<Worker>,
    back: oneshot::Receiver<Datapath>,
}

/// Where the datapath stands when the thread begins.
pub(super) struct Begun {
    /// What was written into it.
    pub(super) desired: Desired,
    pub(super) tables: usize,
    /// By which hook the config wants it.
    pub(super) wanted: Wanted,
}

impl Thread {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn spawn() -> Result<Self, DatapathError> {
        let (give, take) = std::sync::mpsc::channel::<Worker>();
        let (give_back, back) = oneshot::channel();
        let runtime = Handle::current();
        let work = move || {
            // Where the start fails nothing comes.
            let Ok(worker) = take.recv() else { return };
            let datapath = runtime.block_on(worker.run());
            // The agent may have gone.
            drop(give_back.send(datapath));
        };
        let thread = std::thread::Builder::new().name("datapath".into()).stack_size(STACK).spawn(work);
        thread.map_err(|error| DatapathError::thread(&error))?;
        Ok(Self { give, back })
    }

    /// Hands the datapath, which is attached and written, over to the thread.
    pub(super) fn begin(self, datapath: Datapath, begun: Begun) -> Applier {
        let Self { give, back } = self;
        let Begun { desired, tables, wanted } = begun;
        let (meter, reader, adopted) = (Arc::clone(datapath.meter()), datapath.reader(), datapath.adopted());
        let state = DatapathState {
            attached: datapath.attached().cloned(),
            table_rewrites: tables as u64,
            repairs: datapath.repairs().clone(),
            ..DatapathState::default()
        };
        let (wishes, wished) = watch::channel(Wish { number: 0, desired: Arc::new(desired) });
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let (publish, state) = watch::channel(state);
        let (turned, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let now = tokio::time::Instant::now();
        let worker = Worker {
            datapath,
            wanted,
            attached_at: begun,
            wishes: wished,
            commands: commanded,
            publish,
            retry: Retry::default(),
            compare: Compare::default(),
            tracer: Tracer::default(),
            next_sweep: now,
            next_compare: now + compare::PAUSE,
            turned: (Arc::clone(&turned), begun),
        };
        // A thread that is gone is noticed where its state is waited for.
        drop(give.send(worker));
        let (wanted, was_stuck) = ((0, None), false);
        Applier {
            wishes,
            commands,
            state,
            wanted,
            datapath: back,
            turned,
            begun,
            was_stuck,
            meter,
            reader,
            adopted,
        }
    }
}

impl Applier {
    /// Says what the tables are to say from now on. Returns the number of this wish.
    pub(super) fn want(&mut self, desired: Desired) -> u64 {
        let mut number = 0;
        self.wishes.send_modify(|wish| {
            wish.number += 1;
            wish.desired = Arc::new(desired);
            number = wish.number;
        });
        self.wanted = (number, self.wanted.1.or_else(|| Some(Instant::now())));
        number
    }

    /// Waits until the state is another one. May be dropped and called again. Where the thread has died, says so.
    pub(super) async fn changed(&mut self) -> Result<(), Died> {
        self.state.changed().await.map_err(|_| Died)
    }

    /// How things stand. Marks it as seen.
    pub(super) fn take_state(&mut self) -> DatapathState {
        let state = self.state.borrow_and_update().clone();
        if state.tried >= self.wanted.0 {
            self.wanted.1 = None;
        }
        state
    }

    /// Whether the tables say what was decided last, or are about to: the thread is not long behind.
    pub(super) fn is_up_to_date(&self) -> bool {
        let behind = self.wanted.1.is_some_and(|since| since.elapsed() > LATE);
        !behind && self.state.borrow().behind.is_none()
    }

    /// What was counted of connections; nothing before the first whole walk through the flow table.
    pub(super) fn census(&self) -> Option<Arc<Census>> {
        let state = self.state.borrow();
        (state.walks > 0).then(|| Arc::clone(&state.census))
    }

    pub(super) fn state(&self) -> watch::Ref<'_, DatapathState> {
        self.state.borrow()
    }

    /// Takes in a look at the interfaces.
    pub(super) fn look(&self, begun: Instant, seen: Vec<Seen>) {
        // One that finds no room is followed by the next.
        drop(self.command(Command::Look { begun, seen }));
    }

    /// Does what another config needs. The answer comes when the thread gets to it.
    pub(super) fn prepare(&self, trial: Trial) -> oneshot::Receiver<Result<Prepared, DatapathError>> {
        let (answer, answered) = oneshot::channel();
        // Without room the answer is dropped, which whoever waits for it sees.
        drop(self.command(Command::Try(trial, answer)));
        answered
    }

    pub(super) fn trace(&self, request: TraceRequest) {
        if let Err(Command::Trace(request)) = self.command(Command::Trace(request)) {
            // Who asked may have gone.
            drop(request.answer.send(Err(TraceError::Busy)));
        }
    }

    /// What the datapath counts.
    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Its tables, to be looked at.
    pub(super) fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Whether the datapath was there before the agent.
    pub(super) fn adopted(&self) -> bool {
        self.adopted
    }

    /// Whether the thread has been stuck in a system call for longer than any takes.
    pub(super) fn is_stuck(&self) -> bool {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(turned) > STUCK
    }

    /// Says when the thread has come to be stuck, and when it goes on.
    pub(super) fn log_if_stuck(&mut self) {
        let is_stuck = self.is_stuck();
        match (std::mem::replace(&mut self.was_stuck, is_stuck), is_stuck) {
            (false, true) => error!(
                "the thread that writes the datapath has been stuck in a system call for a minute: the datapath forwards by its last \
                 tables, and a service manager with a watchdog restarts the agent; look into the kernel's log (`dmesg`)"
            ),
            (true, false) => info!("the thread that writes the datapath goes on"),
            (true, true) | (false, false) => {}
        }
    }

    /// Ends the thread, and a trace with it. Returns the datapath; `None` where the thread has died.
    pub(super) async fn finish(self) -> Option<Datapath> {
        let Self { wishes, commands, datapath, .. } = self;
        drop((wishes, commands));
        datapath.await.ok()
    }

    /// Gives it back where too many wait, or where the thread has died, which is noticed where its state is waited for.
    #[expect(clippy::result_large_err, reason = "what was not taken is handed back, and rarely")]
    fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Closed(command) => command,
        })
    }
}

/// The datapath's thread has ended though nobody asked it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Died;

#[cfg(test)]
mod tests;
