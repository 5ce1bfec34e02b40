//! What stands beside the config file: what an operator changed at run time, and what DNS last said.
//!
//! `effective` puts file, names and changes together into the one config that everything else works by. It is pure.
//! `file` keeps the changes for the next agent: they live as long as the datapath does, and no longer. `undo` is what the last orders
//! changed, so that they can be taken back.
//!
//! A replica is known by its service and its address, whatever it is called: that is what an operator drains, and what
//! flows go to.

mod effective;
mod file;
mod note;
mod undo;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

pub use effective::{Effective, MOST_OF_A_NAME, effective, wanted_names};
pub use file::{ChangesError, Loaded, NOT_REMOVED, load, path, remove};
pub use note::{Note, Unfit};
pub use undo::{FileTexts, MOST_STEPS, Step, UndoError};

use crate::config::{Admin, Config, Host, Listed, checked_weight};

/// What DNS says: addresses by host name in lower case.
pub type Names = BTreeMap<String, BTreeSet<IpAddr>>;

/// What was changed at run time, and the last good answers of DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// By the service's name.
    #[serde(default)]
    services: BTreeMap<String, ServiceChanges>,
    /// By host name.
    #[serde(default)]
    answers: BTreeMap<String, Answer>,
    /// The last orders that can be taken back, the oldest first; [`MOST_STEPS`] at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

/// A good answer of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// At least one.
    pub addresses: BTreeSet<IpAddr>,
    /// When it was first given.
    pub at: Timestamp,
}

/// What was changed of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ServiceChanges {
    #[serde(default)]
    replicas: BTreeMap<IpAddr, Adjusted>,
    /// Replicas of the file or of a host name that are not to be used.
    #[serde(default)]
    removed: BTreeSet<IpAddr>,
    /// Replicas that the file does not have, no two with one host.
    #[serde(default)]
    added: Vec<Listed>,
}

/// What was changed of one replica; at least admin or weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Adjusted {
    #[serde(default)]
    admin: Admin,
    #[serde(default, deserialize_with = "weight")]
    weight: Option<u16>,
    /// When it was ordered last; not known of what an older agent kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
}

impl Changes {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { services, answers, steps } = self;
        services.is_empty() && answers.is_empty() && steps.is_empty()
    }

    /// Takes in what an operator wants of a replica; [`Admin::Ready`] ends what was wanted before.
    pub fn set_admin(&mut self, service: &str, replica: IpAddr, admin: Admin) {
        self.adjust(service, replica, |adjusted| adjusted.admin = admin);
    }

    /// Takes in a weight, 0 to [`crate::config::MAX_WEIGHT`], for a replica; `None`: that of the file again.
    pub fn set_weight(&mut self, service: &str, replica: IpAddr, weight: Option<u16>) {
        self.adjust(service, replica, |adjusted| adjusted.weight = weight);
    }

    /// Takes in a new replica of a service. One of the file that was removed is back, with the weight given here.
    pub fn add(&mut self, service: &str, replica: Listed) {
        let changes = self.services.entry(service.to_owned()).or_default();
        if let Host::Address(address) = replica.host
            && changes.removed.remove(&address)
        {
            changes
                .replicas
                .insert(address, Adjusted { weight: Some(replica.weight), ..Adjusted::default() });
        } else {
            changes.added.retain(|other| other.host != replica.host);
            changes.added.push(replica);
        }
        self.forget_unchanged(service);
    }

    /// Takes a replica out of a service: one of the file, of a host name, or one that was added.
    pub fn remove(&mut self, service: &str, replica: IpAddr) {
        let changes = self.services.entry(service.to_owned()).or_default();
        changes.replicas.remove(&replica);
        let before = changes.added.len();
        changes.added.retain(|added| added.host != Host::Address(replica));
        if changes.added.len() == before {
            changes.removed.insert(replica);
        }
        self.forget_unchanged(service);
    }

    /// Takes back that a host name was added to a service. Returns whether it was.
    pub fn remove_name(&mut self, service: &str, name: &str) -> bool {
        let Some(changes) = self.services.get_mut(service) else { return false };
        let before = changes.added.len();
        changes.added.retain(|added| added.host.name() != Some(name));
        let removed = changes.added.len() < before;
        self.forget_unchanged(service);
        removed
    }

    /// The replicas and host names that were added to a service.
    #[must_use]
    pub fn added(&self, service: &str) -> &[Listed] {
        self.services.get(service).map_or(&[], |changes| &changes.added)
    }

    /// The replicas that were taken out of a service.
    pub fn removed(&self, service: &str) -> impl Iterator<Item = IpAddr> {
        self.services.get(service).into_iter().flat_map(|changes| &changes.removed).copied()
    }

    /// When an order about this replica that is in force was given, as far as that is known.
    #[must_use]
    pub fn ordered_at(&self, service: &str, replica: IpAddr) -> Option<Timestamp> {
        self.services.get(service)?.replicas.get(&replica)?.since
    }

    /// Says of all that `before` did not have that it was ordered at `now`.
    pub fn ordered(&mut self, before: &Self, now: Timestamp) {
        for (name, service) in &mut self.services {
            let old = before.services.get(name);
            for (address, adjusted) in &mut service.replicas {
                let old = old.and_then(|service| service.replicas.get(address));
                if old.is_none_or(|old| (old.admin, old.weight) != (adjusted.admin, adjusted.weight)) {
                    adjusted.since = Some(now);
                }
            }
        }
    }

    /// The last good answers, by host name.
    #[must_use]
    pub fn answers(&self) -> &BTreeMap<String, Answer> {
        &self.answers
    }

    /// What the last good answers say.
    #[must_use]
    pub fn names(&self) -> Names {
        self.answers.iter().map(|(name, answer)| (name.clone(), answer.addresses.clone())).collect()
    }

    /// Takes in what DNS says now. Returns whether that is anything new; no addresses are not.
    pub fn answered(&mut self, names: &Names, at: Timestamp) -> bool {
        let mut news = false;
        for (name, addresses) in names {
            let same = self.answers.get(name).is_some_and(|answer| answer.addresses == *addresses);
            if !same && !addresses.is_empty() {
                self.answers.insert(name.clone(), Answer { addresses: addresses.clone(), at });
                news = true;
            }
        }
        news
    }

    fn adjust(&mut self, service: &str, replica: IpAddr, change: impl FnOnce(&mut Adjusted)) {
        let changes = self.services.entry(service.to_owned()).or_default();
        change(changes.replicas.entry(replica).or_default());
        self.forget_unchanged(service);
    }

    fn forget_unchanged(&mut self, service: &str) {
        let Some(changes) = self.services.get_mut(service) else { return };
        changes.replicas.retain(|_, adjusted| !adjusted.is_nothing());
        if *changes == ServiceChanges::default() {
            self.services.remove(service);
        }
    }

    /// Whether a service has replicas whose addresses DNS says.
    fn has_names(&self, config: &Config, service: &str) -> bool {
        let of_file = config.services.iter().filter(|known| known.name == service);
        of_file
            .flat_map(|service| &service.listed)
            .chain(self.added(service))
            .any(|listed| listed.host.name().is_some())
    }
}

impl Adjusted {
    /// Whether the replica is as the file says.
    fn is_nothing(&self) -> bool {
        let Self { admin, weight, since: _ } = self;
        *admin == Admin::Ready && weight.is_none()
    }
}

fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let weight = Option::<u16>::deserialize(deserializer)?;
    weight.map(checked_weight).transpose().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests;
