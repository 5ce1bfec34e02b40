//! The pipeline's packets and tables in plain memory: what the host tests run on, and the oracle that the programs in
//! the kernel are compared with.
//!
//! It shares the pipeline with the kernel and nothing else. The flow tables never evict by themselves; a test that
//! wants an eviction removes an entry.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
};

use bytemuck::Pod;

use crate::{
    abi::{
        Flow, HalfOpen, MaglevTable, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings,
        Ticks, Tuple,
    },
    address::Ipv4Words,
    pipeline::{FlowEntry, FlowTable, InsertError, Outcome, Packet, Tables, V4, run},
    verdict::Verdict,
};

/// A frame in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Index of the interface that it came in by.
    pub interface: u32,
}

impl Packet for Frame {
    fn read<T: Pod>(&self, offset: usize) -> Option<T> {
        self.bytes.get(offset..offset + size_of::<T>()).map(bytemuck::pod_read_unaligned)
    }

    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        let place = self.bytes.get_mut(offset..offset + size_of::<T>())?;
        place.copy_from_slice(bytemuck::bytes_of(&value));
        Some(())
    }

    fn resize(&mut self, length: u32) -> Option<()> {
        // Bytes that nobody may rely on.
        self.bytes = vec![0xa5; length as usize];
        Some(())
    }

    fn tagged(&self) -> bool {
        false
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }
}

/// A flow table with entries of type `E`.
#[derive(Debug)]
pub struct Flows<E> {
    pub entries: RefCell<HashMap<Tuple<Ipv4Words>, E>>,
    /// Insertions fail from this many entries on.
    pub capacity: Option<usize>,
}

impl<E> Default for Flows<E> {
    fn default() -> Self {
        Self { entries: RefCell::default(), capacity: None }
    }
}

impl<E> Flows<E> {
    fn full(&self) -> bool {
        self.capacity.is_some_and(|capacity| self.entries.borrow().len() >= capacity)
    }
}

impl<E: FlowEntry<V4> + Copy> FlowTable<V4> for &Flows<E> {
    type Entry = E;

    fn with<R>(&self, key: &Tuple<Ipv4Words>, f: impl FnOnce(&mut E) -> R) -> Option<R> {
        self.entries.borrow_mut().get_mut(key).map(f)
    }

    fn insert(&self, key: &Tuple<Ipv4Words>, entry: &E) -> Result<(), InsertError> {
        if self.entries.borrow().contains_key(key) {
            return Err(InsertError::Exists);
        }
        self.put(key, entry)
    }

    fn put(&self, key: &Tuple<Ipv4Words>, entry: &E) -> Result<(), InsertError> {
        if !self.entries.borrow().contains_key(key) && self.full() {
            return Err(InsertError::Full);
        }
        self.entries.borrow_mut().insert(*key, *entry);
        Ok(())
    }

    fn remove(&self, key: &Tuple<Ipv4Words>) {
        self.entries.borrow_mut().remove(key);
    }
}

/// Everything that stands in the kernel's maps.
#[derive(Debug, Default)]
pub struct Model {
    pub now: Cell<Ticks>,
    pub settings: Option<Settings>,
    pub flows: Flows<Flow<Ipv4Words>>,
    pub half_open: Flows<HalfOpen<Ipv4Words>>,
    pub services: BTreeMap<ServiceKey, Service>,
    pub tables: BTreeMap<u32, Box<MaglevTable>>,
    pub replicas: BTreeMap<ReplicaId, Replica>,
    pub counters: RefCell<BTreeMap<ReplicaId, ReplicaCounters>>,
    pub verdicts: RefCell<BTreeMap<Verdict, u64>>,
    /// What the last use of the draft left there.
    pub draft: RefCell<Option<HalfOpen<Ipv4Words>>>,
    pub reports: RefCell<Vec<(Verdict, Tuple<Ipv4Words>)>>,
}

impl Model {
    /// Runs the pipeline on `frame`, which is rewritten if the verdict is to forward it.
    pub fn process(&self, frame: &mut Frame) -> Outcome {
        run(frame, self)
    }

    /// The counters of a replica.
    pub fn replica_counters(&self, id: ReplicaId) -> ReplicaCounters {
        self.counters.borrow().get(&id).copied().unwrap_or_default()
    }
}

impl Tables<V4> for Model {
    fn now(&self) -> Ticks {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn flows(&self) -> impl FlowTable<V4, Entry = Flow<Ipv4Words>> {
        &self.flows
    }

    fn half_open(&self) -> impl FlowTable<V4, Entry = HalfOpen<Ipv4Words>> {
        &self.half_open
    }

    fn draft<R>(&self, f: impl FnOnce(&mut HalfOpen<Ipv4Words>) -> R) -> Option<R> {
        let draft = &mut *self.draft.borrow_mut();
        Some(f(draft.get_or_insert_with(bytemuck::Zeroable::zeroed)))
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        self.tables.get(&table).map_or(0, |table| table[slot as usize])
    }

    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.get(&id)
    }

    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters)) {
        f(self.counters.borrow_mut().entry(id).or_default());
    }

    fn record(&self, verdict: Verdict, _: u32) {
        *self.verdicts.borrow_mut().entry(verdict).or_default() += 1;
    }

    fn report(&self, verdict: Verdict, _: &impl Packet, tuple: &Tuple<Ipv4Words>) {
        self.reports.borrow_mut().push((verdict, *tuple));
    }
}
