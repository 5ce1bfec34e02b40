//! The passive check of a service: which replicas it ejects for the connections that they fail, and which come back. It never ejects
//! the last one, and no more than half.

use super::{
    Change, Moment,
    machine::{Event, ReplicaMachine},
    passive::{Evidence, Reading},
    service::ServiceState,
};
use crate::config::Datapath;

impl ServiceState {
    /// Takes in what the datapath has counted.
    pub(super) fn counted<'a>(
        &mut self,
        readings: impl IntoIterator<Item = &'a Reading>,
        datapath: &Datapath,
        now: Moment,
    ) -> Vec<Change> {
        if self.rules.max_fails == 0 {
            return Vec::new();
        }
        let mut too_many = Vec::new();
        for reading in readings {
            let place = reading.place.replica;
            let news = self.replicas[place].on(Event::Counted(reading), now.clock);
            too_many.extend(news.evidence.map(|evidence| (place, evidence)));
        }
        let Some((_, last)) = too_many.last() else { return Vec::new() };
        let last = last.describe(self.rules.fail_timeout);
        let until = now.clock + self.rules.fail_timeout;
        let spared = |place: usize| !too_many.iter().any(|(failed, _)| *failed == place);
        let set_aside = self.set_aside.is_some_and(|until| now.clock < until);
        let mut changes = Vec::new();
        if !set_aside && self.fit_to_serve().any(spared) {
            self.set_aside = None;
            changes.extend(self.eject(too_many, now));
        } else {
            self.set_aside = Some(until);
            if set_aside {
                return Vec::new();
            }
            changes.push(Change::PassiveSetAside { service: self.rules.service.clone(), reason: last });
            self.readmit("every other replica fails, too", now);
        }
        changes.extend(self.settle(None, datapath, now));
        changes
    }

    /// Ejects those that have failed too often, but no more than half of those that connections are meant for: what most of them
    /// fail is hardly the fault of each. Returns those that it spares.
    fn eject(&mut self, too_many: Vec<(usize, Evidence)>, now: Moment) -> Vec<Change> {
        let until = now.clock + self.rules.fail_timeout;
        // Backups are there for when nobody else is, and do not make up for those who are.
        let primaries = self.replicas.iter().any(|replica| replica.eligible() && !replica.replica().backup);
        let serves = |replica: &&ReplicaMachine| replica.eligible() && replica.replica().backup != primaries;
        let meant = self.replicas.iter().filter(serves).count();
        let ejected = self.replicas.iter().filter(serves).filter(|replica| replica.ejected()).count();
        // One alone may go where others stand in for it: then somebody serves.
        let half = if meant == 1 { usize::from(self.fit_to_serve().count() > 1) } else { meant / 2 };
        let mut left = half.saturating_sub(ejected);
        let mut changes = Vec::new();
        for (place, evidence) in too_many {
            let replica = &mut self.replicas[place];
            if let Some(rest) = left.checked_sub(1) {
                left = rest;
                replica.on(Event::Eject { evidence: &evidence }, now.clock);
            // Told once, for as long as it would have been out.
            } else if replica.spared_until.is_none_or(|notified| now.clock >= notified) {
                replica.spared_until = Some(until);
                changes.push(Change::PassiveSpared {
                    service: self.rules.service.clone(),
                    replica: replica.replica().name.clone(),
                    reason: evidence.describe(self.rules.fail_timeout),
                });
            }
        }
        changes
    }

    /// The places of those that may have new flows by probes, weight and passive check.
    fn fit_to_serve(&self) -> impl Iterator<Item = usize> {
        let all = self.replicas.iter().enumerate();
        all.filter(|(_, replica)| replica.eligible() && !replica.ejected()).map(|(place, _)| place)
    }

    /// A replica that was ejected is better than none.
    pub(super) fn readmit_if_none_is_left(&mut self, now: Moment) {
        if self.fit_to_serve().next().is_none() {
            self.readmit("no other replica is up", now);
        }
    }

    fn readmit(&mut self, why: &str, now: Moment) {
        for replica in &mut self.replicas {
            replica.on(Event::Readmit { why }, now.clock);
        }
    }
}
