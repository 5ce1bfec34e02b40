//! What a replica's machine lets others know.

use std::{net::IpAddr, time::Instant};

use super::{AgentCheck, Condition, ReplicaHealth, ReplicaMachine, Silence};
use crate::{config::Replica, control::Answers, probe::Certainty};

impl ReplicaMachine {
    /// The config that it obeys.
    pub(in crate::control) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What tells it from the service's others.
    pub(in crate::control) fn end(&self) -> (IpAddr, u16) {
        (self.replica.address, self.replica.port)
    }

    pub(in crate::control) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// What its probes make of it, be they believed or not.
    pub(in crate::control) fn health(&self) -> ReplicaHealth {
        self.probes.health()
    }

    /// How sure that is.
    pub(in crate::control) fn certainty(&self) -> Certainty {
        self.probes.certainty()
    }

    /// What it is taken for by its probes.
    pub(in crate::control) fn judged(&self) -> ReplicaHealth {
        match self.probes.health() {
            ReplicaHealth::Down if self.held => self.silence.before(),
            health => health,
        }
    }

    pub(in crate::control) fn silence(&self) -> &Silence {
        &self.silence
    }

    pub(in crate::control) fn held(&self) -> bool {
        self.held
    }

    pub(in crate::control) fn ejected(&self) -> bool {
        self.ejection.is_some()
    }

    pub(in crate::control) fn agent_check(&self) -> &AgentCheck {
        &self.agent
    }

    /// What the datapath had counted as unanswered at the last reading.
    pub(in crate::control) fn unanswered(&self) -> Option<u64> {
        self.failures.unanswered()
    }

    /// Whether its answers go past this balancer.
    pub(in crate::control) fn answers_past(&self) -> bool {
        self.answers.past()
    }

    /// Takes in where its answers go. Returns what is news.
    pub(in crate::control) fn answered(&mut self, answers: &Answers) -> Option<bool> {
        self.answers.read(answers)
    }

    /// Whether probes, weight, operator and its agent let it have new flows, whatever the passive check says.
    pub(in crate::control) fn eligible(&self) -> bool {
        self.judged() == ReplicaHealth::Up && !self.agent.unfit() && self.offered() > 0
    }

    /// The weight that it has for new flows: what the operator offers, as far as it wants that.
    pub(in crate::control) fn offered(&self) -> u16 {
        self.agent.weight(self.replica.offered())
    }

    /// Its part of new flows while it is up.
    pub(in crate::control) fn share(&self, now: Instant) -> u16 {
        self.ramp.map_or(self.offered(), |ramp| ramp.share(self.offered(), now))
    }
}
