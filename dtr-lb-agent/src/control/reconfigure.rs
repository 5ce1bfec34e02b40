//! Another config: what is known of what stays is carried over.

use std::sync::Arc;

use super::{Change, Control, Moment, addresses, places, service::Standing, with_nat};
use crate::config::{Config, Service};

impl Control {
    /// Decides by another config from here on, and returns what changes by that.
    ///
    /// What is known of a replica goes by [`ReplicaKey`](super::ReplicaKey): state and its history, last probe, passive
    /// mark, slow start. A service of a new name that has a VIP and port of one whose name is gone is that one, renamed.
    /// Replicas that are new are `starting`, and begin slowly where a slow start is configured.
    pub fn reconfigure(&mut self, config: Arc<Config>, now: Moment) -> Vec<Change> {
        let before = std::mem::replace(&mut self.config, config);
        let config = &*self.config;
        let mut standings: Vec<_> = self.services.drain(..).map(Some).collect();
        let mut changes = Vec::new();
        for service in &config.services {
            let origin = origin(service, &before, config);
            let known = origin.and_then(|place| Some((&before.services[place], standings[place].take()?)));
            let from = known.as_ref().map(|(from, _)| *from);
            let mut standing = match known {
                Some((from, standing)) => standing.carried_over(from, service, now.time),
                None => Standing::added(service, now.time),
            };
            changes.extend(standing.reconfigured(from, service, &config.datapath, now));
            self.services.push(standing);
        }
        self.places = places(config);
        changes.extend(self.paths.reconfigured(config, &addresses(&config.services), &with_nat(config)));
        changes
    }
}

/// The place of what a service of `after` was in `before`.
fn origin(service: &Service, before: &Config, after: &Config) -> Option<usize> {
    let by_name = before.services.iter().position(|other| other.name == service.name);
    by_name.or_else(|| {
        let is_gone = |other: &Service| after.services.iter().all(|service| service.name != other.name);
        let shares_an_end = |other: &Service| {
            other.port == service.port && other.vips.iter().any(|vip| service.vips.contains(vip))
        };
        before.services.iter().position(|other| is_gone(other) && shares_an_end(other))
    })
}
