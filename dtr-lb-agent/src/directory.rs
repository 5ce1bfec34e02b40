//! The names of what the maps know by address, and what the agent thinks of each: for those who read the maps and tell people.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use dtr_lb_common::abi::{Mode, Replica, ServiceKey};

use crate::{
    control::{Control, mode},
    datapath::service_key,
};

/// Names by address.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    services: BTreeMap<ServiceKey, String>,
    modes: BTreeMap<ServiceKey, Mode>,
    replicas: BTreeMap<(ServiceKey, SocketAddr), Entry>,
}

/// A replica of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub state: String,
    /// Why it is in this state, if there is a word for it.
    pub reason: Option<String>,
    pub weight: u16,
    /// It gets new connections only while no other replica is up.
    pub backup: bool,
    /// The share of new connections that it has now, in proportion to the others'.
    pub share: u16,
}

impl Directory {
    /// As things stand at `now`.
    pub fn new(control: &Control, now: Instant) -> Self {
        let mut directory = Self::default();
        for (place, service) in control.config().services.iter().enumerate() {
            let shares = control.shares(place, now);
            let replicas = service.replicas.iter().zip(control.conditions(place)).zip(shares);
            let entries: Vec<_> = replicas
                .map(|((replica, condition), share)| {
                    let entry = Entry {
                        name: replica.name.clone(),
                        state: condition.state.to_string(),
                        reason: condition.reason.clone(),
                        weight: replica.weight,
                        backup: replica.backup,
                        share,
                    };
                    (SocketAddr::new(replica.address, replica.port), entry)
                })
                .collect();
            for vip in &service.vips {
                let key = service_key(*vip, service.port);
                directory.services.insert(key, service.name.clone());
                directory.modes.insert(key, mode(service.mode));
                directory.replicas.extend(entries.iter().cloned().map(|(end, entry)| ((key, end), entry)));
            }
        }
        directory
    }

    /// The name of a service.
    pub fn service(&self, key: &ServiceKey) -> Option<&str> {
        self.services.get(key).map(String::as_str)
    }

    /// How packets of a service reach its replicas.
    pub fn mode(&self, key: &ServiceKey) -> Option<Mode> {
        self.modes.get(key).copied()
    }

    /// The ends of a service of this name; none if there is no such service.
    pub fn ends(&self, service: &str) -> BTreeSet<ServiceKey> {
        self.services.iter().filter(|(_, name)| *name == service).map(|(key, _)| *key).collect()
    }

    /// The names of all services.
    pub fn services(&self) -> BTreeSet<&str> {
        self.services.values().map(String::as_str).collect()
    }

    /// The names of all replicas.
    pub fn replicas(&self) -> BTreeSet<&str> {
        self.replicas.values().map(|entry| entry.name.as_str()).collect()
    }

    /// The names of the replicas that are called so, by their name or their address.
    pub fn names(&self, named: &str) -> BTreeSet<String> {
        let is = |end: &SocketAddr, entry: &Entry| {
            entry.name == named || end.ip().to_string() == named || end.to_string() == named
        };
        let called = self.replicas.iter().filter(|((_, end), entry)| is(end, entry));
        called.map(|(_, entry)| entry.name.clone()).collect()
    }

    /// What is known of a replica; nothing if the config has it no more, but flows do.
    pub fn replica(&self, replica: &Replica) -> Option<&Entry> {
        self.replicas.get(&(replica.service(), end(replica)))
    }

    /// The name of a replica, or its address if it has none any more.
    pub fn name(&self, replica: &Replica) -> String {
        let unknown = || IpAddr::from(replica.address).to_string();
        self.replica(replica).map_or_else(unknown, |entry| entry.name.clone())
    }
}

/// Where a replica listens.
pub fn end(replica: &Replica) -> SocketAddr {
    SocketAddr::new(replica.address.into(), replica.port.get())
}
