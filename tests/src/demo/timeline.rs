//! What was done and what dtr-lb saw of it, on one clock: the time since the beginning of the run.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::sighting::Sighting;

/// What was done to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Sickened,
    Healed,
    Killed,
    Started,
}

impl Deed {
    /// The state that dtr-lb is to find the replica in.
    pub(super) fn leads_to(self) -> &'static str {
        match self {
            Self::Sickened | Self::Killed => "down",
            Self::Healed | Self::Started => "up",
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sickened => "turned sick",
            Self::Healed => "healed",
            Self::Killed => "killed",
            Self::Started => "started again",
        })
    }
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// When it was begun.
    pub(super) at: Duration,
    /// When it was complete: every process gone, or every server accepting connections.
    pub(super) done: Duration,
    pub(super) replica: String,
    pub(super) deed: Deed,
}

/// A time in which a replica was dead, from one service's point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outage<'a> {
    pub(super) replica: &'a str,
    /// From the first signal to the replica's processes …
    pub(super) killed: Duration,
    /// … until all were gone.
    pub(super) dead: Duration,
    /// When dtr-lb called it down. `None`: never before it was back.
    pub(super) out: Option<Duration>,
    /// When it served again. `None`: not in this run.
    pub(super) back: Option<Duration>,
}

/// A part of the run in which nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) from: Duration,
    /// Exclusive.
    pub(super) to: Duration,
    /// How the replicas were: `all well`, `r1 sick`.
    pub(super) label: String,
}

/// Both, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timeline {
    pub(super) events: Vec<Event>,
    pub(super) sightings: Vec<Sighting>,
}

impl Timeline {
    /// When dtr-lb found the replica of `event` in the state that the event leads to, if it did before the next
    /// thing was done to that replica.
    pub(super) fn seen<'a>(&'a self, event: &'a Event, service: &str) -> Option<&'a Sighting> {
        let until = self.next_event(event).map(|next| next.at);
        self.sightings
            .iter()
            .filter(|seen| seen.service == service && seen.replica == event.replica)
            .filter(|seen| seen.at >= event.at && until.is_none_or(|until| seen.at < until))
            .find(|seen| seen.to == event.deed.leads_to())
    }

    fn next_event(&self, event: &Event) -> Option<&Event> {
        self.events.iter().find(|next| next.replica == event.replica && next.at > event.at)
    }

    /// The changes of state that nothing of what was done accounts for, the first states aside.
    pub(super) fn unprompted(&self) -> impl Iterator<Item = &Sighting> {
        self.sightings.iter().filter(|seen| seen.from != "starting").filter(|seen| {
            !self
                .events
                .iter()
                .any(|event| self.seen(event, &seen.service).is_some_and(|found| found == *seen))
        })
    }

    /// The times in which a replica was dead.
    pub(super) fn outages(&self, service: &str) -> impl Iterator<Item = Outage<'_>> {
        self.events.iter().filter(|event| event.deed == Deed::Killed).map(move |event| Outage {
            replica: &event.replica,
            killed: event.at,
            dead: event.done,
            out: self.seen(event, service).map(|seen| seen.at),
            back: self.next_event(event).map(|next| next.done),
        })
    }

    /// The last thing that was done before `time`.
    pub(super) fn last_before(&self, time: Duration) -> Option<&Event> {
        self.events.iter().rev().find(|event| event.at <= time)
    }

    /// What dtr-lb took each replica for at `time`.
    pub(super) fn states(&self, service: &str, time: Duration) -> BTreeMap<&str, &str> {
        let mut states = BTreeMap::new();
        for seen in self.sightings.iter().filter(|seen| seen.service == service) {
            if seen.at <= time {
                states.insert(seen.replica.as_str(), seen.to.as_str());
            } else {
                states.entry(seen.replica.as_str()).or_insert(seen.from.as_str());
            }
        }
        states
    }

    /// The run cut at every event.
    pub(super) fn phases(&self, length: Duration) -> Vec<Phase> {
        let mut troubles = BTreeMap::new();
        let mut phases = Vec::new();
        let mut from = Duration::ZERO;
        let end = |from, to, troubles: &BTreeMap<_, _>| Phase { from, to, label: label(troubles) };
        for event in &self.events {
            phases.push(end(from, event.at, &troubles));
            from = event.at;
            match event.deed {
                Deed::Sickened => troubles.insert(event.replica.as_str(), "sick"),
                Deed::Killed => troubles.insert(event.replica.as_str(), "dead"),
                Deed::Healed | Deed::Started => troubles.remove(event.replica.as_str()),
            };
        }
        phases.push(end(from, length.max(from), &troubles));
        phases
    }
}

fn label(troubles: &BTreeMap<&str, &str>) -> String {
    let named: Vec<_> = troubles.iter().map(|(replica, trouble)| format!("{replica} {trouble}")).collect();
    if named.is_empty() { "all well".to_owned() } else { named.join(", ") }
}
