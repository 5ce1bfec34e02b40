//! The kernel's tables, for the pipeline to run on without changing them: what it writes it finds again, and nobody else does.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
};

use dtr_lb_common::{
    abi::{
        Filter, Flow, HalfOpen, MAX_REPLICAS, MaglevTable, Replica, ReplicaCounters, ReplicaId, Service,
        ServiceKey, Settings, Ticks, Tuple,
    },
    address::Address,
    pipeline::{FlowEntry, FlowTable, InsertError, Packet, Tables},
    verdict::Verdict,
};

use crate::datapath::{DatapathError, Reader};

/// The tables.
pub(super) struct View<'a> {
    reader: &'a Reader,
    pub(super) now: Cell<Ticks>,
    settings: Option<Settings>,
    filter: Box<Filter>,
    /// Read when it is asked for.
    replicas: Vec<OnceCell<Option<Replica>>>,
    tables: RefCell<BTreeMap<u32, Box<MaglevTable>>>,
    services: RefCell<BTreeMap<ServiceKey, Option<Service>>>,
    vips: RefCell<BTreeMap<Address, bool>>,
    allowed: RefCell<BTreeMap<(u32, Address), bool>>,
    flows: Overlay<'a, Flow>,
    half_open: Overlay<'a, HalfOpen>,
    /// The first of what could not be read: the pipeline has no word for it.
    failed: RefCell<Option<DatapathError>>,
}

/// What is asked of a table that has no entry yet.
type Read<'a, E> = fn(&'a Reader, &Tuple) -> Result<Option<E>, DatapathError>;

/// A flow table, and what was written since.
struct Overlay<'a, E> {
    /// None to begin with an empty table.
    kernel: Option<Read<'a, E>>,
    entries: RefCell<HashMap<Tuple, Option<E>>>,
}

/// Whether connections that are there count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connections {
    AsTheyAre,
    None,
}

impl<'a> View<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        now: Ticks,
        connections: Connections,
    ) -> Result<Self, DatapathError> {
        let there = connections == Connections::AsTheyAre;
        Ok(Self {
            reader,
            now: Cell::new(now),
            settings: reader.settings()?,
            filter: reader.filter()?,
            replicas: vec![OnceCell::new(); MAX_REPLICAS],
            tables: RefCell::default(),
            services: RefCell::default(),
            vips: RefCell::default(),
            allowed: RefCell::default(),
            flows: Overlay::new(there.then_some(Reader::flow)),
            half_open: Overlay::new(there.then_some(Reader::half_open_entry)),
            failed: RefCell::default(),
        })
    }

    /// Forgets what was written.
    pub(super) fn forget(&self) {
        self.flows.entries.borrow_mut().clear();
        self.half_open.entries.borrow_mut().clear();
    }

    /// What was read, if all could be.
    pub(super) fn whole(&self) -> Result<(), DatapathError> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }

    fn read<T>(&self, result: Result<T, DatapathError>) -> Option<T> {
        result.map_err(|error| _ = self.failed.borrow_mut().get_or_insert(error)).ok()
    }
}

/// What the cache has, or what is read once and kept.
fn cached<K: Ord + Copy, V: Copy>(cache: &RefCell<BTreeMap<K, V>>, key: K, read: impl FnOnce() -> V) -> V {
    *cache.borrow_mut().entry(key).or_insert_with(read)
}

impl<'a, E> Overlay<'a, E> {
    fn new(kernel: Option<Read<'a, E>>) -> Self {
        Self { kernel, entries: RefCell::default() }
    }
}

/// A table for the length of a call.
struct Table<'v, 'a, E> {
    overlay: &'v Overlay<'a, E>,
    view: &'v View<'a>,
}

impl<E: FlowEntry + Copy> Table<'_, '_, E> {
    /// Makes the entry of a key known, if there is one.
    fn look(&self, key: &Tuple) {
        if self.overlay.entries.borrow().contains_key(key) {
            return;
        }
        let read = self.overlay.kernel.map(|read| read(self.view.reader, key));
        let found = read.and_then(|result| self.view.read(result)).flatten();
        self.overlay.entries.borrow_mut().insert(*key, found);
    }
}

impl<E: FlowEntry + Copy> FlowTable for Table<'_, '_, E> {
    type Entry = E;

    fn with<R>(&self, key: &Tuple, f: impl FnOnce(&mut E) -> R) -> Option<R> {
        self.look(key);
        self.overlay.entries.borrow_mut().get_mut(key)?.as_mut().map(f)
    }

    fn insert(&self, key: &Tuple, entry: &E) -> Result<(), InsertError> {
        self.look(key);
        if matches!(self.overlay.entries.borrow().get(key), Some(Some(_))) {
            return Err(InsertError::Exists);
        }
        self.put(key, entry)
    }

    fn put(&self, key: &Tuple, entry: &E) -> Result<(), InsertError> {
        self.overlay.entries.borrow_mut().insert(*key, Some(*entry));
        Ok(())
    }

    fn remove(&self, key: &Tuple) {
        self.overlay.entries.borrow_mut().insert(*key, None);
    }
}

impl Tables for View<'_> {
    fn now(&self) -> Ticks {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn marked(&self, place: u32) -> bool {
        self.filter.get(place as usize).is_some_and(|mark| *mark != 0)
    }

    fn flows(&self) -> impl FlowTable<Entry = Flow> {
        Table { overlay: &self.flows, view: self }
    }

    fn half_open(&self) -> impl FlowTable<Entry = HalfOpen> {
        Table { overlay: &self.half_open, view: self }
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        cached(&self.services, *key, || self.read(self.reader.service(key)).flatten())
    }

    fn vip(&self, address: &Address) -> bool {
        cached(&self.vips, *address, || self.read(self.reader.vip(address)).unwrap_or(false))
    }

    fn allowed(&self, number: u32, source: &Address) -> bool {
        cached(&self.allowed, (number, *source), || {
            self.read(self.reader.allowed(number, source)).flatten().unwrap_or(true)
        })
    }

    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        let mut tables = self.tables.borrow_mut();
        if let std::collections::btree_map::Entry::Vacant(place) = tables.entry(table) {
            let Some(read) = self.read(self.reader.table(table)) else { return 0 };
            place.insert(read);
        }
        tables.get(&table).and_then(|table| table.get(slot as usize)).copied().unwrap_or(0)
    }

    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        let place = self.replicas.get(usize::from(id))?;
        place.get_or_init(|| self.read(self.reader.replica(id)).flatten()).as_ref()
    }

    fn count(&self, _: ReplicaId, _: impl FnOnce(&mut ReplicaCounters)) {}

    fn record(&self, _: Verdict, _: u32) {}

    fn report(&self, _: Verdict, _: &impl Packet, _: &Tuple) {}
}
