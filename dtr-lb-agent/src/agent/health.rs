//! What decides about replicas, and all that it is fed with: probes' reports, what the datapath counts, and time.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::sleep_until};
use tracing::debug;

use super::{
    answers,
    local_failures::{LocalFailures, News},
    log::{log, log_all},
    passive,
    probes::{ProbeId, Probes},
};
use crate::{
    config::{Admin, Config, Replica, Scheme},
    control::{Change, Control, Moment, ReplicaKey},
    datapath::{Census, Meter},
    metrics::ProbeCounts,
    probe::{Report, schedule::first_spread},
};

/// For how long the datapath may go on as it was while replicas that are new to it are asked for the first time: what is
/// decided before is a guess.
const HOLD: Duration = Duration::from_millis(500);

/// The machines that judge replicas, and their inputs.
pub(super) struct Health {
    pub(super) control: Control,
    pub(super) probes: Probes,
    reports: mpsc::Receiver<Report<ProbeId>>,
    /// When the passive check reads what the datapath has counted; `None` where there is no such check.
    next_reading: Option<tokio::time::Instant>,
    /// Until when the datapath waits for the first word about replicas that are new to it.
    held_until: Option<tokio::time::Instant>,
    /// The replicas that this host cannot ask.
    local_failures: LocalFailures,
    pub(super) probe_counts: ProbeCounts,
}

/// Something to be judged.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Input {
    Report(Report<ProbeId>),
    /// A deadline of the machines is over.
    Due,
    /// The datapath's counters are to be read.
    Reading,
    /// Replicas that are new were waited for long enough.
    HeldLongEnough,
}

impl Health {
    pub(super) fn new(control: Control, probes: Probes, reports: mpsc::Receiver<Report<ProbeId>>) -> Self {
        Self {
            control,
            probes,
            reports,
            next_reading: None,
            held_until: None,
            local_failures: LocalFailures::default(),
            probe_counts: ProbeCounts::default(),
        }
    }

    /// Waits for the next input. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Input {
        if !passive::wanted(self.control.config()) {
            self.next_reading = None;
        } else if self.next_reading.is_none() {
            self.next_reading = Some(tokio::time::Instant::now());
        }
        let due = self.control.next_due(Instant::now()).map(tokio::time::Instant::from_std);
        tokio::select! {
            Some(report) = self.reports.recv() => Input::Report(report),
            () = sleep_until_some(due) => Input::Due,
            () = sleep_until_some(self.next_reading) => Input::Reading,
            () = sleep_until_some(self.held_until) => Input::HeldLongEnough,
        }
    }

    /// Takes it in. Returns whether the datapath may have to say something else now.
    pub(super) fn take(&mut self, input: Input, meter: &Meter, census: Option<&Census>) -> bool {
        match input {
            Input::Report(report) => self.take_reports(report, meter, census),
            Input::Due => {
                let changes = self.control.tick(Moment::now());
                log_all(changes, &self.control, meter, census);
                true
            }
            Input::Reading => self.read_failures(meter, census),
            Input::HeldLongEnough => true,
        }
    }

    /// Takes a report and those that wait behind it: what many replicas change at once is one change of the tables.
    /// Returns whether they have changed anything.
    fn take_reports(&mut self, first: Report<ProbeId>, meter: &Meter, census: Option<&Census>) -> bool {
        let mut changed = self.take_report(first, meter, census);
        for _ in 0..self.reports.len() {
            let Ok(report) = self.reports.try_recv() else { break };
            changed |= self.take_report(report, meter, census);
        }
        changed
    }

    /// Returns whether it has changed anything.
    fn take_report(&mut self, report: Report<ProbeId>, meter: &Meter, census: Option<&Census>) -> bool {
        let Some(report) = self.probes.current(report) else { return false };
        self.count_probe(&report);
        // Where the probe was answered nobody asks.
        let silent = report.outcome.error.as_ref().is_some_and(|failure| !failure.answered());
        let said = if silent { passive::data_to_client(&self.control, meter, &report.id) } else { 0 };
        let key = report.id.clone();
        let changes = self.control.report(report, said, Moment::now());
        self.probes.pace(&key, self.control.certainty(&key));
        let changed = !changes.is_empty();
        for change in &changes {
            if let Change::Probing { service, replica, failure } = change {
                let news = self.local_failures.take(
                    service.clone(),
                    replica.clone(),
                    failure.clone(),
                    Instant::now(),
                );
                news.iter().for_each(News::log);
            }
        }
        log_all(changes, &self.control, meter, census);
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

    /// Gives the passive check what the datapath has counted. Returns whether it has changed anything.
    fn read_failures(&mut self, meter: &Meter, census: Option<&Census>) -> bool {
        let (readings, pause) = passive::read(&self.control, meter);
        let changes = self.control.passive(&readings, Moment::now());
        let changed = !changes.is_empty();
        log_all(changes, &self.control, meter, census);
        self.next_reading = Some(tokio::time::Instant::now() + pause);
        changed
    }

    /// Notices replicas whose answers do not come by here.
    pub(super) fn read_answers(&mut self, meter: &Meter) {
        match answers::read(self.control.config(), meter) {
            Ok(all) => self.control.answers(&all).into_iter().for_each(log),
            // The same counters are read for the passive check, which says so.
            Err(error) => debug!(%error, "answers of replicas were not counted"),
        }
    }

    /// The config is another one, which `control` has taken in.
    pub(super) fn reconfigured(&mut self, config: &Config) {
        self.local_failures.keep(|service, replica| {
            let mut services = config.services.iter().filter(|known| known.name == service);
            let asked = |known: &Replica| known.name == replica && known.admin != Admin::Maint;
            services.any(|known| known.replicas.iter().any(asked))
        });
        if !self.control.informed() {
            self.held_until.get_or_insert_with(|| tokio::time::Instant::now() + HOLD);
        }
    }

    /// Whether the datapath is to wait for the first word about new replicas.
    pub(super) fn holds(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        let holds = self.held_until.is_some_and(|until| now < until) && !self.control.informed();
        if !holds {
            self.held_until = None;
        }
        holds
    }

    /// The longest that the first outcomes of all probes take.
    pub(super) fn first_outcomes(&self) -> Duration {
        let probes = self.control.config().services.iter().map(|service| service.probe.timeout);
        probes.max().unwrap_or_default().saturating_add(first_spread(self.probes.len()))
    }

    /// Takes the next report as it comes; so it is before anything was decided. May be dropped and called again.
    pub(super) async fn settle(&mut self, meter: &Meter) {
        match self.reports.recv().await {
            // Nothing was counted yet.
            Some(report) => drop(self.take_report(report, meter, None)),
            None => pending().await,
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
