//! The replicas of a status as metrics have them: once for each service, whatever the number of its VIPs.

use std::net::SocketAddr;

use crate::{
    control::ReplicaKey,
    status::{ChallengeStatus, ReplicaStatus, ServiceStatus, Status},
};

/// A service, with its replicas.
pub(super) struct ServiceRow {
    pub(super) name: String,
    pub(super) state: String,
    /// On where it is on for any of its VIPs, and the sums.
    pub(super) challenge: ChallengeStatus,
    /// Whether this balancer doubts its own probes of it.
    pub(super) suspected: bool,
    pub(super) replicas: Vec<ReplicaRow>,
}

/// A replica of a service.
pub(super) struct ReplicaRow {
    pub(super) key: ReplicaKey,
    /// Tells it from the service's other replicas: its name, and its address where two have one name.
    pub(super) label: String,
    /// Of its service.
    pub(super) mode: String,
    /// Counts are sums over the service's VIPs.
    pub(super) status: ReplicaStatus,
}

/// The services in the order of the status.
pub(super) fn rows(status: &Status) -> Vec<ServiceRow> {
    let mut services: Vec<ServiceRow> = Vec::new();
    for service in &status.services {
        match services.iter_mut().find(|row| row.name == service.name) {
            Some(row) => {
                row.challenge.add(&service.challenge);
                service.replicas.iter().for_each(|replica| row.add(&service.mode, replica));
            }
            None => services.push(ServiceRow::new(service)),
        }
    }
    services.iter_mut().for_each(ServiceRow::label);
    services
}

impl ServiceRow {
    fn new(service: &ServiceStatus) -> Self {
        let mut row = Self {
            name: service.name.clone(),
            state: service.state.clone(),
            challenge: service.challenge,
            suspected: service.suspicion.is_some(),
            replicas: Vec::new(),
        };
        service.replicas.iter().for_each(|replica| row.add(&service.mode, replica));
        row
    }

    fn add(&mut self, mode: &str, replica: &ReplicaStatus) {
        let ReplicaStatus { address, port, .. } = *replica;
        let key = ReplicaKey { service: self.name.clone(), address, port };
        match self.replicas.iter_mut().find(|row| row.key == key) {
            Some(row) => row.status.add(replica),
            None => {
                let (label, mode, status) = (replica.name.clone(), mode.to_owned(), replica.clone());
                self.replicas.push(ReplicaRow { key, label, mode, status });
            }
        }
    }

    fn label(&mut self) {
        let mut names: Vec<_> = self.replicas.iter().map(|row| row.status.name.clone()).collect();
        names.sort_unstable();
        for row in &mut self.replicas {
            let first = names.partition_point(|name| *name < row.status.name);
            if names.get(first + 1) == Some(&row.status.name) {
                let address = SocketAddr::new(row.key.address, row.key.port);
                row.label = format!("{} {address}", row.status.name);
            }
        }
    }
}
