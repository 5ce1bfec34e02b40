//! What is known of one service's replicas, and how it changes by probes, time and config.

use std::{collections::HashMap, time::Instant};

use super::{
    Change, Moment, ReplicaState,
    own_word::{News, OwnWord},
    replica::{Known, Return},
    suspicion::{Circumstances, Suspicion},
};
use crate::{
    config::{Admin, AllDown, Datapath, Replica, Service},
    probe::{AgentFailure, AgentWord, Outcome, State},
};

/// What is known of a service. Its config comes with each call.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// In the order of the config.
    pub(super) replicas: Vec<Known>,
    /// Whether it was last told to be up; `None` before the first word.
    told_up: Option<bool>,
    /// Until when the passive check is not applied, because it would have left no replica.
    pub(super) set_aside: Option<Instant>,
    /// Why this host doubts its own probes, while it does.
    pub(super) suspicion: Option<Suspicion>,
}

/// What was found of the replica at this place.
pub(super) struct Probed {
    pub(super) place: usize,
    pub(super) outcome: Outcome,
    /// What its agent said, if it was heard or is known not to have been.
    pub(super) agent: Option<Result<AgentWord, AgentFailure>>,
    /// What the probes make of the replica after it.
    pub(super) state: State,
}

impl Standing {
    pub(super) fn new(service: &Service, now: jiff::Timestamp) -> Self {
        let replicas = service.replicas.iter().map(|replica| Known::new(replica, now)).collect();
        Self { replicas, told_up: None, set_aside: None, suspicion: None }
    }

    /// One of a service that comes to a running agent.
    pub(super) fn added(service: &Service, now: jiff::Timestamp) -> Self {
        let replicas = service.replicas.iter().map(|replica| Known::added(replica, now)).collect();
        Self { replicas, told_up: None, set_aside: None, suspicion: None }
    }

    /// What is known of a service whose config was `from` and is `to`: of the replicas that stay, all that was.
    pub(super) fn carried_over(self, from: &Service, to: &Service, now: jiff::Timestamp) -> Self {
        let Self { replicas, told_up, set_aside, suspicion } = self;
        let end = |replica: &Replica| (replica.address, replica.port);
        let mut before: HashMap<_, _> = from.replicas.iter().map(end).zip(replicas).collect();
        let of = |config: &Replica| before.remove(&end(config)).unwrap_or_else(|| Known::added(config, now));
        Self { replicas: to.replicas.iter().map(of).collect(), told_up, set_aside, suspicion }
    }

    /// Brings states into line with a config that was `from` (`None`: there was none), after [`Self::carried_over`].
    pub(super) fn reconfigured(
        &mut self,
        from: Option<&Service>,
        service: &Service,
        datapath: &Datapath,
        now: Moment,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (known, to) in self.replicas.iter_mut().zip(&service.replicas) {
            let same = |before: &&Replica| (before.address, before.port) == (to.address, to.port);
            let Some(before) = from.and_then(|from| from.replicas.iter().find(same)) else { continue };
            if service.probe.agent_port.is_none() {
                known.own = OwnWord::NONE;
            }
            if let Some((from, to_state, reason)) = known.reconfigured(before, to, now) {
                changes.push(told(service, to, from, to_state, reason));
            }
        }
        if service.max_fails == 0 {
            changes.extend(self.lift_marks(service, "the passive check is turned off", now));
        }
        changes.extend(self.lift_marks_if_none_is_left(service, now));
        changes.extend(self.tell_up(service, datapath.all_down));
        changes.extend(self.tell_resets(service, datapath, now.clock));
        changes
    }

    /// Takes in what a probe has found.
    pub(super) fn probed(
        &mut self,
        service: &Service,
        datapath: &Datapath,
        Probed { place, outcome, agent, state }: Probed,
        circumstances: Circumstances,
        now: Moment,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let (known, config) = (&mut self.replicas[place], &service.replicas[place]);
        let failure = local_failure(&outcome);
        if failure.is_some() != known.condition.last_probe.as_ref().and_then(local_failure).is_some() {
            let (service, replica) = (service.name.clone(), config.name.clone());
            changes.push(Change::Probing { service, replica, failure });
        }
        let mut reason = reason(&outcome);
        let judged = known.judged();
        known.silence.take(&service.probe, (&outcome, circumstances), judged, now.clock);
        match &outcome.error {
            Some(failure) if failure.is_local() => {}
            Some(_) => known.answers.probe_failed(),
            None => known.answers.probe_passed(),
        }
        if outcome.ok() {
            known.failures.answered();
        }
        if let Some(mark) = &mut known.mark {
            match &outcome.error {
                None => mark.good_probes += 1,
                Some(failure) if failure.is_local() => {}
                Some(_) => mark.good_probes = 0,
            }
            let enough = if mark.refused { service.probe.rise } else { 1 };
            if mark.good_probes >= enough {
                reason = format!("{reason}, {} since the passive check took it out", times(mark.good_probes));
                known.end_mark();
            }
        }
        if let Some(answer) = agent {
            let news = known.own.take(answer);
            let (service, replica) = (&service.name, &config.name);
            changes.extend(own_word(service, replica, &known.own, news));
            if outcome.ok()
                && news.word
                && let Some(says) = known.own.says()
            {
                reason = format!("{reason}; its agent says {says}");
            }
        }
        if state == State::Up
            && let Some(why) = known.declined(config).filter(|why| !reason.contains(why))
        {
            reason = format!("{reason}; {why}");
        }
        known.condition.last_probe = Some(outcome);
        known.probed = state;
        changes.extend(self.doubt(service, now));
        let known = &mut self.replicas[place];
        let was_marked = known.judged() != State::Up && known.end_mark();
        match known.restate(config, &reason, Return::Slow, now) {
            Some((from, to)) => changes.push(told(service, config, from, to, reason)),
            // Down all the time: the probes have come to say what the passive check said.
            None if was_marked && judged != known.judged() => {
                known.condition.reason = Some(reason.clone());
                changes.push(told(service, config, ReplicaState::Down, ReplicaState::Down, reason));
            }
            None => {}
        }
        changes.extend(self.restate_others(service, place, now));
        changes.extend(self.lift_marks_if_none_is_left(service, now));
        changes.extend(self.tell_up(service, datapath.all_down));
        changes.extend(self.tell_resets(service, datapath, now.clock));
        changes
    }

    /// A probe of one replica may say of the others that they are held, or no longer.
    fn restate_others(&mut self, service: &Service, place: usize, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for other in (0..self.replicas.len()).filter(|other| *other != place) {
            let known = &self.replicas[other];
            let reason = match (&self.suspicion, &known.condition.last_probe) {
                (Some(suspicion), _) if known.held => suspicion.reason.clone(),
                (_, Some(outcome)) => reason(outcome),
                (_, None) => continue,
            };
            changes.extend(self.restate(service, other, reason, Return::AtOnce, now));
        }
        changes
    }

    /// Ends what is over at `now`.
    pub(super) fn tick(&mut self, service: &Service, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for place in 0..self.replicas.len() {
            let known = &mut self.replicas[place];
            if known.ramp.is_some_and(|ramp| ramp.next(now.clock).is_none()) {
                known.ramp = None;
            }
            if known.mark.as_ref().is_some_and(|mark| mark.until <= now.clock) && known.end_mark() {
                let reason = "tried again after fail_timeout".to_owned();
                changes.extend(self.restate(service, place, reason, Return::Slow, now));
            }
        }
        changes
    }

    /// When something is due without anybody's word.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let of = |known: &Known| {
            let ramp = known.ramp.map(|ramp| ramp.next(now).unwrap_or(now));
            ramp.into_iter().chain(known.mark.as_ref().map(|mark| mark.until)).min()
        };
        self.replicas.iter().filter_map(of).min()
    }

    pub(super) fn restate(
        &mut self,
        service: &Service,
        place: usize,
        reason: String,
        way: Return,
        now: Moment,
    ) -> Option<Change> {
        let config = &service.replicas[place];
        let (from, to) = self.replicas[place].restate(config, &reason, way, now)?;
        Some(told(service, config, from, to, reason))
    }

    /// The replicas whose flows have come to be reset, or no longer are.
    fn tell_resets(&mut self, service: &Service, datapath: &Datapath, now: Instant) -> Vec<Change> {
        let shares = self.shares(service, datapath.all_down, now);
        let mut changes = Vec::new();
        for (place, config) in service.replicas.iter().enumerate() {
            let reset = self.reset(service, place, datapath.on_down, &shares);
            if std::mem::replace(&mut self.replicas[place].told_reset, reset) != reset {
                let (service, replica) = (service.name.clone(), config.name.clone());
                let maint = config.admin == Admin::Maint;
                changes.push(Change::Resets { service, replica, reset, maint });
            }
        }
        changes
    }

    /// What there is to tell of the service as a whole. While none is up and one is still starting there is nothing,
    /// unless it was up before.
    fn tell_up(&mut self, service: &Service, all_down: AllDown) -> Option<Change> {
        let any = |state| self.replicas.iter().any(|known| known.condition.state == state);
        let up = any(ReplicaState::Up);
        if self.told_up == Some(up) || !(up || self.told_up.is_some() || !any(ReplicaState::Starting)) {
            return None;
        }
        self.told_up = Some(up);
        let mut all = self.replicas.iter().zip(&service.replicas);
        let offered = all.any(|(known, config)| known.offered(config) > 0);
        let consequence = match (up, all_down) {
            (true, _) => "new connections go to replicas that are up",
            (false, AllDown::Refuse) => "new connections are refused (all_down = \"refuse\")",
            (false, AllDown::FailOpen) if service.replicas.is_empty() => {
                "new connections are refused: there is no replica"
            }
            (false, AllDown::FailOpen) if !offered => {
                "new connections are refused: all weights are 0, or all replicas are drained or in maintenance"
            }
            (false, AllDown::FailOpen) => "new connections go to all replicas (all_down = \"fail-open\")",
        };
        Some(Change::Service { service: service.name.clone(), up, consequence })
    }
}

/// What there is to tell of an answer of a replica's agent.
fn own_word(service: &str, replica: &str, own: &OwnWord, news: News) -> impl Iterator<Item = Change> {
    let (service, replica) = (service.to_owned(), replica.to_owned());
    let failed = news.failure.then(|| Change::OwnWordFailed {
        service: service.clone(),
        replica: replica.clone(),
        failure: own.failure().map(str::to_owned),
    });
    let says = own.says().filter(|_| news.word).map(|says| Change::OwnWord { service, replica, says });
    failed.into_iter().chain(says)
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn told(
    service: &Service,
    replica: &Replica,
    from: ReplicaState,
    to: ReplicaState,
    reason: String,
) -> Change {
    Change::Replica {
        service: service.name.clone(),
        replica: replica.name.clone(),
        address: replica.address,
        port: replica.port,
        from,
        to,
        reason,
    }
}

/// Why this host itself could not ask, if that is what happened.
fn local_failure(outcome: &Outcome) -> Option<String> {
    outcome.error.as_ref().filter(|failure| failure.is_local()).map(ToString::to_string)
}

fn reason(outcome: &Outcome) -> String {
    match (&outcome.error, outcome.status) {
        (Some(failure), _) => failure.to_string(),
        (None, Some(status)) => format!("status {status}"),
        (None, None) => "it answers".into(),
    }
}
