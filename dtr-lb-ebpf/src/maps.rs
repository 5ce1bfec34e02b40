//! The maps, and the pipeline's access to them.
//!
//! References into map values live only inside the closures that they are handed to. The flow table has a module of its own.

use core::hint::black_box;

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, lpm_trie::Key},
    helpers::bpf_jiffies64,
    macros::btf_map,
};
use dtr_lb_common::{
    abi::{
        ALLOW, DropEvent, EVENTS_BYTES, FILTER_PLACES, Filter, Flow, FlowEvent, KeptSyn, MAGLEV_SLOTS,
        MAX_REPLICAS, MAX_SERVICES, MAX_SOURCES, MAX_VIPS, MAX_WITNESSES, MaglevTable, Replica,
        ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, SourceKey, TABLE_ENTRIES, Ticks, Traffic,
        Tuple, Witness, Witnesses,
    },
    address::Address,
    flow_table::{Memory, next_hops::NextHops},
    hash,
    pipeline::{
        Outcome, Packet, PacketContext, Stage, Tables,
        admission::ClientMemory,
        fast, run,
        sweep::{self, Request},
    },
    verdict::{VERDICTS, Verdict},
    wire::Mac,
};

use crate::{
    clients::{self, Clients},
    flow_events,
    flow_table::{self, Hops, Table},
    trace,
};

/// One value, so that the agent writes it by one system call.
#[btf_map]
static FILTER: Array<Filter, 1> = Array::new();
#[btf_map]
static SOURCES: LpmTrie<SourceKey, u32, MAX_SOURCES> = LpmTrie::new();
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, MAX_SERVICES> = HashMap::new();
#[btf_map]
static VIPS: HashMap<Address, u32, MAX_VIPS> = HashMap::new();
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
#[btf_map]
static WITNESSES: Array<Witnesses, MAX_REPLICAS> = Array::new();
/// A program is not interrupted by another one on its CPU.
#[btf_map]
static SCRATCH: PerCpuArray<PacketContext, 1> = PerCpuArray::new();
/// The same for the program that sweeps.
#[btf_map]
static SWEEP_SCRATCH: PerCpuArray<[Flow; 2], 1> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<DropEvent, EVENTS_BYTES> = RingBuf::new();
/// When the last event of each verdict was sent, a CPU.
#[btf_map]
static EVENT_TIMES: PerCpuArray<Ticks, VERDICTS> = PerCpuArray::new();

/// The kernel's maps.
pub(crate) struct Maps;

/// The life of a packet: the fast path, or the stages with this CPU's context. What is traced goes through the stages, whose
/// context the trace reads.
#[inline(always)]
pub(crate) fn process(packet: &mut impl Packet) -> Outcome {
    if !trace::is_on()
        && let Some(outcome) = fast(packet, &Maps)
    {
        return outcome;
    }
    match SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's own value, and nothing else refers to it. Zeros, which it holds at first, are a value.
        Some(context) => run(packet, &Maps, unsafe { &mut *context }),
        None => Outcome { verdict: Verdict::PassedNotReady, interface: 0 },
    }
}

/// Carries out a stage with this CPU's context.
#[inline(always)]
pub(crate) fn stage(packet: &mut impl Packet, stage: Stage) -> Verdict {
    match SCRATCH.get_ptr_mut(0) {
        // SAFETY: as in `process`, which waits for the stage to end.
        Some(context) => stage.run(packet, &Maps, unsafe { &mut *context }),
        None => Verdict::PassedNotReady,
    }
}

/// Carries out a request of the agent's sweep.
#[inline(always)]
pub(crate) fn carry_out(kind: u32, at: u32, seen: u32) -> bool {
    let Some(context) = SWEEP_SCRATCH.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own value, of this program alone, which is not interrupted by another of its kind.
    let [flow, other] = unsafe { &mut *context };
    sweep::carry_out(&Request::new(kind, at, seen), &Maps, flow, other)
}

/// Lets `f` see this CPU's context.
#[inline(always)]
pub(crate) fn with_context(f: impl FnOnce(&mut PacketContext)) {
    if let Some(context) = SCRATCH.get_ptr_mut(0) {
        // SAFETY: as in `process`, before or after it.
        f(unsafe { &mut *context });
    }
}

impl Tables for Maps {
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
    fn flows(&self) -> impl Memory {
        Table
    }

    #[inline(always)]
    fn next_hops(&self) -> impl NextHops {
        Hops
    }

    #[inline(always)]
    fn keep_syn(&self, syn: &KeptSyn) -> u32 {
        flow_table::keep_syn(syn)
    }

    #[inline(always)]
    fn kept_syn(&self, at: u32, syn: &mut KeptSyn) -> bool {
        flow_table::kept_syn(at, syn)
    }

    #[inline(always)]
    fn answered(&self, at: u32, micros: u32) {
        flow_table::answered(at, micros);
    }

    #[inline(always)]
    fn micros(&self) -> u32 {
        flow_events::micros()
    }

    #[inline(always)]
    fn tally(&self, id: ReplicaId, place: usize, amount: u64) {
        flow_events::tally(id, place, amount);
    }

    #[inline(always)]
    fn flow_wanted(&self) -> u32 {
        flow_events::wanted()
    }

    #[inline(always)]
    fn tell_flow(&self, stranger: bool, fill: impl FnOnce(&mut FlowEvent)) -> bool {
        flow_events::tell(stranger, fill)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: the value is copied at once.
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn vip(&self, address: &Address) -> bool {
        // SAFETY: the value is not looked at.
        unsafe { VIPS.get(address) }.is_some()
    }

    #[inline(always)]
    fn marked(&self, place: u32) -> bool {
        if place >= FILTER_PLACES as u32 {
            return false;
        }
        let Some(filter) = FILTER.get_ptr(0) else { return false };
        // SAFETY: the place is inside the filter; see `slot`.
        unsafe { filter.cast::<u8>().add(place as usize).read() != 0 }
    }

    #[inline(always)]
    fn allowed(&self, number: u32, source: &Address) -> bool {
        let key = Key::new(8 * size_of::<SourceKey>() as u32, SourceKey { number, address: *source });
        SOURCES.get(&key).is_none_or(|rule| *rule == ALLOW)
    }

    #[inline(always)]
    fn slot(&self, table: u32, slot: u32) -> ReplicaId {
        // The bound is to be seen where the table is read: the compiler knows it from the hash and would leave it out, and
        // not every kernel's verifier follows it that far (6.1 does not; 6.18 does).
        let slot = black_box(slot);
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
    fn clients(&self) -> impl ClientMemory {
        Clients
    }

    #[inline(always)]
    fn is_own(&self, set: u32, mac: &Mac) -> bool {
        clients::is_own(set, mac)
    }

    #[inline(always)]
    fn witness(&self, id: ReplicaId, witness: &Witness) {
        let Some(settings) = self.settings() else { return };
        // See `slot`.
        let place = black_box(hash::witness(settings.hash_seed, &witness.source));
        if place >= MAX_WITNESSES as u32 {
            return;
        }
        let Some(witnesses) = WITNESSES.get_ptr_mut(u32::from(id)) else { return };
        // SAFETY: the place is inside the value. Another processor may write there at the same time: of two clients near each other
        // parts of both may stand there then, which is one as good as either.
        unsafe { witnesses.cast::<Witness>().add(place as usize).write(*witness) };
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
    fn report(&self, verdict: Verdict, packet: &impl Packet, tuple: &Tuple) {
        let (Some(settings), Some(last)) = (self.settings(), EVENT_TIMES.get_ptr_mut(verdict as u32)) else {
            return;
        };
        let now = self.now();
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
                source: tuple.source,
                destination: tuple.destination,
                source_port: tuple.source_port,
                destination_port: tuple.destination_port,
            },
            0,
        );
    }
}
