//! What `drain --wait` makes of the agent's answers: what is left of each replica's connections, and in which words that is told. Pure.
//!
//! Connections are counted by walks through the flow table. A walk that had begun before the drain was in force may have passed the
//! place of a connection that was opened after it; so "none is left" is believed only of a walk that began after it, the second one
//! to end.

use std::net::{IpAddr, SocketAddr};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    config::Admin,
    control::ReplicaState,
    human::age,
    status::{ReplicaStatus, Status},
};

/// Walks that have to end after an order until one was begun after it: that under way, and the next.
const WALKS: u64 = 2;

/// The replicas that are waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) replicas: Vec<Waited>,
    /// The service that was named, if one was.
    service: Option<String>,
    /// The count of walks from which on "none" is no old number.
    fresh_from: u64,
    /// By the last answer.
    walks: u64,
}

/// A replica of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Waited {
    service: String,
    replica: String,
    address: IpAddr,
    port: u16,
    /// Connections that may still carry data, as last counted.
    left: u64,
    /// Since when it is drained.
    since: Timestamp,
    /// Why it is not waited for any more.
    ended: Option<End>,
    /// What there is to say of that.
    reason: Option<String>,
}

/// Why a replica is not waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    NoneLeft,
    Down,
    Removed,
    Maint,
    /// Another order made it ready.
    Ready,
}

/// Why there is no more waiting although connections are left.
#[derive(Clone, Copy, Debug)]
pub(super) enum GivenUp {
    Timeout(SignedDuration),
    Interrupted,
}

impl Waiting {
    /// Waits for those that were drained by these names or addresses, of one service or of all. `status` is one that was asked for
    /// when that was in force.
    pub(super) fn new(status: &Status, named: &[String], service: Option<&str>) -> Self {
        let is_it = |replica: &ReplicaStatus| {
            named.iter().any(|name| {
                replica.name == *name
                    || name.parse::<IpAddr>().is_ok_and(|address| address == replica.address)
            })
        };
        let mut replicas: Vec<Waited> = Vec::new();
        for of in status.services.iter().filter(|of| service.is_none_or(|service| service == of.name)) {
            for replica in of.replicas.iter().filter(|replica| is_it(replica)) {
                // A service with several VIPs is several in the status.
                match replicas.iter_mut().find(|waited| waited.is(&of.name, replica)) {
                    Some(waited) => waited.left += replica.flows,
                    None => replicas.push(Waited::new(&of.name, replica)),
                }
            }
        }
        let walks = status.datapath.walks;
        Self { replicas, service: service.map(str::to_owned), fresh_from: walks + WALKS, walks }
    }

    /// Takes in what the agent has answered. Returns what there is to tell at once.
    pub(super) fn take(&mut self, status: &Status) -> Vec<String> {
        let walks = status.datapath.walks;
        if walks < self.walks {
            // Another agent counts anew: all its walks began after the drain.
            self.fresh_from = 1;
        }
        self.walks = walks;
        let fresh = self.is_fresh();
        let waited = self.replicas.iter_mut().filter(|waited| waited.ended.is_none());
        waited.filter_map(|waited| waited.take(status, fresh)).collect()
    }

    fn is_fresh(&self) -> bool {
        self.walks >= self.fresh_from
    }

    /// Whether none is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        self.replicas.iter().all(|waited| waited.ended.is_some())
    }

    /// Connections of all that are waited for.
    pub(super) fn left(&self) -> u64 {
        self.by_name().into_iter().map(|(_, left)| left).sum()
    }

    /// What is left, as a line.
    pub(super) fn line(&self, waited: SignedDuration) -> String {
        let left: Vec<_> =
            self.by_name().into_iter().map(|(name, left)| format!("{name} {left} left")).collect();
        let counting = if self.is_fresh() { "" } else { ", counting" };
        format!("waiting for connections to end: {} ({}{counting})", left.join(", "), age(waited))
    }

    /// What is left of each that is waited for, in all services together.
    fn by_name(&self) -> Vec<(&str, u64)> {
        let mut names: Vec<(&str, u64)> = Vec::new();
        for waited in self.replicas.iter().filter(|waited| waited.ended.is_none()) {
            match names.iter_mut().find(|(name, _)| *name == waited.replica) {
                Some((_, left)) => *left += waited.left,
                None => names.push((&waited.replica, waited.left)),
            }
        }
        names
    }

    /// What came of it where none is waited for any more.
    ///
    /// # Errors
    /// One takes new connections again.
    pub(super) fn outcome(&self, waited: SignedDuration) -> Result<String, String> {
        let of = |end| self.replicas.iter().filter(move |waited| waited.ended == Some(end));
        let ready: Vec<_> = of(End::Ready).map(Waited::called).collect();
        if !ready.is_empty() {
            return Err(format!(
                "another order made ready what was to be drained, so that it takes new connections: {}",
                ready.join(", ")
            ));
        }
        if of(End::NoneLeft).count() == self.replicas.len() {
            return Ok(format!("no connection is left, after {}", age(waited)));
        }
        Ok(format!("there is nothing left to wait for, after {}", age(waited)))
    }

    /// What is left, and what can be done about it.
    pub(super) fn given_up(&self, why: &GivenUp, now: Timestamp) -> String {
        let why = match why {
            GivenUp::Timeout(limit) => format!("connections are left after {} (--timeout)", age(*limit)),
            GivenUp::Interrupted => "no longer waiting for connections to end".to_owned(),
        };
        let mut lines = vec![format!("{why}; the drain stays in force")];
        for waited in self.replicas.iter().filter(|waited| waited.ended.is_none()) {
            let Waited { left, since, .. } = waited;
            lines.push(format!(
                "{}: {}, drained since {since:.0} ({})",
                waited.called(),
                connections(*left),
                age(now.duration_since(*since))
            ));
        }
        let mut names: Vec<_> = self.by_name().into_iter().map(|(name, _)| name.to_owned()).collect();
        names.extend(self.service.iter().map(|service| format!("--service {service}")));
        let names = names.join(" ");
        lines.push(format!(
            "to go on waiting: `dtr-lb replica drain {names} --wait`; to reset what is left: `dtr-lb replica maint {names}`; to end \
             the drain: `dtr-lb replica ready {names}`"
        ));
        lines.join("\n")
    }
}

impl Waited {
    fn new(service: &str, replica: &ReplicaStatus) -> Self {
        Self {
            service: service.to_owned(),
            replica: replica.name.clone(),
            address: replica.address,
            port: replica.port,
            left: replica.flows,
            since: replica.ordered.unwrap_or(replica.since),
            ended: None,
            reason: None,
        }
    }

    fn is(&self, service: &str, replica: &ReplicaStatus) -> bool {
        (self.service.as_str(), self.address, self.port) == (service, replica.address, replica.port)
    }

    fn called(&self) -> String {
        let Self { service, replica, address, port, .. } = self;
        format!("service `{service}`: replica {replica} ({})", SocketAddr::new(*address, *port))
    }

    /// Returns why it is not waited for any more, where that is no matter of its connections.
    fn take(&mut self, status: &Status, fresh: bool) -> Option<String> {
        let services = status.services.iter().filter(|service| service.name == self.service);
        let found: Vec<_> = services
            .flat_map(|service| service.replicas.iter().filter(|replica| self.is(&service.name, replica)))
            .collect();
        let Some(replica) = found.first() else { return Some(self.end(End::Removed, "was removed", None)) };
        self.left = found.iter().map(|replica| replica.flows).sum();
        match replica.admin {
            Admin::Ready => return Some(self.end(End::Ready, "was made ready by another order", None)),
            Admin::Maint => {
                return Some(self.end(End::Maint, "was put into maintenance by another order", None));
            }
            Admin::Drain => {}
        }
        if replica.state == ReplicaState::Down.as_str() {
            return Some(self.end(End::Down, "is down", replica.reason.clone()));
        }
        if fresh && self.left == 0 {
            self.ended = Some(End::NoneLeft);
        }
        None
    }

    fn end(&mut self, end: End, words: &str, reason: Option<String>) -> String {
        let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let text = format!(
            "{} {words}{why}, and is no longer waited for: {}",
            self.called(),
            connections(self.left)
        );
        (self.ended, self.reason) = (Some(end), reason);
        text
    }
}

/// "1 connection left"
fn connections(left: u64) -> String {
    format!("{left} {} left", if left == 1 { "connection" } else { "connections" })
}

#[cfg(test)]
mod tests;
