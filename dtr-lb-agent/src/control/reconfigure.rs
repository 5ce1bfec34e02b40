//! Another config: what is known of what stays is carried over.

use std::sync::Arc;

use super::{Change, Control, Moment, addresses, places, service::ServiceState, with_nat};
use crate::config::{Config, Service};

impl Control {
    /// Decides by another config from here on, and returns what changes by that.
    ///
    /// What is known of a replica goes by [`ReplicaKey`](super::ReplicaKey): state and its history, last probe,
    /// ejection, slow start. A service of a new name that has a VIP and port of one whose name is gone is that one, renamed.
    /// Replicas that are new are `starting`, and begin slowly where a slow start is configured.
    pub fn reconfigure(&mut self, config: Arc<Config>, now: Moment) -> Vec<Change> {
        let before = std::mem::replace(&mut self.config, config);
        let config = &*self.config;
        let mut known: Vec<_> = self.services.drain(..).map(Some).collect();
        let mut changes = Vec::new();
        for service in &config.services {
            let mut state = match origin(service, &before, config).and_then(|place| known[place].take()) {
                Some(mut state) => {
                    state.configure(service, now);
                    state
                }
                None => ServiceState::added(service, now.time),
            };
            changes.extend(state.reconfigured(&config.datapath, now));
            self.services.push(state);
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
        let shares_an_address = |other: &Service| {
            other.port == service.port && other.vips.iter().any(|vip| service.vips.contains(vip))
        };
        before.services.iter().position(|other| is_gone(other) && shares_an_address(other))
    })
}
