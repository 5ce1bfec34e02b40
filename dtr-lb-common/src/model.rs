//! The pipeline's packets and tables in plain memory: what the host tests run on, and the oracle that the programs in
//! the kernel are compared with.
//!
//! It shares the pipeline with the kernel and nothing else. The flow tables never evict by themselves; a test that
//! wants an eviction removes an entry.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use bytemuck::Pod;

use crate::{
    abi::{
        End, FLOW_STATS_NUMBERS, Flow, FlowEvent, FlowStats, KeptSyn, MaglevTable, Place, Replica,
        ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Ticks, Tuple, Witness, flow_wanted,
    },
    address::{Address, Family},
    flow_table::{Control, Memory, next_hops::NextHops},
    pipeline::{Head, Outcome, Packet, PacketContext, Tables, admission, fast, milestone, run},
    verdict::Verdict,
    wire::{Ethernet, Ipv4, Ipv6, Mac, Macs, VlanTag},
};

/// In bytes that nobody may rely on.
const ANY: u8 = 0xa5;

pub mod fill;
mod remembered;
mod shared;

pub use remembered::Remembered;
pub use shared::{SharedLine, SharedNextHops, SharedTable, Words};

/// A frame in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Index of the interface that it came in by.
    pub interface: u32,
}

/// The first bytes of a frame in memory.
#[derive(Clone, Copy)]
pub struct FrameHead<'a>(&'a [Cell<u8>]);

impl FrameHead<'_> {
    fn get<const N: usize>(self, at: usize) -> [u8; N] {
        std::array::from_fn(|byte| self.0[at + byte].get())
    }

    fn put<const N: usize>(self, at: usize, bytes: [u8; N]) {
        for (cell, byte) in self.0[at..].iter().zip(bytes) {
            cell.set(byte);
        }
    }
}

impl Head for FrameHead<'_> {
    fn get8(self, at: usize) -> u8 {
        self.0[at].get()
    }

    fn get16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.get(at))
    }

    fn get32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.get(at))
    }

    fn put8(self, at: usize, value: u8) {
        self.0[at].set(value);
    }

    fn put16(self, at: usize, value: u16) {
        self.put(at, value.to_ne_bytes());
    }

    fn put32(self, at: usize, value: u32) {
        self.put(at, value.to_ne_bytes());
    }
}

impl Packet for Frame {
    type Head<'a> = FrameHead<'a>;

    fn head(&mut self, bytes: usize) -> Option<FrameHead<'_>> {
        let bytes = self.bytes.get_mut(..bytes)?;
        Some(FrameHead(Cell::from_mut(bytes).as_slice_of_cells()))
    }

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

    fn take_tags(&mut self, count: u32) -> Option<()> {
        let tags = size_of::<Macs>()..size_of::<Macs>() + count as usize * size_of::<VlanTag>();
        (self.bytes.len() >= tags.end).then(|| drop(self.bytes.drain(tags)))
    }

    fn put_tag(&mut self, tag: VlanTag) -> Option<()> {
        let (macs, rest) = self.bytes.split_at_checked(size_of::<Macs>())?;
        self.bytes = [macs, bytemuck::bytes_of(&tag), rest].concat();
        Some(())
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
#[derive(Debug)]
pub struct Model {
    pub now: Cell<Ticks>,
    pub settings: Option<Settings>,
    pub flows: SharedTable,
    pub next_hops: SharedNextHops,
    /// SYNs that are kept; the first place is 1.
    pub syns: RefCell<Vec<KeptSyn>>,
    /// Whether packets take the fast path where they can.
    pub fast: bool,
    pub services: BTreeMap<ServiceKey, Service>,
    /// The places of the filter that are marked.
    pub marks: BTreeSet<u32>,
    pub sources: Vec<Source>,
    pub tables: BTreeMap<u32, Box<MaglevTable>>,
    pub replicas: BTreeMap<ReplicaId, Replica>,
    /// What is remembered of clients.
    pub remembered: Remembered,
    /// This host's Ethernet addresses, where they count.
    pub own_macs: BTreeSet<Mac>,
    pub counters: RefCell<BTreeMap<ReplicaId, ReplicaCounters>>,
    /// All that there ever were.
    pub witnesses: RefCell<Vec<(ReplicaId, Witness)>>,
    pub verdicts: RefCell<BTreeMap<Verdict, u64>>,
    /// What the last packet left there.
    pub context: RefCell<PacketContext>,
    pub reports: RefCell<Vec<(Verdict, Tuple)>>,
    /// The clock of handshakes, in microseconds.
    pub micros: Cell<u32>,
    /// What is counted of connections.
    pub flow_stats: RefCell<BTreeMap<ReplicaId, FlowStats>>,
    /// What was told of them, while there is room.
    pub flow_events: RefCell<Vec<FlowEvent>>,
    pub room_for_events: Cell<usize>,
    /// [`flow_wanted`].
    pub flow_wanted: Cell<u32>,
}

/// Buckets of a model's flow table.
pub const BUCKETS: u32 = 64;

impl Default for Model {
    fn default() -> Self {
        Self::with_buckets(BUCKETS)
    }
}

impl Model {
    /// With a flow table of so many buckets.
    pub fn with_buckets(buckets: u32) -> Self {
        Self {
            now: Cell::default(),
            settings: None,
            flows: SharedTable::new(buckets),
            next_hops: SharedNextHops::new(),
            syns: RefCell::default(),
            fast: true,
            services: BTreeMap::new(),
            marks: BTreeSet::new(),
            sources: Vec::new(),
            tables: BTreeMap::new(),
            replicas: BTreeMap::new(),
            remembered: Remembered::default(),
            own_macs: BTreeSet::new(),
            counters: RefCell::default(),
            witnesses: RefCell::default(),
            verdicts: RefCell::default(),
            context: RefCell::default(),
            reports: RefCell::default(),
            micros: Cell::default(),
            flow_stats: RefCell::default(),
            flow_events: RefCell::default(),
            room_for_events: Cell::new(usize::MAX),
            flow_wanted: Cell::new(flow_wanted::STARTS),
        }
    }

    /// Runs the pipeline on `frame`, which is rewritten if the verdict is to forward it.
    pub fn process(&self, frame: &mut Frame) -> Outcome {
        if self.fast
            && let Some(outcome) = fast(frame, self)
        {
            return outcome;
        }
        run(frame, self, &mut self.context.borrow_mut())
    }

    /// All entries of the flow table.
    pub fn entries(&self) -> Vec<Flow> {
        self.flows.entries()
    }

    /// The counters of a replica.
    pub fn replica_counters(&self, id: ReplicaId) -> ReplicaCounters {
        self.counters.borrow().get(&id).copied().unwrap_or_default()
    }
}

/// The flow table, by which a model hears of ends.
struct Heard<'a> {
    table: &'a SharedTable,
    model: &'a Model,
}

impl<'a> Memory for Heard<'a> {
    type Line = SharedLine<'a>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        self.table.bucket(number)
    }

    fn way(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        self.table.way(bucket, way)
    }

    fn pair_of(&self, bucket: usize, way: u32) -> SharedLine<'a> {
        self.table.pair_of(bucket, way)
    }

    fn lock(&self, hash: u32) -> bool {
        self.table.lock(hash)
    }

    fn unlock(&self, hash: u32) {
        self.table.unlock(hash);
    }

    fn over(&self, place: Place, control: Control, end: End) -> bool {
        milestone::over(self.model, place, control, end)
    }
}

impl Tables for Model {
    fn now(&self) -> Ticks {
        self.now.get()
    }

    fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref()
    }

    fn flows(&self) -> impl Memory {
        Heard { table: &self.flows, model: self }
    }

    fn next_hops(&self) -> impl NextHops {
        &self.next_hops
    }

    fn keep_syn(&self, syn: &KeptSyn) -> u32 {
        let mut syns = self.syns.borrow_mut();
        syns.push(KeptSyn { answered: 0, ..*syn });
        syns.len() as u32
    }

    fn kept_syn(&self, at: u32, syn: &mut KeptSyn) -> bool {
        let Some(at) = at.checked_sub(1) else { return false };
        self.syns.borrow().get(at as usize).is_some_and(|kept| {
            *syn = *kept;
            true
        })
    }

    fn answered(&self, at: u32, micros: u32) {
        if let Some(kept) = self.syns.borrow_mut().get_mut(at.wrapping_sub(1) as usize) {
            kept.answered = micros;
        }
    }

    fn micros(&self) -> u32 {
        self.micros.get()
    }

    fn tally(&self, id: ReplicaId, place: usize, amount: u64) {
        let mut stats = self.flow_stats.borrow_mut();
        let numbers: &mut [u64; FLOW_STATS_NUMBERS] = bytemuck::cast_mut(stats.entry(id).or_default());
        numbers[place] += amount;
    }

    fn flow_wanted(&self) -> u32 {
        self.flow_wanted.get()
    }

    fn tell_flow(&self, _: bool, fill: impl FnOnce(&mut FlowEvent)) -> bool {
        let mut events = self.flow_events.borrow_mut();
        if events.len() >= self.room_for_events.get() {
            return false;
        }
        let mut event = bytemuck::Zeroable::zeroed();
        fill(&mut event);
        events.push(event);
        true
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

    fn clients(&self) -> impl admission::ClientMemory {
        &self.remembered
    }

    fn is_own(&self, _: u32, mac: &Mac) -> bool {
        self.own_macs.contains(mac)
    }

    fn witness(&self, id: ReplicaId, witness: &Witness) {
        self.witnesses.borrow_mut().push((id, *witness));
    }

    fn record(&self, verdict: Verdict, _: u32) {
        *self.verdicts.borrow_mut().entry(verdict).or_default() += 1;
    }

    fn report(&self, verdict: Verdict, _: &impl Packet, tuple: &Tuple) {
        self.reports.borrow_mut().push((verdict, *tuple));
    }
}
