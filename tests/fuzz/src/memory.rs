//! The pipeline's tables in plain memory, for sequences that are short and many: few buckets, few places for next hops, few
//! SYNs that are kept. There are two of them, so that each frame can be played twice.

use std::cell::{Cell, RefCell};

use dtr_lb_common::{
    abi::{
        Control, End, FLOW_STATS_NUMBERS, Flow, FlowEvent, FlowStats, Hop, KeptSyn, Place, Replica,
        ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Ticks, Tuple, Witness,
    },
    address::Address,
    flow_table::{self, next_hops},
    model::{Remembered, SharedLine},
    pipeline::{
        Packet, Tables,
        admission::ClientMemory,
        milestone,
        sweep::{Request, carry_out},
    },
    verdict::Verdict,
    wire::Mac,
};

use crate::{
    net::Ip,
    words::Table,
    world::{MAX_REPLICAS, MAX_SERVICES, SECOND, World},
};

/// Replicas that there may be, and id 0.
const IDS: usize = MAX_SERVICES * MAX_REPLICAS + 1;
/// When sequences begin: shortly before the clock wraps.
pub const START: Ticks = 0_u32.wrapping_sub(20 * SECOND);
/// The other clock then: it wraps, too.
const MICROS: u32 = 0_u32.wrapping_sub(9_999_999);
/// Places in which a hop may stand.
const HOP_PLACES: usize = 8;

/// What the pipeline has written.
#[derive(Debug)]
pub struct Store {
    pub flows: Table,
    hops: Table,
    syns: RefCell<Vec<Option<KeptSyn>>>,
    next_syn: Cell<usize>,
    /// The SYN that the last frame has overwritten, and where it stood.
    overwritten: Cell<Option<(usize, Option<KeptSyn>)>>,
    counters: RefCell<[ReplicaCounters; IDS]>,
    pub remembered: Remembered,
    /// Who has seen which replica say nothing.
    witnesses: RefCell<Vec<(ReplicaId, Witness)>>,
    /// Packets that were recorded, and the last one of them.
    pub recorded: Cell<u64>,
    pub last: Cell<Option<(Verdict, u32)>>,
    pub reported: Cell<Option<Verdict>>,
    stats: RefCell<[FlowStats; IDS]>,
    /// What was told of connections since the last frame began, or the sweep.
    pub events: RefCell<Vec<FlowEvent>>,
    /// And what there was no room for.
    pub untold: Cell<usize>,
    /// Events that there is room for; as many as there may be where that is not said.
    room: Cell<Option<u8>>,
    /// Locks that can be had before one cannot.
    locks: Cell<Option<u8>>,
    /// One could not be had.
    pub refused: Cell<bool>,
}

impl Store {
    fn new(world: &World) -> Self {
        Self {
            flows: Table::of_buckets(world.buckets),
            hops: Table::of_hops(world.hops),
            syns: RefCell::new(vec![None; world.syns]),
            next_syn: Cell::new(0),
            overwritten: Cell::new(None),
            counters: RefCell::new([ReplicaCounters::default(); IDS]),
            remembered: Remembered::default(),
            witnesses: RefCell::default(),
            recorded: Cell::new(0),
            last: Cell::new(None),
            reported: Cell::new(None),
            stats: RefCell::new([FlowStats::default(); IDS]),
            events: RefCell::default(),
            untold: Cell::new(0),
            room: Cell::new(None),
            locks: Cell::new(None),
            refused: Cell::new(false),
        }
    }

    /// Becomes what the other one is.
    fn take_over(&self, from: &Self) {
        self.flows.take_over(&from.flows);
        self.hops.take_over(&from.hops);
        self.syns.borrow_mut().clone_from(&from.syns.borrow());
        self.next_syn.set(from.next_syn.get());
        *self.counters.borrow_mut() = *from.counters.borrow();
        self.remembered.take_over(&from.remembered);
        self.witnesses.borrow_mut().clone_from(&from.witnesses.borrow());
        self.recorded.set(from.recorded.get());
        self.last.set(from.last.get());
        *self.stats.borrow_mut() = *from.stats.borrow();
        self.events.borrow_mut().clone_from(&from.events.borrow());
        self.untold.set(from.untold.get());
        self.room.set(from.room.get());
        self.locks.set(from.locks.get());
        self.refused.set(false);
    }

    /// Nothing was told yet of what happens next.
    fn hears_anew(&self) {
        self.events.borrow_mut().clear();
        self.untold.set(0);
    }

    /// In what it is not what the other one is.
    fn differs(&self, other: &Self) -> Option<String> {
        if self.flows != other.flows {
            let differ =
                |(one, other): (&Flow, &Flow)| (one != other).then(|| format!("{one:?} and {other:?}"));
            let (one, other) = (self.flows.entries(), other.flows.entries());
            let found = one.iter().zip(&other).find_map(differ);
            return Some(found.unwrap_or_else(|| format!("{} and {} entries", one.len(), other.len())));
        }
        let hops = self.hops != other.hops;
        let syns = self.next_syn != other.next_syn || *self.syns.borrow() != *other.syns.borrow();
        let counted = *self.counters.borrow() != *other.counters.borrow()
            || *self.witnesses.borrow() != *other.witnesses.borrow()
            || (self.recorded.get(), self.last.get(), self.reported.get())
                != (other.recorded.get(), other.last.get(), other.reported.get());
        let told = *self.stats.borrow() != *other.stats.borrow()
            || *self.events.borrow() != *other.events.borrow()
            || self.untold != other.untold;
        let remembered = self.remembered != other.remembered;
        let what = [
            (hops, "next hops"),
            (syns, "SYNs that are kept"),
            (counted, "counters"),
            (told, "what is counted and told of connections"),
            (remembered, "what is remembered of clients"),
        ];
        what.iter().find(|(differs, _)| *differs).map(|(_, what)| (*what).to_owned())
    }

    pub fn hop(&self, index: u16) -> Option<Hop> {
        next_hops::get(&Hops(self), index)
    }

    /// Whether there surely is a place for another next hop.
    pub fn takes_hop(&self, hop: &Hop) -> bool {
        let all = || (0..self.hops.hops()).filter_map(|index| self.hop(index as u16));
        let places = HOP_PLACES.min(self.hops.hops());
        all().count() < places || (self.hops.hops() <= HOP_PLACES && all().any(|one| one == *hop))
    }

    /// The next hops that no entry names.
    fn unnamed_hops(&self) -> impl Iterator<Item = u16> {
        let places = self.hops.hops() as u16;
        let named: Vec<u16> = self.flows.entries().iter().map(|flow| flow.hop % places).collect();
        (0..places).filter(move |index| !named.contains(index))
    }

    /// What was kept there before the last frame.
    pub fn kept_before(&self, at: u32) -> Option<KeptSyn> {
        let at = (at as usize).checked_sub(1)?;
        match self.overwritten.get() {
            Some((place, before)) if place == at => before,
            _ => self.syns.borrow().get(at).copied().flatten(),
        }
    }

    pub fn counters(&self) -> [ReplicaCounters; IDS] {
        *self.counters.borrow()
    }

    pub fn stats(&self) -> [FlowStats; IDS] {
        *self.stats.borrow()
    }

    pub fn new_flows(&self) -> u64 {
        self.counters.borrow().iter().map(|counters| counters.new_flows).sum()
    }
}

/// The table of next hops. Those of the datapath are as many as an index can say; here several indices are one place.
#[derive(Clone, Copy)]
struct Hops<'a>(&'a Store);

impl<'a> next_hops::NextHops for Hops<'a> {
    type Line = SharedLine<'a>;

    fn next_hop(&self, index: u16) -> Option<SharedLine<'a>> {
        self.0.hops.words().next_hop(index % self.0.hops.hops() as u16)
    }
}

/// The flow table, with locks that others may have.
#[derive(Clone, Copy)]
struct Locked<'a> {
    memory: &'a Memory,
    store: &'a Store,
}

impl<'a> flow_table::Memory for Locked<'a> {
    type Line = SharedLine<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        self.store.flows.words().bucket(number)
    }

    fn way(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        self.store.flows.words().way(bucket, way)
    }

    fn pair_of(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        self.store.flows.words().pair_of(bucket, way)
    }

    fn lock(&self, _: u32) -> bool {
        let left = self.store.locks.get();
        self.store.locks.set(left.and_then(|left| left.checked_sub(1)));
        let refused = left == Some(0);
        self.store.refused.set(self.store.refused.get() || refused);
        !refused
    }

    fn unlock(&self, _: u32) {}

    fn over(&self, place: Place, control: Control, end: End) -> bool {
        let Self { memory, store } = *self;
        milestone::over(&View { memory, store }, place, control, end)
    }
}

/// What the pipeline knows, and what it has counted.
#[derive(Debug)]
pub struct Memory {
    pub world: World,
    pub now: Ticks,
    /// The clock of handshakes.
    pub micros: u32,
    replicas: Vec<Option<Replica>>,
    pub store: Store,
    /// Where a frame is played once more.
    again: Store,
}

impl Memory {
    pub fn new(world: World) -> Self {
        let (store, again) = (Store::new(&world), Store::new(&world));
        let mut memory = Self { world, now: START, micros: MICROS, replicas: Vec::new(), store, again };
        memory.write_replicas();
        memory
    }

    /// Takes over what the world says of replicas.
    pub fn write_replicas(&mut self) {
        self.replicas = (0..IDS as u16).map(|id| self.world.abi_replica(id)).collect();
    }

    /// Before a frame: the other store becomes a copy.
    pub fn branch(&self) {
        self.store.refused.set(false);
        self.store.overwritten.set(None);
        self.store.reported.set(None);
        self.again.reported.set(None);
        self.store.hears_anew();
        self.again.take_over(&self.store);
    }

    /// After a frame that was played in both: in what they differ.
    pub fn differs(&self) -> Option<String> {
        self.store.differs(&self.again)
    }

    pub fn tables(&self) -> View<'_> {
        View { memory: self, store: &self.store }
    }

    pub fn tables_again(&self) -> View<'_> {
        View { memory: self, store: &self.again }
    }

    /// After so many insertions another processor has the lock.
    pub fn refuse_lock(&self, after: u8) {
        self.store.locks.set(Some(after));
    }

    /// The ring of events is full after so many.
    pub fn leave_room(&self, events: Option<u8>) {
        self.store.room.set(events);
    }

    /// The agent's sweep asks for the end of everything, which is granted to what has outlived its state, for that to be told which
    /// was not when it came, and for the room of next hops that no entry names. Returns how many connections have ended.
    pub fn sweep(&self) -> usize {
        let (mut flow, mut other): (Flow, Flow) =
            (bytemuck::Zeroable::zeroed(), bytemuck::Zeroable::zeroed());
        let mut granted = |request: &Request| carry_out(request, &self.tables(), &mut flow, &mut other);
        self.store.hears_anew();
        let swept = self.store.flows.entries().iter().filter(|flow| granted(&Request::end(flow))).count();
        for flow in self.store.flows.entries() {
            granted(&Request::tell(&flow));
        }
        for index in self.store.unnamed_hops() {
            granted(&Request::free_hop(index, self.now.wrapping_add(1)));
        }
        swept
    }
}

/// One of the two stores, as the pipeline sees it.
#[derive(Clone, Copy)]
pub struct View<'a> {
    memory: &'a Memory,
    store: &'a Store,
}

impl Tables for View<'_> {
    fn now(&self) -> Ticks {
        self.memory.now
    }

    fn settings(&self) -> Option<&Settings> {
        self.memory.world.settings()
    }

    fn marked(&self, place: u32) -> bool {
        self.memory.world.marked(place)
    }

    fn flows(&self) -> impl flow_table::Memory {
        Locked { memory: self.memory, store: self.store }
    }

    fn next_hops(&self) -> impl next_hops::NextHops {
        Hops(self.store)
    }

    fn keep_syn(&self, syn: &KeptSyn) -> u32 {
        let mut syns = self.store.syns.borrow_mut();
        let at = self.store.next_syn.get();
        self.store.next_syn.set((at + 1) % syns.len());
        self.store.overwritten.set(Some((at, syns[at].replace(KeptSyn { answered: 0, ..*syn }))));
        at as u32 + 1
    }

    fn kept_syn(&self, at: u32, syn: &mut KeptSyn) -> bool {
        let Some(at) = (at as usize).checked_sub(1) else { return false };
        self.store.syns.borrow().get(at).copied().flatten().is_some_and(|kept| {
            *syn = kept;
            true
        })
    }

    fn answered(&self, at: u32, micros: u32) {
        if let Some(Some(kept)) = self.store.syns.borrow_mut().get_mut(at.wrapping_sub(1) as usize) {
            kept.answered = micros;
        }
    }

    fn micros(&self) -> u32 {
        self.memory.micros
    }

    fn tally(&self, id: ReplicaId, place: usize, amount: u64) {
        let mut stats = self.store.stats.borrow_mut();
        let numbers: &mut [u64; FLOW_STATS_NUMBERS] = bytemuck::cast_mut(&mut stats[usize::from(id)]);
        numbers[place] += amount;
    }

    fn flow_wanted(&self) -> u32 {
        self.memory.world.flow_wanted
    }

    fn tell_flow(&self, _: bool, fill: impl FnOnce(&mut FlowEvent)) -> bool {
        let left = self.store.room.get();
        if left == Some(0) {
            self.store.untold.set(self.store.untold.get() + 1);
            return false;
        }
        self.store.room.set(left.map(|left| left - 1));
        let mut event = bytemuck::Zeroable::zeroed();
        fill(&mut event);
        self.store.events.borrow_mut().push(event);
        true
    }

    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.memory.world.abi_service(key)
    }

    fn vip(&self, address: &Address) -> bool {
        self.memory.world.is_vip(&Ip::from(*address))
    }

    fn allowed(&self, number: u32, source: &Address) -> bool {
        self.memory.world.allowed(number, source)
    }

    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        self.memory.world.slot(table, slot)
    }

    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        self.memory.replicas.get(usize::from(id))?.as_ref()
    }

    fn clients(&self) -> impl ClientMemory {
        &self.store.remembered
    }

    fn is_own(&self, _: u32, mac: &Mac) -> bool {
        self.memory.world.is_own(*mac)
    }

    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters)) {
        f(&mut self.store.counters.borrow_mut()[usize::from(id)]);
    }

    fn witness(&self, id: ReplicaId, witness: &Witness) {
        self.store.witnesses.borrow_mut().push((id, *witness));
    }

    fn record(&self, verdict: Verdict, bytes: u32) {
        self.store.recorded.set(self.store.recorded.get() + 1);
        self.store.last.set(Some((verdict, bytes)));
    }

    fn report(&self, verdict: Verdict, _: &impl Packet, _: &Tuple) {
        self.store.reported.set(Some(verdict));
    }
}
