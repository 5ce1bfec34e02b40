//! The maps, and the pipeline's access to them.
//!
//! References into map values live only inside the closures that they are handed to. Two CPUs may write one entry at
//! the same time; each field is a machine word that either CPU may win, which is all that the pipeline asks.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
    helpers::bpf_jiffies64,
    macros::btf_map,
};
use dtr_lb_common::{
    abi::{
        DropEvent, EVENTS_BYTES, FLOW_ENTRIES, Flow, HALF_OPEN_ENTRIES, HalfOpen, MAGLEV_SLOTS, MAX_REPLICAS,
        MAX_SERVICES, MaglevTable, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings,
        TABLE_ENTRIES, Ticks, Traffic, Tuple,
    },
    address::{Address, Ipv4Words},
    pipeline::{FlowEntry, FlowTable, InsertError, Packet, Tables, V4},
    verdict::{VERDICTS, Verdict},
};

/// The agent sets its size.
#[btf_map]
static FLOWS_V4: LruHashMap<Tuple<Ipv4Words>, Flow<Ipv4Words>, FLOW_ENTRIES> = LruHashMap::new();
#[btf_map]
static HALF_OPEN_V4: LruHashMap<Tuple<Ipv4Words>, HalfOpen<Ipv4Words>, HALF_OPEN_ENTRIES> = LruHashMap::new();
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, MAX_SERVICES> = HashMap::new();
/// A whole table is one value, so that the agent writes it by one system call.
#[btf_map]
static TABLES: Array<MaglevTable, TABLE_ENTRIES> = Array::new();
#[btf_map]
static REPLICAS: Array<Replica, MAX_REPLICAS> = Array::new();
#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static VERDICT_STATS: PerCpuArray<Traffic, VERDICTS> = PerCpuArray::new();
#[btf_map]
static REPLICA_STATS: PerCpuArray<ReplicaCounters, MAX_REPLICAS> = PerCpuArray::new();
/// See [`Tables::draft`]. A program is not interrupted by another one on its CPU.
#[btf_map]
static DRAFT_V4: PerCpuArray<HalfOpen<Ipv4Words>, 1> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<DropEvent, EVENTS_BYTES> = RingBuf::new();
/// When the last event of each verdict was sent, a CPU.
#[btf_map]
static EVENT_TIMES: PerCpuArray<Ticks, VERDICTS> = PerCpuArray::new();

/// The kernel's maps.
pub(crate) struct Maps;

/// One of the two flow tables.
struct Flows<E: 'static, const N: usize>(&'static LruHashMap<Tuple<Ipv4Words>, E, N>);

const EEXIST: i32 = -17;

impl<E: FlowEntry<V4>, const N: usize> FlowTable<V4> for Flows<E, N> {
    type Entry = E;

    #[inline(always)]
    fn with<R>(&self, key: &Tuple<Ipv4Words>, f: impl FnOnce(&mut E) -> R) -> Option<R> {
        let entry = self.0.get_ptr_mut(key)?;
        // SAFETY: the kernel returned a pointer to a value of this map; `f` does not call into the table, so that no
        // insertion of this program reuses the entry meanwhile. See the module's words on other CPUs.
        Some(f(unsafe { &mut *entry }))
    }

    #[inline(always)]
    fn insert(&self, key: &Tuple<Ipv4Words>, entry: &E) -> Result<(), InsertError> {
        self.0.insert(key, entry, u64::from(BPF_NOEXIST)).map_err(|error| match error {
            EEXIST => InsertError::Exists,
            _ => InsertError::Full,
        })
    }

    #[inline(always)]
    fn put(&self, key: &Tuple<Ipv4Words>, entry: &E) -> Result<(), InsertError> {
        self.0.insert(key, entry, u64::from(BPF_ANY)).map_err(|_| InsertError::Full)
    }

    #[inline(always)]
    fn remove(&self, key: &Tuple<Ipv4Words>) {
        // It fails only where the entry is gone already, which is what was wanted.
        let _ = self.0.remove(key);
    }
}

impl Tables<V4> for Maps {
    #[inline(always)]
    fn now(&self) -> Ticks {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_jiffies64() as Ticks }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0).filter(|settings| settings.port_count != 0)
    }

    #[inline(always)]
    fn flows(&self) -> impl FlowTable<V4, Entry = Flow<Ipv4Words>> {
        Flows(&FLOWS_V4)
    }

    #[inline(always)]
    fn half_open(&self) -> impl FlowTable<V4, Entry = HalfOpen<Ipv4Words>> {
        Flows(&HALF_OPEN_V4)
    }

    #[inline(always)]
    fn draft<R>(&self, f: impl FnOnce(&mut HalfOpen<Ipv4Words>) -> R) -> Option<R> {
        let draft = DRAFT_V4.get_ptr_mut(0)?;
        // SAFETY: this CPU's own value, which `f` does not ask for again.
        Some(f(unsafe { &mut *draft }))
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: the value is copied at once.
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        if slot >= MAGLEV_SLOTS as u32 {
            return 0;
        }
        let Some(table) = TABLES.get_ptr(table) else { return 0 };
        // SAFETY: the slot is inside the table. A pointer, as a reference and an index would leave a panic in the code.
        unsafe { table.cast::<ReplicaId>().add(slot as usize).read() }
    }

    #[inline(always)]
    fn replica(&self, id: ReplicaId) -> Option<&Replica> {
        REPLICAS.get(u32::from(id))
    }

    #[inline(always)]
    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters)) {
        if let Some(counters) = REPLICA_STATS.get_ptr_mut(u32::from(id)) {
            // SAFETY: this CPU's own value, and the program is not preempted by another that counts.
            f(unsafe { &mut *counters });
        }
    }

    #[inline(always)]
    fn record(&self, verdict: Verdict, bytes: u32) {
        if let Some(traffic) = VERDICT_STATS.get_ptr_mut(verdict as u32) {
            // SAFETY: this CPU's own value.
            let traffic = unsafe { &mut *traffic };
            traffic.packets += 1;
            traffic.bytes += u64::from(bytes);
        }
    }

    #[inline(always)]
    fn report(&self, verdict: Verdict, packet: &impl Packet, tuple: &Tuple<Ipv4Words>) {
        let (Some(settings), Some(last)) = (self.settings(), EVENT_TIMES.get_ptr_mut(verdict as u32)) else {
            return;
        };
        let now = Tables::<V4>::now(self);
        // SAFETY: this CPU's own value. 0 is never.
        let last = unsafe { &mut *last };
        if *last != 0 && now.wrapping_sub(*last) < settings.second {
            return;
        }
        *last = now;
        // A full ring loses the example; the packet is counted all the same.
        let _ = EVENTS.output(
            &DropEvent {
                verdict: verdict as u32,
                interface: packet.interface(),
                source: tuple.source.any(),
                destination: tuple.destination.any(),
                source_port: tuple.source_port,
                destination_port: tuple.destination_port,
            },
            0,
        );
    }
}
