//! The kernel's tables, for the pipeline to run on without changing them: what it writes it finds again, and nobody else does.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
};

use dtr_lb_common::{
    abi::{
        Filter, KeptSyn, MAX_REPLICAS, MaglevTable, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey,
        Settings, Ticks, Tuple, Witness,
    },
    address::Address,
    flow_table::{
        BUCKET_BYTES, ENTRY_WORDS, Line, Memory, WAYS,
        next_hops::{NEXT_HOP_BYTES, NextHops},
    },
    model::Words,
    pipeline::{Packet, Tables, admission::ClientMemory},
    verdict::Verdict,
    wire::Mac,
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
    flows: Overlay<'a>,
    next_hops: Overlay<'a>,
    /// SYNs that were kept; the first place is 1.
    syns: RefCell<Vec<KeptSyn>>,
    /// The first of what could not be read: the pipeline has no word for it.
    failed: RefCell<Option<DatapathError>>,
}

/// The words of a table, and what was written since.
struct Overlay<'a> {
    kernel: Words<'a>,
    /// Whether what stands there counts, or the table begins empty.
    counts: bool,
    written: RefCell<HashMap<usize, u32>>,
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
            flows: Overlay::new(reader.table_words(), there),
            next_hops: Overlay::new(reader.next_hop_words(), true),
            syns: RefCell::default(),
            failed: RefCell::default(),
        })
    }

    /// Forgets what was written.
    pub(super) fn forget(&self) {
        self.flows.written.borrow_mut().clear();
        self.next_hops.written.borrow_mut().clear();
        self.syns.borrow_mut().clear();
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

impl<'a> Overlay<'a> {
    fn new(kernel: Words<'a>, counts: bool) -> Self {
        Self { kernel, counts, written: RefCell::default() }
    }

    fn words_from(&self, at: usize) -> OverlayLine<'_> {
        OverlayLine { overlay: self, at }
    }
}

/// Words of such a table, from one on.
#[derive(Clone, Copy)]
struct OverlayLine<'v> {
    overlay: &'v Overlay<'v>,
    at: usize,
}

impl Line for OverlayLine<'_> {
    fn load(self, word: usize) -> u32 {
        let at = self.at + word;
        let written = self.overlay.written.borrow().get(&at).copied();
        let kernel = || if self.overlay.counts { self.overlay.kernel.load(at) } else { 0 };
        written.unwrap_or_else(kernel)
    }

    fn store(self, word: usize, value: u32) {
        self.overlay.written.borrow_mut().insert(self.at + word, value);
    }

    fn exchange(self, word: usize, old: u32, new: u32) -> bool {
        let same = self.load(word) == old;
        if same {
            self.store(word, new);
        }
        same
    }
}

impl<'v> Memory for &'v Overlay<'v> {
    type Line = OverlayLine<'v>;
    type Bucket = usize;

    fn bucket(&self, number: u32) -> Option<usize> {
        (number < self.kernel.buckets()).then_some(number as usize * BUCKET_BYTES / size_of::<u32>())
    }

    fn way(&self, bucket: usize, way: u32) -> OverlayLine<'v> {
        self.words_from(bucket + (way % WAYS) as usize * ENTRY_WORDS)
    }

    fn pair_of(&self, bucket: usize, way: u32) -> OverlayLine<'v> {
        self.words_from(bucket + ((way % WAYS) & !1) as usize * ENTRY_WORDS)
    }

    fn lock(&self, _: u32) -> bool {
        true
    }

    fn unlock(&self, _: u32) {}
}

impl<'v> NextHops for &'v Overlay<'v> {
    type Line = OverlayLine<'v>;

    fn next_hop(&self, index: u16) -> Option<OverlayLine<'v>> {
        Some(self.words_from(usize::from(index) * NEXT_HOP_BYTES / size_of::<u32>()))
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

    fn flows(&self) -> impl Memory {
        &self.flows
    }

    fn next_hops(&self) -> impl NextHops {
        &self.next_hops
    }

    fn keep_syn(&self, syn: &KeptSyn) -> u32 {
        let mut syns = self.syns.borrow_mut();
        syns.push(*syn);
        syns.len() as u32
    }

    fn kept_syn(&self, at: u32, syn: &mut KeptSyn) -> bool {
        let Some(at) = at.checked_sub(1) else { return false };
        self.syns.borrow().get(at as usize).map(|kept| *syn = *kept).is_some()
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

    /// Who asks has proven himself, and had no connection before.
    fn clients(&self) -> impl ClientMemory {}

    fn is_own(&self, _: u32, _: &Mac) -> bool {
        true
    }

    fn count(&self, _: ReplicaId, _: impl FnOnce(&mut ReplicaCounters)) {}

    fn witness(&self, _: ReplicaId, _: &Witness) {}

    fn record(&self, _: Verdict, _: u32) {}

    fn report(&self, _: Verdict, _: &impl Packet, _: &Tuple) {}
}
