//! `[[replica]]`: the backends, before services pick theirs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::address;
use super::admin::Admin;
use super::field::{self, Table};
use super::listed::{DEFAULT_WEIGHT, Host, Listed, MAX_WEIGHT};
use super::problems::Problems;
use super::raw::{RawConfig, RawReplica};

/// A backend, as one service uses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Unique among the replicas; its address if the file names it no other. One that was found by a host name:
    /// `NAME/ADDRESS`.
    pub name: String,
    /// Unique among the replicas, and no VIP.
    pub address: IpAddr,
    /// The service's `replica_port`.
    pub port: u16,
    /// Its share of new flows, 0 to 256, in proportion to the others'; 0: none.
    pub weight: u16,
    /// For how long its share rises to its weight after it has come back; zero: at once.
    pub slow_start: Duration,
    /// It gets new flows only while no other is up.
    pub backup: bool,
    /// What an operator has ordered since. Not in the file: [`Admin::Ready`] in what is read from it.
    pub admin: Admin,
    /// The host name that it was found by.
    pub host_name: Option<String>,
    /// Its weight by the file; `None`: it was added at run time.
    pub file_weight: Option<u16>,
}

impl Replica {
    /// The weight that it has for new flows: 0 where an operator wants none to go there.
    #[must_use]
    pub fn offered(&self) -> u16 {
        match self.admin {
            Admin::Ready => self.weight,
            Admin::Drain | Admin::Maint => 0,
        }
    }
}

/// A `[[replica]]`, as far as it could be read: what could not be is `None`, and reported.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: Option<String>,
    pub(super) host: Option<Host>,
    pub(super) weight: Option<u16>,
    pub(super) slow_start: Option<Duration>,
    pub(super) key: String,
    pub(super) at: usize,
}

impl Declared {
    /// Its address, if it has one by itself.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.as_ref().and_then(Host::address)
    }

    pub(super) fn listed(&self) -> Option<Listed> {
        Some(Listed {
            name: self.name.clone()?,
            host: self.host.clone()?,
            weight: self.weight?,
            slow_start: self.slow_start?,
            backup: false,
        })
    }
}

pub(super) fn declared(raw: &RawConfig, problems: &mut Problems<'_>) -> Vec<Declared> {
    let top = Table::top();
    let listed = raw.replica.as_ref().map_or(&[][..], |list| list.get_ref());
    if listed.is_empty() {
        problems.missing(&top, "replica", "missing: no replica to forward to");
    }
    let mut replicas = Vec::with_capacity(listed.len());
    let mut first_with = FirstWith::default();
    for (index, raw) in listed.iter().enumerate() {
        let table = top.nth("replica", index, raw);
        let replica = read(&table, raw.get_ref(), problems);
        first_with.refuse_twins(&table, raw.get_ref(), &replica, problems);
        replicas.push(replica);
    }
    replicas
}

/// Which replica had an address or a name first, in words for the message to the second.
#[derive(Default)]
struct FirstWith {
    host: HashMap<Host, String>,
    name: HashMap<String, String>,
}

impl FirstWith {
    fn refuse_twins(
        &mut self,
        table: &Table,
        raw: &RawReplica,
        replica: &Declared,
        problems: &mut Problems<'_>,
    ) {
        let this = format!("{} ({})", table.key(), problems.source.brief(table.at));
        if let (Some(host), Some(field)) = (&replica.host, table.field("address", &raw.address)) {
            if let Some(first) = self.host.get(host) {
                problems.refuse(&field, format!("the address of {first} as well"));
                if raw.name.is_none() {
                    // The same name too, for the same reason: said once is enough.
                    return;
                }
            } else {
                self.host.insert(host.clone(), this.clone());
            }
        }
        let Some(name) = &replica.name else { return };
        let Some(first) = self.name.get(name) else {
            self.name.insert(name.clone(), this);
            return;
        };
        match table.field("name", &raw.name) {
            Some(field) => problems.refuse(&field, format!("the name of {first} as well")),
            None if replica.host.is_none() => {}
            None => {
                let what = format!("unwritten, so it is \"{name}\", which is the name of {first} as well");
                problems.missing(table, "name", what);
            }
        }
    }
}

fn read(table: &Table, raw: &RawReplica, problems: &mut Problems<'_>) -> Declared {
    let address_field = table.field("address", &raw.address);
    let host = match &address_field {
        Some(field) => address::unicast_or_name(field, problems),
        None => {
            problems.missing(table, "address", "missing");
            None
        }
    };
    let name = match table.field("name", &raw.name) {
        Some(field) => field::name(&field, problems),
        // One that cannot be used is still what the services of this file call it by.
        None => match &host {
            Some(Host::Address(address)) => Some(address.to_string()),
            Some(Host::Name(_)) | None => raw.address.as_ref().map(|written| written.get_ref().clone()),
        },
    };
    let weight = table.field("weight", &raw.weight);
    let weight =
        weight.map_or(Some(DEFAULT_WEIGHT), |field| field::whole_number(&field, 0..=MAX_WEIGHT, problems));
    let slow_start = table.field("slow_start", &raw.slow_start);
    let slow_start = slow_start.map_or(Some(Duration::ZERO), |field| {
        field::duration(&field, Duration::ZERO..=Duration::from_secs(60 * 60), problems)
    });
    let (key, at) = address_field.map_or((table.key_of("address"), table.at), |field| (field.key, field.at));
    Declared { name, host, weight, slow_start, key, at }
}
