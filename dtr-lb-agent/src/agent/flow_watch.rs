//! The thread that hears from the datapath what becomes of connections, and offers it to the flow log.
//!
//! The datapath tells only while somebody wants to know ([`FlowLog::wanted`]). It writes into a ring without waking anybody: the thread
//! looks many times a second, which costs less than being woken for each connection. What comes while no agent runs waits in the ring,
//! as long as there is room.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dtr_lb_common::abi::{End, FLOW_EVENTS_BYTES, FlowEvent, flow_wanted};
use jiff::Timestamp;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    time::sleep,
};
use tracing::warn;

use crate::{
    datapath::{DatapathError, FlowEvents, FlowNews},
    directory::Directory,
    flow_log::{FlowLog, Now, record},
};

/// From one look to the next: the ring has room for 36,000 ends, 700 ms at 50,000 a second.
const PAUSE: Duration = Duration::from_millis(20);
/// Taken at once.
const BATCH: usize = 4096;
/// How often before something else has its turn.
const ROUNDS: usize = 2 * FLOW_EVENTS_BYTES / size_of::<FlowEvent>() / BATCH + 1;
/// Buckets that are walked at once when all connections end with the datapath: at most 16,384 lines, which the log's queue has room for.
const BUCKETS: usize = 4096;
/// For how long they are written, at most: a million in the time of some seconds.
const LAST_LINES: Duration = Duration::from_secs(20);

/// The thread.
#[derive(Debug)]
pub(super) struct FlowWatch {
    names: watch::Sender<Arc<Directory>>,
    begin: Option<oneshot::Sender<()>>,
    stop: oneshot::Sender<Stop>,
    stopped: oneshot::Receiver<()>,
}

/// What the datapath does from now on, when the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It goes on, and tells what the next agent is to hear.
    Stays,
    /// It goes on, and there is no log: those who followed go with this agent.
    Silent,
    /// It is gone, and all connections with it.
    Detached,
}

struct Watch {
    events: FlowEvents,
    log: FlowLog,
    names: watch::Receiver<Arc<Directory>>,
    stop: oneshot::Receiver<Stop>,
}

impl FlowWatch {
    /// Starts the thread, which touches nothing before [`Self::begin`]: a start that fails leaves a datapath as it was. Within a tokio
    /// runtime.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(events: FlowEvents, log: FlowLog, names: Directory) -> Result<Self, DatapathError> {
        let (names, named) = watch::channel(Arc::new(names));
        let (stop, to_stop) = oneshot::channel();
        let (begin, begun) = oneshot::channel();
        let (done, stopped) = oneshot::channel();
        let runtime = Handle::current();
        let watch = Watch { events, log, names: named, stop: to_stop };
        let work = move || {
            if runtime.block_on(begun).is_ok() {
                runtime.block_on(watch.run());
            }
            // The agent may have gone.
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("flows".into()).spawn(work);
        thread.map_err(|error| DatapathError::thread(&error))?;
        Ok(Self { names, begin: Some(begin), stop, stopped })
    }

    /// The agent serves.
    pub(super) fn begin(&mut self) {
        if let Some(begin) = self.begin.take() {
            // The thread ends before it only with the process.
            let _ = begin.send(());
        }
    }

    /// What services and replicas are called from now on.
    pub(super) fn name(&self, names: Directory) {
        self.names.send_replace(Arc::new(names));
    }

    /// Offers what is left, and ends.
    pub(super) async fn finish(self, stop: Stop) {
        let Self { names: _, begin: _, stop: sender, stopped } = self;
        if sender.send(stop).is_ok() {
            let _ = stopped.await;
        }
    }
}

impl Watch {
    async fn run(mut self) {
        let mut wanted = self.log.wanted();
        let mut before = None;
        loop {
            let wants = *wanted.borrow_and_update();
            if before != Some(wants) {
                self.want(wants);
                before = Some(wants);
            }
            self.drain();
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = sleep(PAUSE), if wants => {}
                stop = &mut self.stop => return self.end(stop.unwrap_or(Stop::Stays)).await,
            }
        }
    }

    fn want(&mut self, wants: bool) {
        let wanted = if wants { flow_wanted::ENDS } else { flow_wanted::NOTHING };
        if let Err(error) = self.events.want(wanted) {
            warn!(%error, "the datapath could not be told whether to tell of connections: the flow log may miss some; restart the agent");
        }
    }

    /// Takes what has come: at most what the ring holds twice, so that what comes as fast as it is taken keeps nobody waiting.
    fn drain(&mut self) {
        for _ in 0..ROUNDS {
            let news = self.events.take(BATCH);
            let count = news.len();
            self.offer(&news);
            self.log.count_overtaken(self.events.take_overtaken());
            if count < BATCH {
                return;
            }
        }
    }

    fn offer(&self, news: &[FlowNews]) {
        if news.is_empty() || !self.log.is_wanted() {
            return;
        }
        let names = Arc::clone(&self.names.borrow());
        let (ticks, second) = (self.events.now(), self.events.ticks_per_second());
        let now = Now { time: Timestamp::now(), ticks, second };
        self.log.offer(news.iter().filter_map(|news| record(news, &names, &now)).collect());
    }

    async fn end(mut self, stop: Stop) {
        if stop == Stop::Silent {
            self.want(false);
        }
        self.drain();
        if stop != Stop::Detached || !self.log.is_wanted() {
            return;
        }
        let begun = Instant::now();
        for first in (0..self.events.buckets()).step_by(BUCKETS) {
            if begun.elapsed() > LAST_LINES {
                warn!(
                    "the flow log does not take the lines of all connections that ended with the datapath: the rest is lost"
                );
                return;
            }
            let buckets = first..(first + BUCKETS as u32).min(self.events.buckets());
            self.offer(&self.events.standing(buckets, End::DETACHED));
            self.log.flush().await;
        }
    }
}
