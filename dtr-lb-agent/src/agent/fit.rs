//! Asks what would fit where all replicas of a service fail their probes in the same way; [`crate::fit`] says what to ask.
//!
//! One replica is asked, once for a service and a health check, and again only after [`AGAIN`]. What was found stays until
//! the failures are others or end.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};
use tracing::warn;

use crate::{
    config::{Admin, Probe, Scheme, Service},
    control::{Condition, Control, ReplicaState},
    fit::{self, Symptom},
    probe::{Prober, Route, Target},
};

/// From one round of questions about a service to the next.
const AGAIN: Duration = Duration::from_secs(10 * 60);
/// The longest that a replica is waited for by one of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was asked and found.
#[derive(Debug)]
pub(super) struct Fits {
    /// By the service's name.
    rounds: BTreeMap<String, Round>,
    found: mpsc::Sender<Found>,
    incoming: mpsc::Receiver<Found>,
}

#[derive(Debug)]
struct Round {
    probe: Probe,
    symptom: Symptom,
    begun: Instant,
    hint: Option<String>,
    asking: JoinHandle<()>,
}

impl Drop for Round {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

/// Something answers as a healthy replica would.
#[derive(Debug)]
pub(super) struct Found {
    service: String,
    replica: IpAddr,
    probe: Probe,
    hint: String,
}

impl Default for Fits {
    fn default() -> Self {
        let (found, incoming) = mpsc::channel(16);
        Self { rounds: BTreeMap::new(), found, incoming }
    }
}

impl Fits {
    /// What was found for a service whose replicas still fail so.
    pub(super) fn hint(&self, service: &str) -> Option<String> {
        self.rounds.get(service)?.hint.clone()
    }

    /// The next thing that was found. May be dropped and called again.
    pub(super) async fn news(&mut self) -> Option<Found> {
        self.incoming.recv().await
    }

    /// Takes it in, and tells it, if it still is about what the service's probes ask.
    pub(super) fn take(&mut self, found: Found) {
        let Found { service, replica, probe, hint } = found;
        if let Some(round) = self.rounds.get_mut(&service).filter(|round| round.probe == probe) {
            warn!(service, %replica, hint, "all replicas fail their probes in the same way, and this one answers another question");
            round.hint = Some(hint);
        }
    }

    /// Asks what would fit, where it is time to.
    pub(super) fn look(&mut self, control: &Control) {
        let (config, now) = (control.config(), Instant::now());
        self.rounds.retain(|name, _| config.services.iter().any(|service| service.name == *name));
        for (place, service) in config.services.iter().enumerate() {
            let symptom = symptom(service, control.conditions(place));
            let Some(symptom) = self.wants(service, symptom, now) else { continue };
            let Some(replica) = service.replicas.iter().find(|replica| replica.admin != Admin::Maint) else {
                continue;
            };
            let host = service.probe.host.clone().or_else(|| replica.host_name.clone());
            self.ask(service, symptom, replica.address, host, now);
        }
    }

    /// Whether to ask now, as all replicas of a service fail by this symptom, or none does (`None`).
    fn wants(&mut self, service: &Service, symptom: Option<Symptom>, now: Instant) -> Option<Symptom> {
        let known = self.rounds.get(&service.name);
        let same = known.is_some_and(|round| round.probe == service.probe);
        let Some(symptom) = symptom else {
            // They fail otherwise, or no more. When it was asked is kept.
            match self.rounds.get_mut(&service.name) {
                Some(round) if same => round.hint = None,
                Some(_) | None => drop(self.rounds.remove(&service.name)),
            }
            return None;
        };
        if let Some(round) = self.rounds.get_mut(&service.name).filter(|round| round.symptom != symptom) {
            round.hint = None;
        }
        let known = self.rounds.get(&service.name);
        let recent = known.is_some_and(|round| now.duration_since(round.begun) < AGAIN);
        (!same || !recent).then_some(symptom)
    }

    fn ask(
        &mut self,
        service: &Service,
        symptom: Symptom,
        replica: IpAddr,
        host: Option<String>,
        now: Instant,
    ) {
        let probe = Probe { host, ..service.probe.clone() };
        let (name, sink, config) = (service.name.clone(), self.found.clone(), service.probe.clone());
        let asking = tokio::spawn(async move {
            if let Some(hint) = first_that_fits(&probe, symptom, replica).await {
                // Without a receiver the agent is ending.
                drop(sink.send(Found { service: name, replica, probe: config, hint }).await);
            }
        });
        let round = Round { probe: service.probe.clone(), symptom, begun: now, hint: None, asking };
        self.rounds.insert(service.name.clone(), round);
    }
}

/// Asks for one after the other, until one fits.
async fn first_that_fits(probe: &Probe, symptom: Symptom, replica: IpAddr) -> Option<String> {
    for candidate in fit::candidates(probe, symptom) {
        let timeout = candidate.probe.timeout.min(PATIENCE);
        let asked = Probe { timeout, ..candidate.probe.clone() };
        // In the modes in which probes are steered, too: it is a hint, and most servers listen on all addresses.
        let Ok(prober) = Prober::new(&Target { address: replica, probe: asked, route: Route::Plain }) else {
            continue;
        };
        let outcome = prober.probe().await;
        if outcome.ok() {
            return Some(fit::words(probe, symptom, &candidate, &outcome));
        }
    }
    None
}

/// What all replicas of a service fail by, if all that are probed are down.
fn symptom<'a>(service: &Service, conditions: impl Iterator<Item = &'a Condition>) -> Option<Symptom> {
    if !matches!(service.probe.scheme, Scheme::Http | Scheme::Https) {
        return None;
    }
    let probed = service.replicas.iter().zip(conditions).filter(|(replica, _)| replica.admin != Admin::Maint);
    fit::common(probed.map(|(_, condition)| {
        let outcome = condition.last_probe.as_ref().filter(|_| condition.state == ReplicaState::Down)?;
        fit::symptom(service.probe.scheme, outcome)
    }))
}

#[cfg(test)]
mod tests;
