//! The pipeline's packets and tables in plain memory: what the host tests run on, and the oracle that the programs in
//! the kernel are compared with.
//!
//! It shares the pipeline with the kernel and nothing else. The flow tables never evict by themselves; a test that
//! wants an eviction removes an entry.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use bytemuck::Pod;

use crate::{
    abi::{
        Flow, HalfOpen, MaglevTable, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings,
        Ticks, Tuple,
    },
    address::{Address, Family},
    pipeline::{FlowEntry, FlowTable, InsertError, Outcome, Packet, Scratch, Tables, run},
    verdict::Verdict,
    wire::{Ethernet, Ipv4, Ipv6},
};

/// In bytes that nobody may rely on.
const ANY: u8 = 0xa5;

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

    fn resize(&mut self, length: u32, _: Family) -> Option<()> {
        self.bytes = vec![ANY; length as usize];
        Some(())
    }

    fn change_family(&mut self, family: Family) -> Option<()> {
        let (old, new) = match family {
            Family::V4 => (size_of::<Ipv6>(), size_of::<Ipv4>()),
            Family::V6 => (size_of::<Ipv4>(), size_of::<Ipv6>()),
        };
        let rest = self.bytes.get(size_of::<Ethernet>() + old..)?;
        self.bytes = [&vec![ANY; size_of::<Ethernet>() + new][..], rest].concat();
        Some(())
    }

    fn encapsulate(&mut self, outer: Family, _: Family) -> Option<()> {
        let header = match outer {
            Family::V4 => size_of::<Ipv4>(),
            Family::V6 => size_of::<Ipv6>(),
        };
        let inner = self.bytes.get(size_of::<Ethernet>()..)?;
        self.bytes = [&vec![ANY; size_of::<Ethernet>() + header][..], inner].concat();
        Some(())
    }

    fn trim(&mut self, length: u32) -> Option<()> {
        self.bytes.truncate(length as usize);
        Some(())
    }

    fn make_room(&mut self, bytes: i32) -> Option<()> {
        let (room, gone) = (bytes.max(0) as usize, bytes.min(0).unsigned_abs() as usize);
        let rest = self.bytes.get(size_of::<Ethernet>() + gone..)?;
        self.bytes = [&vec![ANY; size_of::<Ethernet>() + room][..], rest].concat();
        Some(())
    }

    fn tagged(&self) -> bool {
        false
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    fn linear(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn length(&self) -> u32 {
        self.linear()
    }
}

/// A flow table with entries of type `E`.
#[derive(Debug)]
pub struct Flows<E> {
    pub entries: RefCell<HashMap<Tuple, E>>,
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

impl<E: FlowEntry + Copy> FlowTable for &Flows<E> {
    type Entry = E;

    fn with<R>(&self, key: &Tuple, f: impl FnOnce(&mut E) -> R) -> Option<R> {
        self.entries.borrow_mut().get_mut(key).map(f)
    }

    fn insert(&self, key: &Tuple, entry: &E) -> Result<(), InsertError> {
        if self.entries.borrow().contains_key(key) {
            return Err(InsertError::Exists);
        }
        self.put(key, entry)
    }

    fn put(&self, key: &Tuple, entry: &E) -> Result<(), InsertError> {
        if !self.entries.borrow().contains_key(key) && self.full() {
            return Err(InsertError::Full);
        }
        self.entries.borrow_mut().insert(*key, *entry);
        Ok(())
    }

    fn remove(&self, key: &Tuple) {
        self.entries.borrow_mut().remove(key);
    }
}

/// A prefix of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// [`Service::sources`] of those that it holds for.
    pub number: u32,
    pub address: Address,
    /// Bits, of the 128 of the common form.
    pub length: u32,
    pub allow: bool,
}

impl Source {
    /// Whether it is one of those under `number`, and holds the address.
    pub fn holds(&self, number: u32, address: &Address) -> bool {
        let bits = |address: &Address| u128::from_be_bytes(bytemuck::cast(address.wide()));
        let differing = (bits(&self.address) ^ bits(address)).leading_zeros();
        self.number == number && differing >= self.length
    }
}

/// Everything that stands in the kernel's maps.
#[derive(Debug, Default)]
pub struct Model {
    pub now: Cell<Ticks>,
    pub settings: Option<Settings>,
    pub flows: Flows<Flow>,
    pub half_open: Flows<HalfOpen>,
    pub services: BTreeMap<ServiceKey, Service>,
    /// The places of the filter that are marked.
    pub marks: BTreeSet<u32>,
    pub sources: Vec<Source>,
    pub tables: BTreeMap<u32, Box<MaglevTable>>,
    pub replicas: BTreeMap<ReplicaId, Replica>,
    pub counters: RefCell<BTreeMap<ReplicaId, ReplicaCounters>>,
    pub verdicts: RefCell<BTreeMap<Verdict, u64>>,
    /// What the last packet left there.
    pub scratch: RefCell<Scratch>,
    pub reports: RefCell<Vec<(Verdict, Tuple)>>,
}

impl Model {
    /// Runs the pipeline on `frame`, which is rewritten if the verdict is to forward it.
    pub fn process(&self, frame: &mut Frame) -> Outcome {
        run(frame, self, &mut self.scratch.borrow_mut())
    }

    /// The counters of a replica.
    pub fn replica_counters(&self, id: ReplicaId) -> ReplicaCounters {
        self.counters.borrow().get(&id).copied().unwrap_or_default()
    }
}

impl Tables for Model {
    fn now(&self) -> Ticks {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn flows(&self) -> impl FlowTable<Entry = Flow> {
        &self.flows
    }

    fn half_open(&self) -> impl FlowTable<Entry = HalfOpen> {
        &self.half_open
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn vip(&self, address: &Address) -> bool {
        self.services.keys().any(|service| service.address == *address)
    }

    fn marked(&self, place: u32) -> bool {
        self.marks.contains(&place)
    }

    fn allowed(&self, number: u32, source: &Address) -> bool {
        let holding = self.sources.iter().filter(|prefix| prefix.holds(number, source));
        holding.max_by_key(|prefix| prefix.length).is_none_or(|prefix| prefix.allow)
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

    fn report(&self, verdict: Verdict, _: &impl Packet, tuple: &Tuple) {
        self.reports.borrow_mut().push((verdict, *tuple));
    }
}
