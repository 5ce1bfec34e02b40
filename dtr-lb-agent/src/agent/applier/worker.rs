//! The thread's own end: writes, looks and tries by what it is told, and walks and compares when nothing else is to be done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tracing::{info, warn};

use super::{
    super::{
        compare::Compare,
        log::log_interface,
        presence::{InterfaceState, Presence},
        retry::{self, Retry},
        sweep::{self, log_notified},
        trace::Tracer,
    },
    Command, DatapathState, Prepared, Trial, Wish,
};
use crate::{
    datapath::{Datapath, DatapathError, Interface, Wanted},
    interface::Seen,
};

/// The datapath, and what its thread has to do with it.
pub(super) struct Worker {
    pub(super) datapath: Datapath,
    pub(super) wanted: Wanted,
    /// When the datapath was last attached: a look from before says nothing about it.
    pub(super) attached_at: Instant,
    pub(super) wishes: watch::Receiver<Wish>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) publish: watch::Sender<DatapathState>,
    pub(super) retry: Retry,
    pub(super) compare: Compare,
    pub(super) tracer: Tracer,
    pub(super) next_sweep: tokio::time::Instant,
    pub(super) next_compare: tokio::time::Instant,
    pub(super) turned: (Arc<AtomicU64>, Instant),
}

impl Worker {
    /// Until nobody wishes for anything any more.
    pub(super) async fn run(mut self) -> Datapath {
        loop {
            self.turn();
            // Not in an order: wishes that come all the time leave the walk its turn.
            tokio::select! {
                changed = self.wishes.changed() => match changed {
                    Ok(()) => self.write(),
                    Err(_) => break,
                },
                Some(command) = self.commands.recv() => self.carry_out(command),
                () = self.retry.due() => self.write(),
                news = self.tracer.news() => self.tracer.take(news, &mut self.datapath),
                () = sleep_until(self.next_compare) => self.compare(),
                () = sleep_until(self.next_sweep) => self.sweep(),
            }
        }
        self.tracer.end(&mut self.datapath);
        self.datapath
    }

    /// Says that the thread is not stuck.
    fn turn(&self) {
        let (turned, begun) = &self.turned;
        turned.store(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Writes what is wanted; where that fails, it is tried again before long.
    fn write(&mut self) {
        let Wish { number, desired } = self.wishes.borrow_and_update().clone();
        let result = self.datapath.apply(&desired);
        let tables = result.as_ref().map_or(0, |applied| applied.tables as u64);
        let behind = result.as_ref().err().map(|error| error.to_string().into());
        match self.retry.attempted(result.map(drop), tokio::time::Instant::now()) {
            Some(retry::News::Behind(error)) => {
                warn!(
                    event = "tables_behind",
                    error, "the datapath's tables are not up to date; the agent retries every second"
                );
            }
            Some(retry::News::UpToDate) => {
                info!(event = "tables_up_to_date", "the datapath's tables are up to date again");
            }
            None => {}
        }
        self.publish.send_modify(|state| {
            state.tried = number;
            state.behind = behind;
            state.table_rewrites += tables;
        });
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Look { begun, seen } => self.look(begun, &seen),
            Command::Try(trial, answer) => {
                let prepared = self.prepare(trial);
                // Who asked may have gone.
                drop(answer.send(prepared));
            }
            Command::Trace(request) => self.tracer.request(request, &self.datapath),
        }
    }

    fn prepare(&mut self, trial: Trial) -> Result<Prepared, DatapathError> {
        let Trial { desired, steer, attach } = trial;
        self.datapath.fits(&desired)?;
        let steering = if steer {
            let interfaces = self.datapath.attached().map(|attached| attached.interfaces.clone());
            Some(self.datapath.start_probing(&interfaces.unwrap_or_default())?)
        } else {
            None
        };
        let Some((wanted, interfaces)) = attach else { return Ok(Prepared { steering, attached: None }) };
        let attached = self.datapath.attach(wanted, &interfaces)?.clone();
        self.wanted = wanted;
        self.attached_at = Instant::now();
        let names: Vec<_> = interfaces.into_iter().map(|interface| interface.name).collect();
        self.publish.send_modify(|state| {
            state.presence.keep(&names);
            state.attached = Some(attached.clone());
        });
        Ok(Prepared { steering, attached: Some(attached) })
    }

    /// Notices interfaces that have gone or come back, and attaches to the latter.
    fn look(&mut self, begun: Instant, seen: &[Seen]) {
        if begun < self.attached_at {
            return;
        }
        let mut presence = self.publish.borrow().presence.clone();
        let attached =
            self.datapath.attached().map(|attached| (attached.hook, attached.interfaces.as_slice()));
        let found = presence.take(seen, attached);
        for (name, state) in &found.changes {
            log_interface(name, *state);
        }
        if let Some(interfaces) = found.to_attach {
            let bare = |name: &str| {
                found.changes.iter().any(|(changed, now)| changed == name && *now == InterfaceState::Bare)
            };
            self.attach_again(&mut presence, &interfaces, bare);
        }
        let attached = self.datapath.attached().cloned();
        let repairs = self.datapath.repairs().clone();
        self.publish.send_if_modified(|state| {
            let changed = (&state.presence, &state.attached) != (&presence, &attached);
            (state.presence, state.attached, state.repairs) = (presence, attached, repairs);
            changed
        });
    }

    fn attach_again(
        &mut self,
        presence: &mut Presence,
        interfaces: &[Interface],
        bare: impl Fn(&str) -> bool,
    ) {
        // One that was there all the time has lost its program to somebody.
        let before =
            self.datapath.attached().map(|attached| attached.interfaces.as_slice()).unwrap_or_default();
        let same = |interface: &&Interface| before.iter().any(|other| other.index == interface.index);
        let lost = interfaces.iter().filter(|interface| bare(&interface.name)).filter(same).count();
        let attached = self.datapath.attach(self.wanted, interfaces);
        self.attached_at = Instant::now();
        let news = presence.attached(attached.is_ok());
        match attached {
            Ok(attached) => {
                let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
                info!(
                    event = "datapath_attached",
                    hook = attached.hook.label(),
                    interfaces = names.join(","),
                    why = attached.why,
                    "datapath attached again"
                );
                (0..lost).for_each(|_| self.datapath.count_lost_link());
                // Replicas behind an interface that was gone have a next hop again.
                self.write();
            }
            Err(error) if news => warn!(
                event = "datapath_not_attached",
                %error,
                "the datapath cannot be attached to an interface that has come back; the agent retries every few seconds"
            ),
            Err(_) => {}
        }
    }

    fn compare(&mut self) {
        self.next_compare = self.compare.step(&mut self.datapath);
        let repairs = self.datapath.repairs();
        self.publish.send_if_modified(|state| {
            if state.repairs != *repairs {
                state.repairs.clone_from(repairs);
            }
            // Nothing follows from them.
            false
        });
    }

    /// One piece of the walk through the flow table.
    fn sweep(&mut self) {
        let (census, next) = sweep::step(&mut self.datapath);
        self.next_sweep = next;
        let Some(census) = census else { return };
        if let Some(notified) = self.datapath.take_asked() {
            log_notified(&notified);
        }
        self.publish.send_modify(|state| {
            state.census = Arc::new(census);
            state.walks += 1;
        });
    }
}
