//! Looks at the flow table as userspace sees it, and compares it with what is known of the connections: while nobody sends, all of
//! it; while packets go on, each entry by itself.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use anyhow::{Context as _, Result, bail, ensure};
use dtr_lb_common::{
    abi::{Control, Direction, Flow, Place, State, Tuple},
    flow_table::{Line as _, Memory as _, WAYS, entry::word},
    model::Words,
};
use dtr_lb_tests::fixtures::frames::tuple;
use dtr_lb_together_ebpf::{
    record::{Mapping, Record},
    world::{FIRST_PORT, REPLICAS},
};

use crate::world;

/// The plain model: by the key of each client's packets, its number; and by the key of each mapping, that.
pub(crate) struct Model {
    clients: HashMap<Tuple, u32>,
    mappings: HashMap<Tuple, Mapping>,
}

/// One client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) peer: u32,
    pub(crate) record: Record,
}

impl Model {
    /// Of these clients, and so many ports towards each replica.
    pub(crate) fn new(clients: &[SocketAddr], ports: u32) -> Self {
        let key = |at: SocketAddr| tuple(at, world::vip(at.is_ipv6()));
        let clients = clients.iter().copied().map(key).zip(0..).collect();
        let mut mappings = HashMap::new();
        for number in 0..REPLICAS {
            for port in 0..ports {
                let mapping = Mapping::new(number as u64, port.into());
                mappings.insert(answers(mapping), mapping);
            }
        }
        Self { clients, mappings }
    }

    /// Looks at all entries, while packets go on: what is read of an entry is of one connection. Returns how many there were.
    pub(crate) fn each_is_whole(&self, table: Words<'_>) -> Result<usize> {
        let mut entries = 0;
        for flow in table.entries(0..table.buckets()) {
            self.who(&flow)?;
            entries += 1;
        }
        Ok(entries)
    }

    /// Whose an entry is, and by which mapping: both of its tuples are of one connection.
    fn who(&self, flow: &Flow) -> Result<(u32, Mapping)> {
        let (client, answers) = match flow.direction() {
            Direction::ToReplica => (flow.key, flow.to.reversed()),
            Direction::ToClient => (flow.to.reversed(), flow.key),
            Direction::Direct => bail!("an entry of a mode that nobody asked for: {flow:#?}"),
        };
        let peer = self.clients.get(&client).with_context(|| format!("no client has this: {flow:#?}"))?;
        let mapping = self
            .mappings
            .get(&answers)
            .with_context(|| format!("no replica and port are these: {flow:#?}"))?;
        ensure!(client.source.family() == answers.source.family(), "a connection of two families: {flow:#?}");
        Ok((*peer, *mapping))
    }

    /// Looks at all of the table, while nobody sends.
    pub(crate) fn is_the_table(&self, table: Words<'_>, known: &[Known]) -> Result<()> {
        controls(table)?;
        let entries: Vec<_> = table.entries(0..table.buckets()).collect();
        let say = |what: &str, flow: &Flow| format!("{what}: {flow:#?}, of {entries:#?}");
        let mut keys = HashSet::new();
        let mut clients = BTreeMap::new();
        for flow in &entries {
            let (peer, mapping) = self.who(flow)?;
            ensure!(keys.insert(flow.key), say("a key is there twice", flow));
            if flow.state() == State::TIME_WAIT_HELD {
                ensure!(flow.direction() == Direction::ToClient, say("a client's entry holds a port", flow));
                continue;
            }
            let other = entries.iter().find(|other| other.place == flow.partner);
            let other = other.with_context(|| say("an entry without its other half", flow))?;
            ensure!(other.partner == flow.place, say("its other half is another's", flow));
            ensure!(other.key == flow.to.reversed(), say("its other half is of another connection", flow));
            ensure!(other.replica == flow.replica, say("its other half has another replica", flow));
            ensure!(other.direction() != flow.direction(), say("both halves go one way", flow));
            let same = flow.control.with_progress_of(other.control) == flow.control;
            ensure!(same, say("its halves say different things", flow));
            if flow.direction() == Direction::ToReplica {
                clients.insert(peer, (mapping, *flow));
            }
        }
        for Known { peer, record } in known {
            let Some((mapping, flow)) = clients.get(peer) else {
                ensure!(
                    !record.live(),
                    "client {peer} is connected, and has no entry: {record:?}, of {entries:#?}"
                );
                continue;
            };
            ensure!(
                *mapping == record.mapping(),
                "client {peer} left by {:?}, and its entry says {mapping:?}: {flow:#?}",
                record.mapping()
            );
            ensure!(!record.live() || flow.state().live(), say("a connected client's", flow));
        }
        Ok(())
    }
}

/// The key of what a replica sends to a port.
pub(crate) fn answers(mapping: Mapping) -> Tuple {
    let replica = world::replica(mapping.replica() as usize);
    let nat = SocketAddr::new(world::nat(replica.is_ipv6()), FIRST_PORT + mapping.port() as u16);
    tuple(replica, nat)
}

/// Looks at the control words, those of entries that are free, too.
fn controls(table: Words<'_>) -> Result<()> {
    let control = |place: Place| table.line(place).map(|line| Control(line.load(word::CONTROL)));
    for number in 0..table.buckets() * WAYS {
        let place = Place(number);
        let own = control(place).context("a place of the table")?;
        ensure!(!own.locked(), "{place:?} is left locked: {own:?}");
        let second = number % 2 == 1;
        if own.state() == State::CONTINUED {
            let first = control(Place(number - u32::from(second)));
            ensure!(second && first.is_some_and(Control::wide), "{place:?} goes on from nothing: {first:?}");
        }
        if own.wide() && own.state() != State::FREE {
            let behind = control(Place(number + 1));
            let goes_on = behind.is_some_and(|behind| behind.state() == State::CONTINUED);
            ensure!(!second && goes_on, "{place:?} has half: {behind:?}");
        }
    }
    Ok(())
}
