//! The main loop: one thing after the other, and after each that changes a decision the datapath is told.

use std::{
    future::{Future, pending},
    pin::Pin,
    time::{Duration, Instant},
};

use dtr_lb_common::verdict::Verdict;
use jiff::Timestamp;
use tokio::{signal::unix::Signal, time::sleep_until};
use tracing::{debug, info, warn};

use super::{
    Agent, End, answers, catch_up, compare,
    fill::Level,
    floods::Flood,
    log::{log, log_standing},
    passive,
    presence::Standing,
    probes::ProbeId,
    start::{mtus, wanted},
    unasked::News,
    waiting::Waiting,
};
use crate::{
    api::{self, Refusal, Request},
    config::{Scheme, SynChallenge},
    control::{Change, Moment, ReplicaKey},
    datapath::{Asked, Datapath, Dropped, Events, Interface},
    directory::Directory,
    history,
    interface::Look,
    metrics::Snapshot,
    probe::Report,
    status::{self, ChallengeStatus, Observed, Status},
};

/// The pause between two walks through the flow table.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Of a walk, the part of the time that it may take from the processor.
const SWEEP_SHARE: u32 = 20;
/// The same, while clients of a dead replica wait to be told.
const QUICK_SHARE: u32 = 2;
/// A drop verdict is logged at most so often.
const DROP_LOG: Duration = Duration::from_secs(10);

impl Agent {
    pub(super) async fn serve(
        &mut self,
        datapath: &mut Datapath,
        mut hang_up: Signal,
        mut shutdown: Pin<&mut impl Future<Output = &'static str>>,
    ) -> End {
        let mut events = match datapath.events() {
            Ok(events) => Some(events),
            Err(error) => {
                warn!(%error, "dropped packets are counted but not logged");
                None
            }
        };
        let mut next_sweep = tokio::time::Instant::now();
        let mut next_compare = next_sweep + compare::PAUSE;
        let mut next_sample = tokio::time::Instant::now();
        let mut next_reading = None;
        loop {
            let mut decided = false;
            if !passive::wanted(self.control.config()) {
                next_reading = None;
            } else if next_reading.is_none() {
                next_reading = Some(tokio::time::Instant::now());
            }
            let due = self.control.next_due(Instant::now()).map(tokio::time::Instant::from_std);
            tokio::select! {
                reason = &mut shutdown => return End::Signal(reason),
                // How it went is in the log.
                Some(()) = hang_up.recv() => {
                    drop(self.reload(datapath).await);
                    decided = true;
                }
                Some(report) = self.reports.recv() => decided = self.take_reports(report, datapath),
                () = sleep_until_some(due) => {
                    self.control.tick(Moment::now()).into_iter().for_each(log);
                    decided = true;
                }
                () = sleep_until_some(next_reading) => {
                    let (changed, next) = self.read_failures(datapath);
                    next_reading = Some(next);
                    decided = changed;
                }
                Ok(()) = self.next_hops.changed() => {
                    self.take_next_hops();
                    decided = true;
                }
                () = self.following.looked() => decided = self.take_names(datapath).await,
                Some(look) = self.looks.recv() => decided = self.take_look(&look, datapath),
                Some(request) = self.requests.recv() => match request {
                    // Who asked may have gone.
                    Request::Status(answer) => drop(answer.send(self.status(datapath))),
                    Request::Metrics(answer) => drop(answer.send(self.snapshot(datapath))),
                    Request::Detach(answer) => return End::Detach(answer),
                    Request::Replica(order, answer) => {
                        match self.order(datapath, &order).await {
                            Ok(done) => self.waiting.push(Waiting::Order(answer, done)),
                            Err(refusal) => drop(answer.send(Err(refusal))),
                        }
                        decided = true;
                    }
                    Request::Look(answer) => drop(answer.send(self.look(datapath))),
                    Request::Trace(request) => self.tracer.request(request, datapath),
                    Request::WouldReload(answer) => {
                        let would = self.would_reload(datapath).await;
                        drop(answer.send(would.map_err(Refusal::from)));
                    }
                    Request::Reload(answer) => {
                        match self.reload(datapath).await {
                            Ok(done) => self.waiting.push(Waiting::Reload(answer, done)),
                            Err(error) => drop(answer.send(Err(error.into()))),
                        }
                        decided = true;
                    }
                },
                news = self.tracer.news() => self.tracer.take(news, datapath),
                Some(dropped) = next_events(&mut events) => self.log_drops(&dropped),
                Some(found) = self.fits.news() => self.fits.take(found),
                () = self.catch_up.due() => decided = true,
                () = sleep_until(next_sample) => {
                    self.sample(datapath);
                    self.read_answers(datapath);
                    self.look_for_fits();
                    next_sample = tokio::time::Instant::now() + history::STEP;
                }
                () = sleep_until_some(self.held_until) => decided = true,
                () = sleep_until(next_sweep) => next_sweep = self.sweep(datapath),
                () = sleep_until(next_compare) => next_compare = self.compare.step(datapath),
                () = self.manager.beat_due() => self.manager.beat(),
            }
            if decided && !self.holds() {
                self.write(datapath);
                self.manager.replicas(&self.control);
            }
        }
    }

    /// Brings the datapath up to date; where that fails, it is tried again before long.
    fn write(&mut self, datapath: &mut Datapath) {
        let result = datapath.apply(&self.control.desired(Instant::now())).map(|applied| {
            self.table_rewrites += applied.tables as u64;
        });
        let behind = result.as_ref().err().map(ToString::to_string);
        self.answer_waiting(behind.as_deref());
        match self.catch_up.tried(result, tokio::time::Instant::now()) {
            Some(catch_up::News::Behind(error)) => {
                warn!(error, "the datapath was not brought up to date; it is tried again each second");
            }
            Some(catch_up::News::UpToDate) => info!("the datapath is up to date again"),
            None => {}
        }
    }

    /// Takes a report and those that wait behind it: what many replicas change at once is one change of the tables.
    /// Returns whether they have changed anything.
    fn take_reports(&mut self, first: Report<ProbeId>, datapath: &Datapath) -> bool {
        let mut changed = self.take_report(first, datapath);
        for _ in 0..self.reports.len() {
            let Ok(report) = self.reports.try_recv() else { break };
            changed |= self.take_report(report, datapath);
        }
        changed
    }

    /// Returns whether it has changed anything.
    pub(super) fn take_report(&mut self, report: Report<ProbeId>, datapath: &Datapath) -> bool {
        let Some(report) = self.probes.current(report) else { return false };
        self.count_probe(&report);
        // Where the probe was answered nobody asks.
        let silent = report.outcome.error.as_ref().is_some_and(|failure| !failure.answered());
        let said = if silent { passive::data_to_client(&self.control, datapath, &report.id) } else { 0 };
        let changes = self.control.report(report, said, Moment::now());
        let changed = !changes.is_empty();
        for change in changes {
            match change {
                Change::Probing { service, replica, failure } => {
                    let news = self.unasked.take(service, replica, failure, Instant::now());
                    news.iter().for_each(News::log);
                }
                change => log(change),
            }
        }
        // What was held may be what this report is about.
        changed || self.held_until.is_some()
    }

    fn count_probe(&mut self, report: &Report<ReplicaKey>) {
        let mut services = self.control.config().services.iter();
        let service = services.find(|service| service.name == report.id.service);
        // What is configured away is no probe.
        if service.is_some_and(|service| service.probe.scheme != Scheme::None) {
            self.probe_counts.count(report.id.clone(), &report.outcome);
        }
    }

    pub(super) fn take_next_hops(&mut self) {
        let next_hops = self.next_hops.borrow_and_update().clone();
        let changes = self.control.next_hops(next_hops).into_iter();
        let is_missing = |change: &Change| matches!(change, Change::NextHop { result: Err(_), .. });
        changes.filter(|change| self.settled || !is_missing(change)).for_each(log);
    }

    /// Gives the passive check what the datapath has counted. Returns whether it has changed anything, and when it is
    /// due again.
    fn read_failures(&mut self, datapath: &Datapath) -> (bool, tokio::time::Instant) {
        let (readings, pause) = passive::read(&self.control, datapath);
        let changes = self.control.passive(&readings, Moment::now());
        let changed = !changes.is_empty();
        changes.into_iter().for_each(log);
        (changed, tokio::time::Instant::now() + pause)
    }

    /// Notices replicas whose answers do not come by here.
    fn read_answers(&mut self, datapath: &Datapath) {
        match answers::read(self.control.config(), datapath) {
            Ok(all) => self.control.answers(&all).into_iter().for_each(log),
            // The same counters are read for the passive check, which says so.
            Err(error) => debug!(%error, "answers of replicas were not counted"),
        }
    }

    /// Takes in a look at the interfaces, and attaches to those that have come back. Returns whether it has.
    fn take_look(&mut self, look: &Look, datapath: &mut Datapath) -> bool {
        let Look { begun, seen, macs } = look;
        if *begun < self.attached_at {
            return false;
        }
        let before = self.control.own_macs().cloned();
        self.control.take_macs(macs.clone()).into_iter().for_each(log);
        let moved = self.control.own_macs() != before.as_ref();
        self.control.ingress(mtus(seen)).into_iter().for_each(log);
        let attached = datapath.attached().map(|attached| (attached.hook, attached.interfaces.as_slice()));
        let found = self.presence.take(seen, attached);
        for (name, standing) in &found.changes {
            log_standing(name, *standing);
        }
        let Some(interfaces) = found.to_attach else { return moved };
        // One that was there all the time has lost its program to somebody.
        let bare =
            |name: &str| found.changes.iter().any(|(bare, now)| bare == name && *now == Standing::Bare);
        let before = datapath.attached().map(|attached| attached.interfaces.as_slice()).unwrap_or_default();
        let same = |interface: &&Interface| before.iter().any(|other| other.index == interface.index);
        let lost = interfaces.iter().filter(|interface| bare(&interface.name)).filter(same).count();
        let attached = datapath.attach(wanted(self.control.config().datapath.attach), &interfaces);
        self.attached_at = Instant::now();
        let news = self.presence.attached(attached.is_ok());
        match &attached {
            Ok(attached) => {
                let names: Vec<_> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
                info!(
                    hook = attached.hook.label(),
                    interfaces = names.join(","),
                    why = attached.why,
                    "datapath attached again"
                );
            }
            Err(error) if news => warn!(
                %error,
                "the datapath cannot be attached to an interface that has come back; it is tried again every few seconds"
            ),
            Err(_) => {}
        }
        let attached = attached.is_ok();
        if attached {
            (0..lost).for_each(|_| datapath.count_lost_link());
        }
        attached || moved
    }

    fn status(&self, datapath: &Datapath) -> Result<Status, Refusal> {
        let present = |interface: &str| self.presence.serves(interface);
        let observed = Observed {
            census: &self.census,
            challenge: &|service, vip| {
                let mode = self.control.config().datapath.syn_challenge;
                self.floods.of(service, vip).map(|flood| challenge_status(flood, mode)).unwrap_or_default()
            },
            hint: &|service| self.fits.hint(service),
            up_to_date: self.catch_up.up_to_date(),
            table_rewrites: self.table_rewrites,
            reloads: self.reloads,
        };
        let status = Status::collect(&self.control, datapath, observed, present).map_err(Refusal::failed)?;
        Ok(Status { names: status::names(&self.following.answers(), Timestamp::now()), ..status })
    }

    fn snapshot(&mut self, datapath: &Datapath) -> Result<Snapshot, Refusal> {
        self.probe_counts.keep(self.control.config());
        let status = self.status(datapath)?;
        Ok(Snapshot { status, probes: self.probe_counts.clone(), http: self.http.counts() })
    }

    /// What another thread needs to look at the datapath's tables.
    fn look(&self, datapath: &mut Datapath) -> Result<api::Look, Refusal> {
        let now = datapath.now().map_err(Refusal::failed)?;
        let directory = Directory::new(&self.control, Instant::now());
        Ok(api::Look { reader: datapath.reader(), directory, now })
    }

    /// Takes down what the dashboard's plots show.
    fn sample(&self, datapath: &Datapath) {
        // A status that cannot be had is a gap in the plots, and told to whoever asks for it.
        if let Ok(status) = self.status(datapath) {
            self.history.add(&status, Timestamp::now());
        }
    }

    /// One piece of the walk through the flow table; returns when the next is due.
    fn sweep(&mut self, datapath: &mut Datapath) -> tokio::time::Instant {
        let begun = Instant::now();
        let pause = match datapath.sweep() {
            Ok(None) if datapath.hurries() => begun.elapsed() * QUICK_SHARE,
            Ok(None) => begun.elapsed() * SWEEP_SHARE,
            Ok(Some(census)) => {
                self.census = census;
                self.log_fill(datapath);
                if let Err(error) = self.floods.look(self.control.config(), datapath, Moment::now()) {
                    warn!(%error, "handshakes were not counted; what the status says of floods may be old");
                }
                if let Some(asked) = datapath.take_asked() {
                    log_asked(&asked);
                }
                SWEEP_PAUSE
            }
            Err(error) => {
                warn!(%error, "the flow table was not swept; counts of flows may be old");
                SWEEP_PAUSE * 10
            }
        };
        tokio::time::Instant::now() + pause
    }

    /// Says when the flow table gets full, and when it has room again.
    fn log_fill(&mut self, datapath: &Datapath) {
        let max_flows = self.control.config().datapath.max_flows;
        let refused = datapath
            .verdicts()
            .ok()
            .and_then(|verdicts| verdicts.get(&Verdict::AnsweredTableFull).map(|traffic| traffic.packets));
        let entries = self.census.entries;
        match self.fill.take(entries, max_flows, refused.unwrap_or_default()) {
            Some((Level::Full, refused)) => warn!(
                entries,
                max_flows,
                refused,
                "the flow table is full: new connections are refused by a reset (verdict answered_table_full), \
                 open ones go on. Raise datapath.max_flows and restart the agent after `dtr-lb detach`, or shorten \
                 datapath.idle_timeout"
            ),
            Some((Level::Near, _)) => warn!(
                entries,
                max_flows,
                "the flow table is 80 % full; when it is full, new connections are refused. Raise datapath.max_flows"
            ),
            Some((Level::Room, _)) => info!(entries, max_flows, "the flow table has room again"),
            None => {}
        }
    }

    fn log_drops(&mut self, dropped: &[Dropped]) {
        for example in dropped {
            let now = Instant::now();
            let due =
                self.drops.get(&example.verdict).is_none_or(|last| now.duration_since(*last) >= DROP_LOG);
            if due {
                self.drops.insert(example.verdict, now);
                warn!(
                    verdict = example.verdict.name(),
                    source = %example.source,
                    destination = %example.destination,
                    "packets are dropped; this is one of them, `dtr-lb status` counts them all"
                );
            }
        }
    }
}

/// Waits until then; for ever where there is no such time.
async fn sleep_until_some(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn log_asked(asked: &Asked) {
    let Asked { clients, lost, untold, idle, error } = asked;
    if *clients + *lost > 0 {
        info!(
            clients,
            lost, "clients of dead replicas received a challenge ACK, so that their connections are reset"
        );
    }
    if *idle > 0 {
        info!(
            connections = idle,
            "connections were silent for longer than datapath.idle_timeout: client and replica received a reset"
        );
    }
    if *untold > 0 {
        warn!(
            resets = untold,
            "no interface took these resets of silent connections, or their next hop is not known any more: who they \
             were for finds out with its next packet"
        );
    }
    if let Some(error) = error {
        warn!(%error, "not all of them could be notified: they notice when they send something");
    }
}

fn challenge_status(flood: &Flood, mode: SynChallenge) -> ChallengeStatus {
    let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
    ChallengeStatus {
        on: flood.since.is_some() || mode == SynChallenge::Always,
        flooded: flood.since.is_some() && mode == SynChallenge::Auto,
        since: flood.since.filter(|_| mode == SynChallenge::Auto),
        syns: flood.counted.syns,
        handshakes: flood.counted.completed,
        syns_per_second: tenths(flood.syns),
        handshakes_per_second: tenths(flood.completed),
    }
}

/// Waits for events; for ever where there are none to be had.
async fn next_events(events: &mut Option<Events>) -> Option<Vec<Dropped>> {
    let Some(source) = events else { return pending().await };
    match source.next().await {
        Ok(dropped) => Some(dropped),
        Err(error) => {
            warn!(%error, "dropped packets are counted but no longer logged");
            *events = None;
            None
        }
    }
}
