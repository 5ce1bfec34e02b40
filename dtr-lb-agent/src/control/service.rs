//! What is known of one service's replicas, and who of them gets new flows.

use std::{collections::HashMap, time::Instant};

use super::{
    Change, Moment, ReplicaState,
    passive::{Failures, Mark},
    replica::{DRAINED, Known, Return},
};
use crate::{
    config::{Admin, AllDown, Datapath, OnDown, Replica, Service},
    probe::{Outcome, State},
};

/// What is known of a service. Its config comes with each call.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// In the order of the config.
    pub(super) replicas: Vec<Known>,
    /// Whether it was last told to be up; `None` before the first word.
    told_up: Option<bool>,
    /// Until when the passive check is not applied, because it would have left no replica.
    set_aside: Option<Instant>,
}

/// Who gets new flows, and whose flows are reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// In the order of the config.
    pub(super) weights: Vec<u16>,
    /// None is fit to serve, and new flows go to such as are known to be down.
    pub(super) to_down: bool,
}

impl Standing {
    pub(super) fn new(service: &Service, now: jiff::Timestamp) -> Self {
        let replicas = service.replicas.iter().map(|replica| Known::new(replica, now)).collect();
        Self { replicas, told_up: None, set_aside: None }
    }

    /// One of a service that comes to a running agent.
    pub(super) fn added(service: &Service, now: jiff::Timestamp) -> Self {
        let replicas = service.replicas.iter().map(|replica| Known::added(replica, now)).collect();
        Self { replicas, told_up: None, set_aside: None }
    }

    /// What is known of a service whose config was `from` and is `to`: of the replicas that stay, all that was.
    pub(super) fn carried_over(self, from: &Service, to: &Service, now: jiff::Timestamp) -> Self {
        let Self { replicas, told_up, set_aside } = self;
        let end = |replica: &Replica| (replica.address, replica.port);
        let mut before: HashMap<_, _> = from.replicas.iter().map(end).zip(replicas).collect();
        let of = |config: &Replica| before.remove(&end(config)).unwrap_or_else(|| Known::added(config, now));
        Self { replicas: to.replicas.iter().map(of).collect(), told_up, set_aside }
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

    /// Takes in the outcome of a probe, and what the probes make of the replica after it.
    pub(super) fn probed(
        &mut self,
        service: &Service,
        datapath: &Datapath,
        (place, outcome, state): (usize, Outcome, State),
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
        match &outcome.error {
            Some(failure) if failure.is_local() => {}
            Some(failure) => {
                known.silent = if failure.answered() { 0 } else { known.silent.saturating_add(1) };
                known.answers.probe_failed();
            }
            None => {
                known.silent = 0;
                known.failures.answered();
                known.answers.probe_passed();
            }
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
        if state == State::Up && config.offered() == 0 {
            reason.push_str("; ");
            reason.push_str(if config.admin == Admin::Drain { DRAINED } else { "its weight is 0" });
        }
        known.condition.last_probe = Some(outcome);
        let before = std::mem::replace(&mut known.probed, state);
        let was_marked = state != State::Up && known.end_mark();
        match known.restate(config, &reason, Return::Slow, now) {
            Some((from, to)) => changes.push(told(service, config, from, to, reason)),
            // Down all the time: the probes have come to say what the passive check said.
            None if was_marked && before != state => {
                known.condition.reason = Some(reason.clone());
                changes.push(told(service, config, ReplicaState::Down, ReplicaState::Down, reason));
            }
            None => {}
        }
        changes.extend(self.lift_marks_if_none_is_left(service, now));
        changes.extend(self.tell_up(service, datapath.all_down));
        changes.extend(self.tell_resets(service, datapath, now.clock));
        changes
    }

    /// Takes in what the datapath has counted.
    pub(super) fn failed(
        &mut self,
        service: &Service,
        readings: impl IntoIterator<Item = (usize, Failures)>,
        now: Moment,
    ) -> Vec<Change> {
        if service.max_fails == 0 {
            return Vec::new();
        }
        let mut too_many = Vec::new();
        for (place, counted) in readings {
            let (known, config) = (&mut self.replicas[place], &service.replicas[place]);
            let new = known.failures.read(counted);
            if new.count() == 0 {
                continue;
            }
            if let Some(mark) = &mut known.mark {
                mark.refused |= new.refused > 0;
                if mark.refused {
                    mark.good_probes = 0;
                }
            } else if known.eligible(config)
                && let Some(sum) = known.failures.add(new, service.max_fails, service.fail_timeout, now.clock)
            {
                known.failures.clear();
                too_many.push((place, sum));
            }
        }
        let Some((_, last)) = too_many.last() else { return Vec::new() };
        let last = last.describe(service.fail_timeout);
        let until = now.clock + service.fail_timeout;
        let spared = |place: usize| !too_many.iter().any(|(failed, _)| *failed == place);
        let set_aside = self.set_aside.is_some_and(|until| now.clock < until);
        if !set_aside && self.unmarked(service).any(spared) {
            self.set_aside = None;
            return self.take_out(service, too_many, now);
        }
        self.set_aside = Some(until);
        if set_aside {
            return Vec::new();
        }
        let mut changes = vec![Change::PassiveSetAside { service: service.name.clone(), reason: last }];
        changes.extend(self.lift_marks(service, "every other replica fails, too", now));
        changes
    }

    /// Takes out those that have failed too often, but no more than half of those that connections are meant for: what most of them
    /// fail is hardly the fault of each.
    fn take_out(&mut self, service: &Service, too_many: Vec<(usize, Failures)>, now: Moment) -> Vec<Change> {
        let until = now.clock + service.fail_timeout;
        let meant = service.replicas.iter().filter(|replica| replica.offered() > 0).count();
        let mut left =
            (meant / 2).saturating_sub(self.replicas.iter().filter(|known| known.mark.is_some()).count());
        let mut changes = Vec::new();
        for (place, failures) in too_many {
            let reason = failures.describe(service.fail_timeout);
            let Some(rest) = left.checked_sub(1) else {
                let (service, replica) = (service.name.clone(), service.replicas[place].name.clone());
                changes.push(Change::PassiveSpared { service, replica, reason });
                continue;
            };
            left = rest;
            self.replicas[place].mark = Some(Mark { until, good_probes: 0, refused: failures.refused > 0 });
            changes.extend(self.restate(service, place, reason, Return::Slow, now));
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

    /// The share of each replica: that of those that are up. With none up, `all_down` decides: fail-open takes those that
    /// are not known to be bad, if there are any, and else all.
    pub(super) fn shares(&self, service: &Service, all_down: AllDown, now: Instant) -> Shares {
        let take = |share: &dyn Fn(&Known, &Replica) -> u16| -> Option<Vec<u16>> {
            let pairs = self.replicas.iter().zip(&service.replicas);
            let weights: Vec<_> = pairs.map(|(known, config)| share(known, config)).collect();
            weights.iter().any(|weight| *weight > 0).then_some(weights)
        };
        let of_state = |state: ReplicaState, known: &Known, share: u16| {
            if known.condition.state == state { share } else { 0 }
        };
        let up = take(&|known, config| of_state(ReplicaState::Up, known, known.share(config, now)));
        let unjudged = || take(&|known, config| of_state(ReplicaState::Starting, known, config.offered()));
        let all = || take(&|_, config| config.offered());
        let none = || Shares { weights: vec![0; service.replicas.len()], to_down: false };
        match (up, all_down) {
            (Some(weights), _) => Shares { weights, to_down: false },
            (None, AllDown::Refuse) => none(),
            (None, AllDown::FailOpen) => match unjudged() {
                Some(weights) => Shares { weights, to_down: false },
                None => all().map_or_else(none, |weights| Shares { weights, to_down: true }),
            },
        }
    }

    /// Whether the flows of a replica are reset.
    pub(super) fn reset(&self, service: &Service, place: usize, on_down: OnDown, shares: &Shares) -> bool {
        let known = &self.replicas[place];
        // By an operator's word, which is not to be doubted below.
        if service.replicas[place].admin == Admin::Maint {
            return on_down != OnDown::Leave;
        }
        let wanted = match on_down {
            OnDown::Auto => known.dead(service.probe.fall),
            OnDown::Reset => known.probed == State::Down,
            OnDown::Leave => false,
        };
        // Where new flows go to it in the hope that probes are wrong, the old ones may hope, too.
        wanted && !shares.to_down
    }

    /// The places of those that may have new flows by probes, weight and passive check.
    fn unmarked<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = usize> + 'a {
        let pairs = self.replicas.iter().zip(&service.replicas).enumerate();
        pairs
            .filter(|(_, (known, config))| known.eligible(config) && known.mark.is_none())
            .map(|(place, _)| place)
    }

    /// A replica that was taken out by the passive check is better than none.
    fn lift_marks_if_none_is_left(&mut self, service: &Service, now: Moment) -> Vec<Change> {
        if self.unmarked(service).next().is_some() {
            return Vec::new();
        }
        self.lift_marks(service, "no other replica is up", now)
    }

    fn lift_marks(&mut self, service: &Service, why: &str, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for place in 0..self.replicas.len() {
            if self.replicas[place].end_mark() {
                let reason = format!("tried again, as {why}");
                changes.extend(self.restate(service, place, reason, Return::AtOnce, now));
            }
        }
        changes
    }

    fn restate(
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
        let offered = service.replicas.iter().any(|replica| replica.offered() > 0);
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
