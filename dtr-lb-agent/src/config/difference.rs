//! What one config says otherwise than another, in words for an operator. Pure.
//!
//! Order does not count where it means nothing: services, VIPs, replicas and prefixes are compared as sets.

use std::{
    collections::BTreeSet,
    fmt::{self, Debug, Display},
    net::{IpAddr, SocketAddr},
};

use super::key::Change;
use super::takes::{Takes, time};
use super::{Config, Listed, Replica, Service};

/// A key that is another after a change of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name, dotted within its service.
    pub key: String,
    /// What it was, as far as it may be shown.
    pub before: String,
    /// What it is.
    pub after: String,
    /// What it takes to change it.
    pub change: Change,
}

impl Difference {
    pub(super) fn new<V: PartialEq, T: Takes<Value = V>>(
        key: &str,
        change: Change,
        takes: &T,
        before: &V,
        after: &V,
    ) -> Option<Self> {
        let shown = |value| takes.shown(value);
        (before != after).then(|| Self {
            key: key.to_owned(),
            before: shown(before),
            after: shown(after),
            change,
        })
    }

    fn in_table(mut self, table: &str) -> Self {
        self.key = format!("{table}.{}", self.key);
        self
    }
}

impl Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, before, after, change: _ } = self;
        // What a probe sends may be a password: only that it is another is told.
        if before == after {
            return write!(out, "{key}: {after}, with other contents");
        }
        write!(out, "{key}: {before} → {after}")
    }
}

/// The keys that a reload would have to change and cannot.
#[must_use]
pub fn immutable(before: &Config, after: &Config) -> Vec<Difference> {
    keys(before, after).into_iter().filter(|difference| difference.change != Change::Reload).collect()
}

/// Those of `[datapath]` and `[agent]`.
fn keys(before: &Config, after: &Config) -> Vec<Difference> {
    let datapath =
        before.datapath.differences(&after.datapath).into_iter().map(|key| key.in_table("datapath"));
    let agent = before.agent.differences(&after.agent).into_iter().map(|key| key.in_table("agent"));
    datapath.chain(agent).collect()
}

/// Each difference in a line; none if both say the same.
#[must_use]
pub fn differences(before: &Config, after: &Config) -> Vec<String> {
    // Named one by one, so that a new field is not forgotten here. What decides about interfaces shows in them. `host` is told where
    // it arrives: in the probes.
    let Config { interfaces, by_routes: _, host: _, datapath: _, services, agent: _ } = after;
    let mut lines = Lines::default();
    lines.key("interfaces", &list(&before.interfaces), &list(interfaces));
    lines.0.extend(keys(before, after).iter().map(ToString::to_string));
    let named = |services: &[Service], name: &str| services.iter().position(|service| service.name == name);
    for service in &before.services {
        if named(services, &service.name).is_none() {
            lines.0.push(format!("service `{}` ({}) removed", service.name, ends(service)));
        }
    }
    for service in services {
        match named(&before.services, &service.name) {
            Some(place) => lines.service(&before.services[place], service),
            None => lines.0.push(format!(
                "service `{}` ({}) added, to {} by {}",
                service.name,
                ends(service),
                count(service.replicas.len(), "replica"),
                service.mode
            )),
        }
    }
    lines.0
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn key<T: PartialEq + Display>(&mut self, key: &str, before: &T, after: &T) {
        if before != after {
            self.0.push(format!("{key}: {before} → {after}"));
        }
    }

    /// Of one service, with its name before each line.
    fn service(&mut self, before: &Service, after: &Service) {
        let mut own = Self::default();
        own.key("vip", &set(&before.vips), &set(&after.vips));
        own.0.extend(before.differences(after).iter().map(ToString::to_string));
        own.key("allow", &set(&before.access.allowed), &set(&after.access.allowed));
        own.key("deny", &set(&before.access.denied), &set(&after.access.denied));
        own.0.extend(before.limits.differences(&after.limits).iter().map(ToString::to_string));
        let probe = before.probe.differences(&after.probe).into_iter().map(|key| key.in_table("probe"));
        own.0.extend(probe.map(|difference| difference.to_string()));
        own.host_names(&before.listed, &after.listed);
        own.replicas(&before.replicas, &after.replicas);
        self.0.extend(own.0.into_iter().map(|line| format!("service `{}`: {line}", after.name)));
    }

    /// Those that stand for replicas: which ones, DNS may not have said yet.
    fn host_names(&mut self, before: &[Listed], after: &[Listed]) {
        let names = |listed: &[Listed]| {
            listed.iter().filter_map(|listed| listed.host.name().map(str::to_owned)).collect::<BTreeSet<_>>()
        };
        let (before, after) = (names(before), names(after));
        let lines = |names: Vec<&String>, what: &str| {
            names.into_iter().map(|name| format!("host name `{name}` {what}")).collect::<Vec<_>>()
        };
        self.0.extend(lines(before.difference(&after).collect(), "removed"));
        self.0.extend(lines(after.difference(&before).collect(), "added"));
    }

    /// Replicas are the same if address and port are: what is known of them goes by these.
    fn replicas(&mut self, before: &[Replica], after: &[Replica]) {
        let find = |replicas: &[Replica], replica: &Replica| {
            replicas.iter().position(|other| (other.address, other.port) == (replica.address, replica.port))
        };
        for replica in before.iter().filter(|replica| find(after, replica).is_none()) {
            self.0.push(format!("{} removed", called(replica)));
        }
        for replica in after {
            match find(before, replica) {
                None => self.0.push(format!("{} added", called(replica))),
                Some(place) => self.replica(&before[place], replica),
            }
        }
    }

    fn replica(&mut self, before: &Replica, after: &Replica) {
        let Replica {
            name,
            // Equal, or it would be another one.
            address: _,
            port: _,
            weight,
            slow_start,
            backup,
            admin,
            host_name: _,
            // What it would be without a change.
            file_weight: _,
        } = after;
        let mut own = Self::default();
        own.key("name", &before.name, name);
        own.key("weight", &before.weight, weight);
        own.key("slow_start", &time(&before.slow_start), &time(slow_start));
        own.key("backup", &before.backup, backup);
        own.key("state ordered", &before.admin, admin);
        self.0.extend(own.0.into_iter().map(|line| format!("{}: {line}", called(after))));
    }
}

/// "replica `replica-4` (10.0.0.14)", or "replica `10.0.0.14`" where that is its name.
fn called(replica: &Replica) -> String {
    let address = replica.address.to_string();
    if replica.name == address {
        format!("replica `{address}`")
    } else {
        format!("replica `{}` ({address})", replica.name)
    }
}

fn ends(service: &Service) -> String {
    let end = |vip: &IpAddr| SocketAddr::new(*vip, service.port).to_string();
    service.vips.iter().map(end).collect::<Vec<_>>().join(", ")
}

fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// In the order given.
fn list<T: Display>(values: &[T]) -> String {
    match values {
        [] => "none".to_owned(),
        _ => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// In an order of its own.
fn set<T: Display + Debug + Ord + Clone>(values: &[T]) -> String {
    let values: BTreeSet<_> = values.iter().cloned().collect();
    list(&values.into_iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
