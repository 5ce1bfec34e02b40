//! The report of an unattended run: what was done and seen, who answered, and every failure with its reason.

use std::{collections::BTreeMap, time::Duration};

use dtr_lb_agent::{config::Probe, status::Status};

use super::{
    errand::Errand,
    explain::{Explanation, Failure, Manner, explain},
    seconds,
    timeline::{Phase, Timeline},
};

/// The service that the short requests use.
const SERVICE: &str = "http";
/// The service that the errands use.
const ERRANDS: &str = "https";

/// One short request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Since the beginning of the run.
    pub(super) started: Duration,
    pub(super) took: Duration,
    /// The replica, or what went wrong.
    pub(super) outcome: Result<String, String>,
}

/// Everything that happened.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) replicas: Vec<String>,
    pub(super) length: Duration,
    /// In the order in which they began.
    pub(super) answers: Vec<Answer>,
    pub(super) errands: Vec<Errand>,
    pub(super) timeline: Timeline,
    /// At the end.
    pub(super) status: Status,
    /// By the services' names.
    pub(super) probes: BTreeMap<String, Probe>,
}

/// The report, and whether all is well.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) text: String,
    /// Every failure is explained, dtr-lb saw everything that was done, and its own count bears out the refusals.
    pub(super) good: bool,
}

impl Report {
    pub(super) fn of(record: &Record) -> Self {
        let failures = failures(record);
        let unexplained =
            failures.iter().filter(|(.., why)| matches!(why, Explanation::Unexplained(_))).count();
        let unseen = unseen(record);
        let failed = record.answers.iter().filter(|answer| answer.outcome.is_err()).count();
        let errands = record.errands.iter().filter(|errand| errand.error.is_some()).count();
        let mut text = [probes(record), events(record), shares(record), times(record), jobs(record)].concat();
        text += &failure_list(&failures);
        let refusals = Refusals::of(record);
        text += &counters(record, &refusals);
        text += &format!(
            "\nresult: {} requests, {failed} failed; {} of {} long transfers done; {} of {} failures unexplained{}{}",
            record.answers.len(),
            record.errands.len() - errands,
            record.errands.len(),
            unexplained,
            failures.len(),
            unseen.iter().map(|what| format!("; dtr-lb did not see that {what}")).collect::<String>(),
            if refusals.add_up() { "" } else { "; clients were refused more often than dtr-lb counted" },
        );
        Self { text, good: unexplained == 0 && unseen.is_empty() && refusals.add_up() }
    }
}

fn probes(record: &Record) -> String {
    let line = |(service, probe): (&String, &Probe)| {
        let Probe { scheme, path, interval, fast_interval, timeout, rise, fall, jitter, .. } = probe;
        format!(
            "  {service}: {scheme} {path}, interval {interval:?}, fast_interval {fast_interval:?}, timeout {timeout:?}, \
             rise {rise}, fall {fall}, jitter {} %\n",
            jitter * 100.0
        )
    };
    format!("probes\n{}", record.probes.iter().map(line).collect::<String>())
}

/// What was done, and when dtr-lb saw it.
fn events(record: &Record) -> String {
    let timeline = &record.timeline;
    let mut text = "\nwhat was done, and when dtr-lb saw it\n".to_owned();
    for event in &timeline.events {
        let seen = |service: &String| match timeline.seen(event, service) {
            Some(seen) => {
                format!("{service} {} after {} ({})", seen.to, seconds(seen.at - event.at), seen.reason)
            }
            None => format!("{service}: not seen"),
        };
        let services: Vec<_> = record.probes.keys().map(seen).collect();
        let what = format!("{} {}", event.replica, event.deed);
        text += &format!("{:>9}  {what:<17}  {}\n", seconds(event.at), services.join(", "));
    }
    for seen in timeline.unprompted() {
        text += &format!(
            "{:>9}  nothing was done, yet dtr-lb saw {} {} ({}) for {}\n",
            seconds(seen.at),
            seen.replica,
            seen.to,
            seen.reason,
            seen.service
        );
    }
    text
}

/// The events that dtr-lb missed, in words.
fn unseen(record: &Record) -> Vec<String> {
    let missed = |event: &&super::timeline::Event| {
        record.probes.keys().any(|service| record.timeline.seen(event, service).is_none())
    };
    let events = record.timeline.events.iter().filter(missed);
    events.map(|event| format!("{} was {} at {}", event.replica, event.deed, seconds(event.at))).collect()
}

/// Requests, failures and each replica's share of the answers, by phase and in all.
fn shares(record: &Record) -> String {
    let mut text = format!("\n{:<43}requests  failed", "who answered");
    record.replicas.iter().for_each(|replica| text += &format!("  {replica:>15}"));
    text.push('\n');
    let whole = Phase { from: Duration::ZERO, to: Duration::MAX, label: "the whole run".to_owned() };
    for phase in record.timeline.phases(record.length).iter().chain([&whole]) {
        let in_phase = |answer: &&Answer| (phase.from..phase.to).contains(&answer.started);
        let answers: Vec<_> = record.answers.iter().filter(in_phase).collect();
        let by =
            |replica: &String| answers.iter().filter(|answer| answer.outcome.as_ref() == Ok(replica)).count();
        let failed = answers.iter().filter(|answer| answer.outcome.is_err()).count();
        let answered = (answers.len() - failed).max(1);
        let span = format!("{:>9} - {:>9}", seconds(phase.from), seconds(phase.to.min(record.length)));
        text += &format!("{span}  {:<20}{:>8}  {failed:>6}", phase.label, answers.len());
        for count in record.replicas.iter().map(by) {
            let share = format!("{count} ({:.1} %)", 100.0 * count as f64 / answered as f64);
            text += &format!("  {share:>15}");
        }
        text.push('\n');
    }
    text
}

/// How long the requests took that were answered.
fn times(record: &Record) -> String {
    let mut good: Vec<_> = record.answers.iter().filter(|answer| answer.outcome.is_ok()).collect();
    good.sort_by_key(|answer| answer.took);
    let Some(slowest) = good.last() else { return "\nno request was answered\n".to_owned() };
    let at = |percent: usize| {
        format!("{:.1} ms", good[(good.len() - 1) * percent / 100].took.as_secs_f64() * 1000.0)
    };
    format!(
        "\nanswered within: half {}, 99 % {}; the slowest {:.1} ms, begun at {}, by {}\n",
        at(50),
        at(99),
        slowest.took.as_secs_f64() * 1000.0,
        seconds(slowest.started),
        slowest.outcome.as_deref().unwrap_or_default()
    )
}

fn jobs(record: &Record) -> String {
    let line = |errand: &Errand| {
        let Errand { what, started, ended, single: _, replica, error } = errand;
        let by = replica.as_ref().map(|replica| format!(", from {replica}")).unwrap_or_default();
        let how = error.as_ref().map_or_else(|| "done".to_owned(), |error| format!("FAILED: {error}"));
        format!("  {what}, {} - {}{by}: {how}\n", seconds(*started), seconds(*ended))
    };
    format!("\nlong transfers\n{}", record.errands.iter().map(line).collect::<String>())
}

/// All failures in order of time: what failed, and why.
fn failures(record: &Record) -> Vec<(String, Failure, Explanation)> {
    let requests = record.answers.iter().filter_map(|answer| {
        let failure = Failure {
            service: SERVICE.to_owned(),
            started: answer.started,
            ended: answer.started + answer.took,
            single: true,
            replica: None,
            error: answer.outcome.as_ref().err()?.clone(),
        };
        Some(("request".to_owned(), failure))
    });
    let errands = record.errands.iter().filter_map(|errand| {
        let Errand { what, started, ended, single, replica, error } = errand.clone();
        Some((what, Failure { service: ERRANDS.to_owned(), started, ended, single, replica, error: error? }))
    });
    let mut all: Vec<_> = requests.chain(errands).collect();
    all.sort_by_key(|(_, failure)| failure.ended);
    let explained = |(what, failure): (String, Failure)| {
        let fall = record.probes.get(&failure.service).map_or(0, |probe| probe.fall);
        let why = explain(&failure, &record.timeline, fall);
        (what, failure, why)
    };
    all.into_iter().map(explained).collect()
}

fn failure_list(failures: &[(String, Failure, Explanation)]) -> String {
    let mut text = if failures.is_empty() { "\nfailures: none\n" } else { "\nfailures\n" }.to_owned();
    for (what, failure, why) in failures {
        let why = match why {
            Explanation::Explained(why) => why.clone(),
            Explanation::Unexplained(why) => format!("UNEXPLAINED: {why}"),
        };
        text += &format!(
            "{:>9}  {what}, after {:.1} ms: {}\n           {why}\n",
            seconds(failure.started),
            (failure.ended - failure.started).as_secs_f64() * 1000.0,
            failure.error
        );
    }
    text
}

/// Refused connections of the short requests' service, as both sides counted them.
struct Refusals {
    /// By the replicas' names, those that refused any.
    counted: BTreeMap<String, u64>,
    met: u64,
}

impl Refusals {
    fn of(record: &Record) -> Self {
        let services = record.status.services.iter().filter(|service| service.name == SERVICE);
        let replicas = services.flat_map(|service| &service.replicas).filter(|replica| replica.refused > 0);
        let refused =
            |answer: &&Answer| matches!(&answer.outcome, Err(error) if Manner::of(error) == Manner::Refused);
        Self {
            counted: replicas.map(|replica| (replica.name.clone(), replica.refused)).collect(),
            met: record.answers.iter().filter(refused).count() as u64,
        }
    }

    /// Whether each refusal that a client met is one that dtr-lb saw a replica make.
    fn add_up(&self) -> bool {
        self.met <= self.counted.values().sum()
    }
}

/// dtr-lb's own counters: verdicts, and refusals beside those that the clients met.
fn counters(record: &Record, refusals: &Refusals) -> String {
    let verdicts: Vec<_> = record
        .status
        .verdicts
        .iter()
        .filter(|(_, packets)| **packets > 0)
        .map(|(name, packets)| format!("{name} {packets}"))
        .collect();
    let counted: Vec<_> =
        refusals.counted.iter().map(|(replica, count)| format!("{count} by {replica}")).collect();
    format!(
        "\npackets by verdict: {}\nrefused connections of {SERVICE}: dtr-lb counted {}, clients met {}\n",
        if verdicts.is_empty() { "none".to_owned() } else { verdicts.join(", ") },
        if counted.is_empty() { "none".to_owned() } else { counted.join(", ") },
        refusals.met
    )
}

#[cfg(test)]
mod tests;
