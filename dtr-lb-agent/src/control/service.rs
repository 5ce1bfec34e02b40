//! What is known of one service: its replicas' machines, and what they say together.

use std::{collections::HashMap, sync::Arc, time::Instant};

use jiff::Timestamp;

use super::{
    Change, Moment, ReplicaChange, ReplicaState,
    agent_check::{self, AgentCheck},
    machine::{Event, Probed, ReplicaMachine, Settled, Transition},
    rules::Rules,
    suspicion::Suspicion,
};
use crate::config::{AllDown, Datapath, Service};

/// What is known of a service.
#[derive(Clone, Debug)]
pub(super) struct ServiceState {
    /// What its replicas obey.
    pub(super) rules: Arc<Rules>,
    /// In the order of the config.
    pub(super) replicas: Vec<ReplicaMachine>,
    /// Whether it was last notified to be up; `None` before the first word.
    notified_up: Option<bool>,
    /// Until when the passive check is not applied, because it would have left no replica.
    pub(super) set_aside: Option<Instant>,
    /// Why this host doubts its own probes, while it does.
    pub(super) suspicion: Option<Suspicion>,
}

impl ServiceState {
    /// One of an agent that begins.
    pub(super) fn new(service: &Service, now: Timestamp) -> Self {
        Self::with(service, now, ReplicaMachine::new)
    }

    /// One that comes to a running agent.
    pub(super) fn added(service: &Service, now: Timestamp) -> Self {
        Self::with(service, now, ReplicaMachine::added)
    }

    fn with(
        service: &Service,
        now: Timestamp,
        machine: fn(crate::config::Replica, Arc<Rules>, Timestamp) -> ReplicaMachine,
    ) -> Self {
        let rules = Arc::new(Rules::new(service));
        let of = |replica: &_| machine(Clone::clone(replica), Arc::clone(&rules), now);
        let replicas = service.replicas.iter().map(of).collect();
        Self { rules, replicas, notified_up: None, set_aside: None, suspicion: None }
    }

    /// Goes by another config from here on. Of the replicas that stay, all that is known is kept.
    pub(super) fn configure(&mut self, service: &Service, now: Moment) {
        self.rules = Arc::new(Rules::new(service));
        let before = self.replicas.drain(..).map(|machine| (machine.end(), machine));
        let mut before: HashMap<_, _> = before.collect();
        for replica in &service.replicas {
            let (config, rules) = (replica.clone(), Arc::clone(&self.rules));
            self.replicas.push(match before.remove(&(replica.address, replica.port)) {
                Some(mut machine) => {
                    machine.on(Event::Configure { replica: config, rules }, now.clock);
                    machine
                }
                None => ReplicaMachine::added(config, rules, now.time),
            });
        }
    }

    /// What another config has changed, after [`Self::configure`].
    pub(super) fn reconfigured(&mut self, datapath: &Datapath, now: Moment) -> Vec<Change> {
        self.readmit_if_none_is_left(now);
        self.settle(None, datapath, now)
    }

    /// Takes in what a probe of the replica at this place has found.
    pub(super) fn probed(
        &mut self,
        place: usize,
        probed: Probed,
        datapath: &Datapath,
        now: Moment,
    ) -> Vec<Change> {
        let machine = &mut self.replicas[place];
        let news = machine.on(Event::Probed(probed), now.clock);
        let (service, replica) = (&self.rules.service, &machine.replica().name);
        let probing = news.probing.map(|failure| Change::Probing {
            service: service.clone(),
            replica: replica.clone(),
            failure,
        });
        let mut changes: Vec<_> = probing.into_iter().collect();
        changes.extend(of_agent(service, replica, machine.agent_check(), news.agent));
        changes.extend(self.doubt(now));
        self.readmit_if_none_is_left(now);
        changes.extend(self.settle(Some(place), datapath, now));
        changes
    }

    /// Ends what is over at `now`.
    pub(super) fn tick(&mut self, datapath: &Datapath, now: Moment) -> Vec<Change> {
        for machine in &mut self.replicas {
            machine.on(Event::Tick, now.clock);
        }
        self.settle(None, datapath, now)
    }

    /// When something is due though nobody says so.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.replicas.iter().filter_map(|machine| machine.next_deadline(now)).min()
    }

    /// Brings all states into line with what is known, that of the replica at place `first` before the others': theirs may follow
    /// from it. Returns what has changed, each once.
    pub(super) fn settle(&mut self, first: Option<usize>, datapath: &Datapath, now: Moment) -> Vec<Change> {
        let others = (0..self.replicas.len()).filter(|place| Some(*place) != first);
        let order: Vec<_> = first.into_iter().chain(others).collect();
        let settled: Vec<_> =
            order.into_iter().map(|place| (place, self.replicas[place].settle(now))).collect();
        let replicas_left = self.count(ReplicaState::Up);
        let shares = self.shares(datapath.all_down, now.clock);
        let (mut changes, mut resets) = (Vec::new(), Vec::new());
        for (place, settled) in settled {
            let machine = &mut self.replicas[place];
            let reset = shares.reset(machine, datapath.on_down);
            let was_reset = std::mem::replace(&mut machine.notified_reset, reset);
            let machine = &self.replicas[place];
            match settled {
                Settled::Changed(transition) => {
                    changes.push(self.changed(machine, transition, replicas_left, reset, now));
                    continue;
                }
                Settled::Confirmed { reason } => changes.push(Change::Confirmed {
                    service: self.rules.service.clone(),
                    replica: machine.replica().name.clone(),
                    reason,
                }),
                Settled::Unchanged => {}
            }
            if reset != was_reset {
                resets.push(self.resets(machine, reset));
            }
        }
        changes.extend(self.up_or_down(datapath.all_down));
        changes.extend(resets);
        changes
    }

    /// All that there is to tell of a change of state.
    fn changed(
        &self,
        machine: &ReplicaMachine,
        transition: Transition,
        replicas_left: usize,
        reset: bool,
        now: Moment,
    ) -> Change {
        let Transition { from, to, cause, reason, since, evidence } = transition;
        let (address, port) = machine.end();
        Change::Replica(ReplicaChange {
            service: self.rules.service.clone(),
            replica: machine.replica().name.clone(),
            address,
            port,
            from,
            to,
            cause,
            reason,
            // The clock may have been set back meanwhile.
            after: now.time.duration_since(since).try_into().unwrap_or_default(),
            replicas_left,
            reset,
            evidence,
        })
    }

    /// The same of connections that are reset from now on, or no longer, in a state that stays.
    fn resets(&self, machine: &ReplicaMachine, reset: bool) -> Change {
        let (address, port) = machine.end();
        Change::Resets {
            service: self.rules.service.clone(),
            replica: machine.replica().name.clone(),
            address,
            port,
            reset,
            reason: machine.condition().reason.clone().unwrap_or_default(),
        }
    }

    fn count(&self, state: ReplicaState) -> usize {
        self.replicas.iter().filter(|machine| machine.condition().state == state).count()
    }

    /// What there is to tell of the service as a whole. While none is up and one is still starting there is nothing,
    /// unless it was up before.
    fn up_or_down(&mut self, all_down: AllDown) -> Option<Change> {
        let up = self.count(ReplicaState::Up) > 0;
        let certain = up || self.notified_up.is_some() || self.count(ReplicaState::Starting) == 0;
        if self.notified_up == Some(up) || !certain {
            return None;
        }
        self.notified_up = Some(up);
        let offered = self.replicas.iter().any(|machine| machine.offered() > 0);
        let consequence = match (up, all_down) {
            (true, _) => "new connections go to replicas that are up",
            (false, AllDown::Refuse) => "new connections are refused (all_down = \"refuse\")",
            (false, AllDown::FailOpen) if self.replicas.is_empty() => {
                "new connections are refused: there is no replica"
            }
            (false, AllDown::FailOpen) if !offered => {
                "new connections are refused: all weights are 0, or all replicas are drained or in maintenance"
            }
            (false, AllDown::FailOpen) => "new connections go to all replicas (all_down = \"fail-open\")",
        };
        Some(Change::Service { service: self.rules.service.clone(), up, consequence })
    }
}

/// What there is to tell of an answer of a replica's agent.
fn of_agent(
    service: &str,
    replica: &str,
    agent: &AgentCheck,
    news: agent_check::News,
) -> impl Iterator<Item = Change> + use<> {
    let (service, replica) = (service.to_owned(), replica.to_owned());
    let failed = news.failure.then(|| Change::AgentCheckFailed {
        service: service.clone(),
        replica: replica.clone(),
        failure: agent.failure().map(str::to_owned),
    });
    let says = agent.says().filter(|_| news.word).map(|says| Change::AgentCheck { service, replica, says });
    failed.into_iter().chain(says)
}
