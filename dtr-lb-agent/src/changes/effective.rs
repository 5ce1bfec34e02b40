//! File, names and changes into one config. Pure.
//!
//! Nothing that DNS or an operator says can make it fail: what does not fit is left out, and a [`Note`] says so. What is
//! in the file stays, whatever else is said. Equal inputs give equal configs, in equal order.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Adjusted, Changes, Names, Note, ServiceChanges, Unfit};
use crate::config::{Config, Host, Listed, Replica, Service, usable};

/// So many addresses of one host name are taken. An answer may hold thousands; each costs probes and a place in the maps.
pub const MOST_OF_A_NAME: usize = 256;

/// What everything else works by, and what did not become part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub config: Config,
    /// The changes that still are about something: what is to be kept.
    pub changes: Changes,
    /// In order. Equal notes come again each time that the same is left out: tell those that were not there before.
    pub notes: Vec<Note>,
}

impl Effective {
    /// The notes that an earlier one did not have.
    pub fn news<'a>(&'a self, before: &'a [Note]) -> impl Iterator<Item = &'a Note> {
        self.notes.iter().filter(|note| !before.contains(note))
    }
}

/// The host names whose addresses are wanted.
#[must_use]
pub fn wanted_names(config: &Config, changes: &Changes) -> BTreeSet<String> {
    let listed = |service: &Service| {
        service.listed.iter().chain(changes.added(&service.name)).cloned().collect::<Vec<_>>()
    };
    config
        .services
        .iter()
        .flat_map(listed)
        .filter_map(|listed| listed.host.name().map(str::to_owned))
        .collect()
}

/// Puts together what the file says, what DNS says and what an operator changed. `file` may be an earlier effective config:
/// only what it has of the file counts.
#[must_use]
pub fn effective(file: &Config, names: &Names, changes: &Changes) -> Effective {
    let mut config = file.clone();
    let mut kept = Changes { services: BTreeMap::new(), ..changes.clone() };
    let mut notes = Vec::new();
    let vips: Vec<_> = file
        .services
        .iter()
        .flat_map(|service| service.vips.iter().map(|vip| (*vip, service.name.as_str())))
        .collect();
    let unchanged = ServiceChanges::default();
    for service in &mut config.services {
        let asked = changes.services.get(&service.name).unwrap_or(&unchanged);
        let own = changes.has_names(file, &service.name);
        let mut gathering = Gathering { service, vips: &vips, names, asked, notes: &mut notes };
        let added = gathering.still_added();
        let replicas = gathering.replicas(&added);
        let still = gathering.still_changed(&replicas, own, added);
        if still != unchanged {
            kept.services.insert(service.name.clone(), still);
        }
        service.replicas =
            replicas.into_iter().filter(|replica| !asked.removed.contains(&replica.address)).collect();
    }
    let gone =
        changes.services.keys().filter(|name| file.services.iter().all(|service| service.name != **name));
    notes.extend(gone.map(|service| Note::Forgotten {
        service: service.clone(),
        change: "its replicas were changed".into(),
        why: "the config has no such service any more",
    }));
    let wanted = wanted_names(file, &kept);
    kept.answers.retain(|name, _| wanted.contains(name));
    Effective { config, changes: kept, notes }
}

/// What is at hand to gather the replicas of one service.
struct Gathering<'a> {
    service: &'a Service,
    vips: &'a [(IpAddr, &'a str)],
    names: &'a Names,
    asked: &'a ServiceChanges,
    notes: &'a mut Vec<Note>,
}

impl Gathering<'_> {
    /// Those added that the file has not come to have.
    fn still_added(&mut self) -> Vec<Listed> {
        let (of_file, mine): (Vec<_>, Vec<_>) = self
            .asked
            .added
            .iter()
            .cloned()
            .partition(|added| self.service.listed.iter().any(|listed| listed.host == added.host));
        for added in of_file {
            self.forgotten(format!("`{}` was added", added.host), "the config has it by itself");
        }
        mine
    }

    /// All that could be replicas, those that were removed, too: in the order of the file, those added at the end, those of
    /// a name in order of addresses.
    fn replicas(&mut self, added: &[Listed]) -> Vec<Replica> {
        let mut found: Vec<(usize, Replica)> = Vec::new();
        let file = self.service.listed.iter().map(|listed| (listed, true));
        let all: Vec<_> = file.chain(added.iter().map(|listed| (listed, false))).enumerate().collect();
        // An address that is written stays what it is written as, whatever a name comes to stand for.
        for (place, (listed, of_file)) in &all {
            if let Host::Address(address) = listed.host {
                self.take(&mut found, *place, self.replica(listed, address, *of_file));
            }
        }
        for (place, (listed, of_file)) in &all {
            let Host::Name(name) = &listed.host else { continue };
            let Some(addresses) = self.names.get(name) else { continue };
            for address in addresses.iter().take(MOST_OF_A_NAME) {
                self.take(&mut found, *place, self.replica(listed, *address, *of_file));
            }
            if addresses.len() > MOST_OF_A_NAME {
                let (service, name) = (self.service.name.clone(), name.clone());
                self.notes.push(Note::TooMany {
                    service,
                    name,
                    found: addresses.len(),
                    taken: MOST_OF_A_NAME,
                });
            }
        }
        // Stable: the addresses of a name stay in order.
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, replica)| replica).collect()
    }

    fn replica(&self, listed: &Listed, address: IpAddr, of_file: bool) -> Replica {
        let Adjusted { admin, weight, since: _ } =
            self.asked.replicas.get(&address).copied().unwrap_or_default();
        Replica {
            name: listed.name_at(address),
            address,
            port: self.service.replica_port,
            weight: weight.unwrap_or(listed.weight),
            slow_start: listed.slow_start,
            backup: listed.backup,
            admin,
            host_name: listed.host.name().map(str::to_owned),
            file_weight: of_file.then_some(listed.weight),
        }
    }

    fn take(&mut self, found: &mut Vec<(usize, Replica)>, place: usize, replica: Replica) {
        match self.unfit(found, &replica) {
            None => found.push((place, replica)),
            Some(why) => {
                let note = Note::LeftOut { service: self.service.name.clone(), replica: replica.name, why };
                self.notes.push(note);
            }
        }
    }

    fn unfit(&self, found: &[(usize, Replica)], replica: &Replica) -> Option<Unfit> {
        let Replica { name, address, .. } = replica;
        if let Err(error) = usable(*address) {
            return Some(Unfit::Host(error));
        }
        if let Some((_, service)) = self.vips.iter().find(|(vip, _)| vip == address) {
            return Some(Unfit::Vip { service: (*service).to_owned() });
        }
        for vip in &self.service.vips {
            if let Some(rule) = self.service.mode.broken_rule(*vip, *address) {
                return Some(Unfit::Mode { vip: *vip, rule });
            }
        }
        found.iter().find_map(|(_, other)| {
            if other.address == *address {
                return Some(Unfit::SameAddress { replica: other.name.clone() });
            }
            (other.name == *name).then_some(Unfit::SameName { address: other.address })
        })
    }

    /// The changes that are about one of `replicas`. With a name among them also those about others: an address that is out
    /// of an answer may be in the next one.
    fn still_changed(&mut self, replicas: &[Replica], names: bool, added: Vec<Listed>) -> ServiceChanges {
        let mut still = ServiceChanges { added, ..ServiceChanges::default() };
        for (address, adjusted) in &self.asked.replicas {
            let replica = replicas.iter().find(|replica| replica.address == *address);
            let mut adjusted = *adjusted;
            if let Some(replica) = replica
                && replica.file_weight == adjusted.weight
            {
                adjusted.weight = None;
            }
            if replica.is_none() && !names {
                self.forgotten(format!("replica {address} was {}", adjusted.words()), NOT_THERE);
            } else if !adjusted.is_nothing() {
                still.replicas.insert(*address, adjusted);
            }
        }
        // Of one that is not there either way, there is nothing to tell.
        let is_replica = |address: &IpAddr| replicas.iter().any(|replica| replica.address == *address);
        still.removed =
            self.asked.removed.iter().filter(|address| names || is_replica(address)).copied().collect();
        still
    }

    fn forgotten(&mut self, change: String, why: &'static str) {
        self.notes.push(Note::Forgotten { service: self.service.name.clone(), change, why });
    }
}

const NOT_THERE: &str = "the service has no such replica any more";

impl Adjusted {
    pub(super) fn words(self) -> String {
        match self {
            Self { admin: crate::config::Admin::Ready, weight: Some(weight), since: _ } => {
                format!("given weight {weight}")
            }
            Self { admin, weight: None, since: _ } => format!("set to {admin}"),
            Self { admin, weight: Some(weight), since: _ } => {
                format!("set to {admin} and given weight {weight}")
            }
        }
    }
}
