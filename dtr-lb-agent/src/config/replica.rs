//! `[[replica]]`: the backends, before services pick theirs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::address::unicast_or_name;
use super::admin::Admin;
use super::key::{depends, is, required, table};
use super::listed::{DEFAULT_WEIGHT, Host, Listed, MAX_WEIGHT};
use super::name::NAME;
use super::node::Table;
use super::problems::Problems;
use super::takes::{HOUR, Text, Whole, millis};

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

const ADDRESS: Text<Host> = Text {
    words: "an IP address in quotes that no other replica and no VIP has, as in \"10.0.0.11\", or a host name",
    parse: unicast_or_name,
    show: Host::to_string,
};

table! {
    WrittenReplica {
        /// Its name in `status`, in the log and in `service.replicas`; each replica its own.
        name: String = NAME, depends("its address, as written", "\"replica-1\"").needed();
        /// Where it is: a host other than this one. A [host name](#host-names) stands for all its addresses.
        address: Host = ADDRESS, required("\"10.0.0.11\"");
        /// Its share of new connections, in proportion to the others'. 0: it drains. It gets no new ones, and those that it has go
        /// on; `status` shows it as `draining`.
        weight: u16 = Whole(0..=MAX_WEIGHT), is(DEFAULT_WEIGHT);
        /// When it comes back from being down or draining, its share rises to its weight over this time, in 20 steps. Not at the
        /// start of the agent, and not where it is needed at once because no other is up.
        slow_start: Duration = millis(0, HOUR), is(Duration::ZERO);
    }
}

/// A `[[replica]]`, as far as it could be read: what could not be is `None`, and reported.
#[derive(Debug)]
pub(super) struct Declared<'a> {
    table: Table<'a>,
    written: WrittenReplica<'a>,
}

impl Declared<'_> {
    pub(super) fn name(&self) -> Option<&str> {
        self.written.name.value.as_deref()
    }

    /// Its address, if it has one by itself.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.written.address.value.as_ref().and_then(Host::address)
    }

    pub(super) fn listed(&self) -> Option<Listed> {
        let WrittenReplica { name, address, weight, slow_start } = &self.written;
        Some(Listed {
            name: name.value.clone()?,
            host: address.value.clone()?,
            weight: weight.value?,
            slow_start: slow_start.value?,
            backup: false,
        })
    }

    /// Something is wrong with where it is.
    pub(super) fn refuse_address(&self, what: String, problems: &mut Problems<'_>) {
        match &self.written.address.node {
            Some(node) => problems.key(node.at, &node.key, what),
            None => problems.missing(&self.table, "address", what),
        }
    }
}

pub(super) fn declared<'a>(top: &Table<'a>, problems: &mut Problems<'_>) -> Vec<Declared<'a>> {
    let Some(tables) = top.tables("replica", problems) else { return Vec::new() };
    let wanted = top.node("replica").and_then(|node| node.elements(problems)).unwrap_or_default();
    if wanted.is_empty() {
        problems.missing(top, "replica", "missing: no replica to forward to");
    }
    let mut replicas = Vec::with_capacity(tables.len());
    let mut first_with = FirstWith::default();
    for table in tables {
        let mut written = WrittenReplica::read(&table, problems);
        // One that cannot be used is still what the services of this file call it by.
        written.name.or(|| match &written.address.value {
            Some(Host::Address(address)) => Some(address.to_string()),
            Some(Host::Name(_)) | None => Some(written.address.node.as_ref()?.value.as_str()?.to_owned()),
        });
        let replica = Declared { table, written };
        first_with.refuse_twins(&replica, problems);
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
    fn refuse_twins(&mut self, Declared { table, written }: &Declared<'_>, problems: &mut Problems<'_>) {
        let this = format!("{} ({})", table.key, problems.source.brief(table.at));
        if let (Some(host), Some(node)) = (&written.address.value, &written.address.node) {
            if let Some(first) = self.host.get(host) {
                problems.refuse(node, format!("the address of {first} as well"));
                if written.name.node.is_none() {
                    // The same name too, for the same reason: said once is enough.
                    return;
                }
            } else {
                self.host.insert(host.clone(), this.clone());
            }
        }
        let Some(name) = &written.name.value else { return };
        let Some(first) = self.name.get(name) else {
            self.name.insert(name.clone(), this);
            return;
        };
        match &written.name.node {
            Some(node) => problems.refuse(node, format!("the name of {first} as well")),
            None if written.address.value.is_none() => {}
            None => {
                let what = format!("unwritten, so it is \"{name}\", which is the name of {first} as well");
                problems.missing(table, "name", what);
            }
        }
    }
}
