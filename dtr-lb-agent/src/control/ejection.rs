//! The passive check of a service: whom it takes out for what they fail, and who comes back. It never takes the last one, and no more
//! than half.

use super::{
    Change, Moment,
    passive::{Evidence, Mark, Reading},
    replica::Return,
    service::Standing,
};
use crate::config::Service;

impl Standing {
    /// Takes in what the datapath has counted.
    pub(super) fn failed<'a>(
        &mut self,
        service: &Service,
        readings: impl IntoIterator<Item = &'a Reading>,
        now: Moment,
    ) -> Vec<Change> {
        if service.max_fails == 0 {
            return Vec::new();
        }
        let mut too_many = Vec::new();
        for reading in readings {
            let place = reading.place.replica;
            let (known, config) = (&mut self.replicas[place], &service.replicas[place]);
            let new = known.failures.read(reading);
            if new.failures.count() == 0 {
                continue;
            }
            if let Some(mark) = &mut known.mark {
                mark.refused |= new.failures.refused > 0;
                if mark.refused {
                    mark.good_probes = 0;
                }
            } else if known.eligible(config)
                && let Some(evidence) =
                    known.failures.add(new, service.max_fails, service.fail_timeout, now.clock)
            {
                known.failures.clear();
                too_many.push((place, evidence));
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
    fn take_out(&mut self, service: &Service, too_many: Vec<(usize, Evidence)>, now: Moment) -> Vec<Change> {
        let until = now.clock + service.fail_timeout;
        // Backups are there for when nobody else is, and do not make up for those who are.
        let serving = |place: usize| self.serves_now(service, place);
        let meant = (0..self.replicas.len()).filter(|place| serving(*place)).count();
        let marked =
            (0..self.replicas.len()).filter(|place| serving(*place) && self.replicas[*place].mark.is_some());
        // One alone may go where others stand in for it: then somebody serves.
        let half = if meant == 1 { usize::from(self.unmarked(service).count() > 1) } else { meant / 2 };
        let mut left = half.saturating_sub(marked.count());
        let mut changes = Vec::new();
        for (place, evidence) in too_many {
            let reason = evidence.describe(service.fail_timeout);
            let Some(rest) = left.checked_sub(1) else {
                let known = &mut self.replicas[place];
                // Told once, for as long as it would have been out.
                if known.spared_until.is_none_or(|told| now.clock >= told) {
                    known.spared_until = Some(until);
                    let (service, replica) = (service.name.clone(), service.replicas[place].name.clone());
                    changes.push(Change::PassiveSpared { service, replica, reason });
                }
                continue;
            };
            left = rest;
            self.replicas[place].mark =
                Some(Mark { until, good_probes: 0, refused: evidence.failures.refused > 0 });
            changes.extend(self.restate(service, place, reason, Return::Slow, now));
        }
        changes
    }

    /// Whether a replica is of those that connections are meant for now: not a backup, unless only backups are eligible.
    fn serves_now(&self, service: &Service, place: usize) -> bool {
        let eligible = |place: usize| self.replicas[place].eligible(&service.replicas[place]);
        let primaries =
            (0..self.replicas.len()).any(|place| eligible(place) && !service.replicas[place].backup);
        eligible(place) && service.replicas[place].backup != primaries
    }

    /// The places of those that may have new flows by probes, weight and passive check.
    fn unmarked<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = usize> + 'a {
        let pairs = self.replicas.iter().zip(&service.replicas).enumerate();
        pairs
            .filter(|(_, (known, config))| known.eligible(config) && known.mark.is_none())
            .map(|(place, _)| place)
    }

    /// A replica that was taken out by the passive check is better than none.
    pub(super) fn lift_marks_if_none_is_left(&mut self, service: &Service, now: Moment) -> Vec<Change> {
        if self.unmarked(service).next().is_some() {
            return Vec::new();
        }
        self.lift_marks(service, "no other replica is up", now)
    }

    pub(super) fn lift_marks(&mut self, service: &Service, why: &str, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for place in 0..self.replicas.len() {
            if self.replicas[place].end_mark() {
                let reason = format!("tried again, as {why}");
                changes.extend(self.restate(service, place, reason, Return::AtOnce, now));
            }
        }
        changes
    }
}
