//! The pipeline's tables in plain memory, for sequences that are short and many: lists, where the library's `model` has
//! maps, and tables that may be full.

use std::cell::{Cell, RefCell};

use dtr_lb_common::{
    abi::{Flow, HalfOpen, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Ticks, Tuple},
    address::Address,
    pipeline::{FlowEntry, FlowTable, InsertError, Packet, Tables},
    verdict::Verdict,
};

use crate::{
    net::Ip,
    world::{Full, MAX_REPLICAS, MAX_SERVICES, SECOND, World},
};

/// Replicas that there may be, and id 0.
const IDS: usize = MAX_SERVICES * MAX_REPLICAS + 1;

/// A table of flows.
#[derive(Debug)]
pub struct List<E> {
    entries: RefCell<Vec<(Tuple, E)>>,
    room: usize,
    full: Full,
    /// Says which entry is evicted next.
    turn: Cell<usize>,
    evicted: RefCell<Vec<Tuple>>,
}

impl<E: Copy> List<E> {
    fn new(room: usize, full: Full) -> Self {
        let (entries, evicted) = (RefCell::new(Vec::with_capacity(32)), RefCell::default());
        Self { entries, room, full, turn: Cell::new(0), evicted }
    }

    pub fn has(&self, key: &Tuple) -> bool {
        self.entries.borrow().iter().any(|(known, _)| known == key)
    }

    pub fn count(&self) -> usize {
        self.entries.borrow().len()
    }

    pub fn keys(&self) -> Vec<Tuple> {
        self.entries.borrow().iter().map(|(key, _)| *key).collect()
    }

    /// Takes out the entry at this place.
    pub fn evict(&self, at: usize) -> Option<Tuple> {
        let mut entries = self.entries.borrow_mut();
        (at < entries.len()).then(|| entries.remove(at).0)
    }

    /// What made room since the last call.
    pub fn take_evicted(&self) -> Vec<Tuple> {
        self.evicted.take()
    }
}

impl<E: FlowEntry + Copy> FlowTable for &List<E> {
    type Entry = E;

    fn with<R>(&self, key: &Tuple, f: impl FnOnce(&mut E) -> R) -> Option<R> {
        self.entries.borrow_mut().iter_mut().find(|(known, _)| known == key).map(|(_, entry)| f(entry))
    }

    fn insert(&self, key: &Tuple, entry: &E) -> Result<(), InsertError> {
        if self.has(key) { Err(InsertError::Exists) } else { self.put(key, entry) }
    }

    fn put(&self, key: &Tuple, entry: &E) -> Result<(), InsertError> {
        let mut entries = self.entries.borrow_mut();
        if let Some((_, known)) = entries.iter_mut().find(|(known, _)| known == key) {
            *known = *entry;
            return Ok(());
        }
        if entries.len() >= self.room {
            if self.full == Full::Fails {
                return Err(InsertError::Full);
            }
            let turn = self.turn.get().wrapping_add(1);
            self.turn.set(turn);
            let at = turn.wrapping_mul(7) % entries.len();
            self.evicted.borrow_mut().push(entries.remove(at).0);
        }
        entries.push((*key, *entry));
        Ok(())
    }

    fn remove(&self, key: &Tuple) {
        self.entries.borrow_mut().retain(|(known, _)| known != key);
    }
}

/// What the pipeline knows, and what it has counted.
#[derive(Debug)]
pub struct Memory {
    pub world: World,
    pub now: Cell<Ticks>,
    pub flows: List<Flow>,
    pub half_open: List<HalfOpen>,
    replicas: Vec<Option<Replica>>,
    counters: RefCell<[ReplicaCounters; IDS]>,
    /// Packets that were recorded, and the last one of them.
    pub recorded: Cell<u64>,
    pub last: Cell<Option<(Verdict, u32)>>,
    pub reported: Cell<Option<Verdict>>,
}

impl Memory {
    pub fn new(world: World) -> Self {
        let (flows, half_open) = (List::new(world.flows, world.full), List::new(world.half_open, world.full));
        let mut memory = Self {
            world,
            // Shortly before the clock wraps.
            now: Cell::new(0_u32.wrapping_sub(20 * SECOND)),
            flows,
            half_open,
            replicas: Vec::new(),
            counters: RefCell::new([ReplicaCounters::default(); IDS]),
            recorded: Cell::new(0),
            last: Cell::new(None),
            reported: Cell::new(None),
        };
        memory.write_replicas();
        memory
    }

    /// Takes over what the world says of replicas.
    pub fn write_replicas(&mut self) {
        self.replicas = (0..IDS as u16).map(|id| self.world.abi_replica(id)).collect();
    }

    pub fn counters(&self) -> [ReplicaCounters; IDS] {
        *self.counters.borrow()
    }

    pub fn new_flows(&self) -> u64 {
        self.counters.borrow().iter().map(|counters| counters.new_flows).sum()
    }
}

impl Tables for Memory {
    fn now(&self) -> Ticks {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        self.world.settings()
    }

    fn marked(&self, place: u32) -> bool {
        self.world.marked(place)
    }

    fn flows(&self) -> impl FlowTable<Entry = Flow> {
        &self.flows
    }

    fn half_open(&self) -> impl FlowTable<Entry = HalfOpen> {
        &self.half_open
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.world.abi_service(key)
    }

    fn vip(&self, address: &Address) -> bool {
        self.world.is_vip(&Ip::from(*address))
    }

    fn allowed(&self, number: u32, source: &Address) -> bool {
        self.world.allowed(number, source)
    }

    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        self.world.slot(table, slot)
    }

    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.replicas.get(usize::from(id))?.as_ref()
    }

    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters)) {
        f(&mut self.counters.borrow_mut()[usize::from(id)]);
    }

    fn record(&self, verdict: Verdict, bytes: u32) {
        self.recorded.set(self.recorded.get() + 1);
        self.last.set(Some((verdict, bytes)));
    }

    fn report(&self, verdict: Verdict, _: &impl Packet, _: &Tuple) {
        self.reported.set(Some(verdict));
    }
}
