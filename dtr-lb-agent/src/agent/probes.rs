//! The probes that run, and how they come to be those of another config: what is asked in the same way goes on untouched.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tokio::sync::mpsc;

use super::AgentError;
use crate::{
    config::{Admin, Config, Mode, Probe, Replica, Service, Verify},
    control::{Control, ReplicaKey},
    datapath::Steering,
    probe::{self, Certainty, Direct, ProbeTask, Prober, Report, Route, Target, TlsConfigs},
};

/// Reports that may wait to be taken.
const BACKLOG: usize = 1024;

/// Whose report it is: a replica's, and from which of its probes. One that has ended may have left reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProbeId {
    key: ReplicaKey,
    run: u64,
}

/// The probes that run.
#[derive(Debug)]
pub(super) struct Probes {
    running: BTreeMap<ReplicaKey, Running>,
    /// How many were ever started.
    runs: u64,
    reports: mpsc::Sender<Report<ProbeId>>,
}

#[derive(Debug)]
struct Running {
    run: u64,
    target: Target,
    task: ProbeTask,
}

/// What makes the probes those of a config.
#[derive(Debug)]
pub(super) struct Plan {
    /// All that are to run then.
    wanted: BTreeSet<ReplicaKey>,
    /// Those that are not running yet, or ask in another way.
    fresh: Vec<(ReplicaKey, Target, Prober)>,
}

/// Whether files that a probe has read, such as its CA, may be others by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    AsTheyWere,
    ReadAgain,
}

impl Probes {
    /// None yet, and where their reports will come.
    pub(super) fn new() -> (Self, mpsc::Receiver<Report<ProbeId>>) {
        let (reports, receiver) = mpsc::channel(BACKLOG);
        (Self { running: BTreeMap::new(), runs: 0, reports }, receiver)
    }

    /// Makes ready for a config and changes nothing yet. Replicas in maintenance are not probed.
    ///
    /// # Errors
    /// [`AgentError::Probe`]
    pub(super) fn plan(&self, config: &Config, files: Files) -> Result<Plan, AgentError> {
        let mut plan = Plan { wanted: BTreeSet::new(), fresh: Vec::new() };
        let mut tls = TlsConfigs::default();
        for service in &config.services {
            let reads_files = service.probe.verify != Verify::No;
            for replica in service.replicas.iter().filter(|replica| replica.admin != Admin::Maint) {
                let key = ReplicaKey::new(service, replica);
                let route = route(config, service, replica.address);
                let target = Target { address: replica.address, probe: probe(service, replica), route };
                let goes_on = self.running.get(&key).is_some_and(|running| running.target == target)
                    && !(reads_files && files == Files::ReadAgain);
                plan.wanted.insert(key.clone());
                if !goes_on {
                    let prober = Prober::sharing(&target, &mut tls)
                        .map_err(|source| AgentError::Probe { service: service.name.clone(), source })?;
                    plan.fresh.push((key, target, prober));
                }
            }
        }
        let targets = plan.fresh.len();
        plan.fresh.iter_mut().for_each(|(_, _, prober)| prober.among(targets));
        Ok(plan)
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Ends what is not wanted any more and starts what is fresh, from what `control` knows of each.
    pub(super) fn carry_out(&mut self, plan: Plan, control: &Control) {
        let Plan { wanted, fresh } = plan;
        self.running.retain(|key, _| wanted.contains(key));
        for (key, target, prober) in fresh {
            self.runs += 1;
            let id = ProbeId { key: key.clone(), run: self.runs };
            let task = probe::spawn(id, prober, control.certainty(&key), self.reports.clone());
            // One that asked in another way ends here.
            self.running.insert(key, Running { run: self.runs, target, task });
        }
    }

    /// Lets a replica's probe know what its reports have come to: it asks at another interval by that. To be called after each report.
    pub(super) fn pace(&self, key: &ReplicaKey, certainty: Certainty) {
        if let Some(running) = self.running.get(key) {
            running.task.pace(certainty);
        }
    }

    /// The report, if it is of a probe that runs.
    pub(super) fn current(&self, report: Report<ProbeId>) -> Option<Report<ReplicaKey>> {
        let Report { id: ProbeId { key, run }, outcome, agent, in_a_row, opposite, late } = report;
        let runs = self.running.get(&key).is_some_and(|running| running.run == run);
        runs.then_some(Report { id: key, outcome, agent, in_a_row, opposite, late })
    }
}

impl Plan {
    /// Says who steers those of the fresh ones that are to be.
    pub(super) fn steer_by(&mut self, steering: &Steering) {
        self.fresh.iter_mut().for_each(|(_, _, prober)| prober.steer_by(steering));
    }
}

/// How a replica is asked: where the config names no host, one that was found by a host name is asked by it, as a client
/// would ask it.
fn probe(service: &Service, replica: &Replica) -> Probe {
    let host = service.probe.host.clone().or_else(|| replica.host_name.clone());
    Probe { host, ..service.probe.clone() }
}

/// What a probe of a service's replica is to prove beside its answer.
fn route(config: &Config, service: &Service, replica: IpAddr) -> Route {
    let vips = service.vips.clone();
    match service.mode {
        Mode::Nat => Route::Plain,
        Mode::Dsr => Route::Direct(Direct { vips, tunnel: None }),
        Mode::Ipip => {
            Route::Direct(Direct { vips, tunnel: Some(config.datapath.tunnel_sources.towards(replica)) })
        }
        Mode::Dnat => Route::FromVips(vips),
    }
}

#[cfg(test)]
mod tests;
