//! The maps, and access to them by whole words: what both processors share is read and written as it stands in memory, in the order
//! that the program says. On x86-64 the other processor sees it in that order.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, PerCpuArray, ProgramArray},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::btf_map,
};
use dtr_lb_common::verdict::VERDICTS;
use dtr_lb_together_ebpf::{
    record::{Claim, MAPPINGS, Mapping, PROCESSORS, Record},
    world::{COUNTED, Clock, Config, End, Fault, MASKS, Masks, Own, PAST, PEERS, Past, REPLICAS, counted},
};

#[btf_map]
static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
static CLIENT_ENDS: Array<End, PEERS> = Array::new();
#[btf_map]
static REPLICA_ENDS: Array<End, REPLICAS> = Array::new();
#[btf_map]
static MASK: Array<Masks, MASKS> = Array::new();
/// Each written by the owner of its client.
#[btf_map]
static RECORDS: Array<u64, PEERS> = Array::new();
/// The life in which the harness has made a connection look old.
#[btf_map]
static AGED: Array<u64, PEERS> = Array::new();
/// Of each mapping, each processor's last claim.
#[btf_map]
static CLAIMS: Array<[u64; PROCESSORS], MAPPINGS> = Array::new();
#[btf_map]
static CLOCKS: Array<Clock, PROCESSORS> = Array::new();
#[btf_map]
static OWN: Array<Own, PROCESSORS> = Array::new();
#[btf_map]
static FAULTS: Array<Fault, PROCESSORS> = Array::new();
#[btf_map]
static PASTS: Array<Past, { PAST * PROCESSORS }> = Array::new();
/// The counters of the program under test.
#[btf_map]
static VERDICT_COUNTERS: ArrayOfMaps<PerCpuArray<[u64; 2], VERDICTS>, 1> = ArrayOfMaps::new();
/// The program under test.
#[btf_map]
pub(crate) static XDP_TARGET: ProgramArray<1> = ProgramArray::new();
#[btf_map]
pub(crate) static TC_TARGET: ProgramArray<1> = ProgramArray::new();

#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// The number of this processor.
#[inline(always)]
pub(crate) fn slot(config: &Config) -> u32 {
    // SAFETY: the helper takes nothing.
    let processor = unsafe { bpf_get_smp_processor_id() as u32 };
    u32::from(processor != config.first_processor)
}

#[inline(always)]
pub(crate) fn own(slot: u32) -> Option<&'static mut Own> {
    // SAFETY: this processor's own value; a program is not interrupted by another of its kind.
    OWN.get_ptr_mut(slot).map(|own| unsafe { &mut *own })
}

/// The client whose connection a processor goes on with.
#[inline(always)]
pub(crate) fn focus(slot: u32) -> u64 {
    let Some(own) = OWN.get_ptr(slot) else { return 0 };
    // SAFETY: a whole and aligned word of the value.
    unsafe { (&raw const (*own).focus).read_volatile() }
}

#[inline(always)]
pub(crate) fn fault(slot: u32) -> Option<&'static mut Fault> {
    // SAFETY: as in `own`.
    FAULTS.get_ptr_mut(slot).map(|fault| unsafe { &mut *fault })
}

/// Whether anything was found to be wrong, on either processor.
#[inline(always)]
pub(crate) fn is_over() -> bool {
    [0, 1].into_iter().any(|slot| {
        // SAFETY: a whole and aligned word of the value.
        FAULTS.get_ptr(slot).is_some_and(|fault| unsafe { (&raw const (*fault).count).read_volatile() != 0 })
    })
}

/// Remembers a packet.
#[inline(always)]
pub(crate) fn remember(slot: u32, own: &Own) {
    let at = (own.stats[0] as u32 & (PAST as u32 - 1)) + (slot & 1) * PAST as u32;
    if let Some(past) = PASTS.get_ptr_mut(at) {
        let Own { began, op, peer, record, verdict, .. } = *own;
        // SAFETY: this processor's own value.
        unsafe { *past = Past { began, ended: now(), op, peer, record, verdict } };
    }
}

#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn client(peer: u64) -> Option<&'static End> {
    CLIENT_ENDS.get(peer as u32)
}

#[inline(always)]
pub(crate) fn replica(number: u64) -> Option<&'static End> {
    REPLICA_ENDS.get(number as u32)
}

#[inline(always)]
pub(crate) fn masks(number: u32) -> Option<&'static Masks> {
    MASK.get(number)
}

#[inline(always)]
pub(crate) fn record(peer: u64) -> Record {
    let Some(place) = RECORDS.get_ptr(peer as u32) else { return Record(0) };
    // SAFETY: a whole and aligned value of the map.
    Record(unsafe { place.read_volatile() })
}

#[inline(always)]
pub(crate) fn set_record(peer: u64, record: Record) {
    if let Some(place) = RECORDS.get_ptr_mut(peer as u32) {
        // SAFETY: as in `record`; nobody else writes it.
        unsafe { place.write_volatile(record.0) }
    }
}

#[inline(always)]
pub(crate) fn aged(peer: u64) -> u64 {
    let Some(place) = AGED.get_ptr(peer as u32) else { return 0 };
    // SAFETY: as in `record`.
    unsafe { place.read_volatile() }
}

#[inline(always)]
pub(crate) fn claims(mapping: Mapping) -> [Claim; PROCESSORS] {
    let Some(place) = CLAIMS.get_ptr(mapping.index()) else { return [Claim(0); PROCESSORS] };
    let place = place.cast::<u64>();
    // SAFETY: whole and aligned words of the value.
    unsafe { [Claim(place.read_volatile()), Claim(place.add(1).read_volatile())] }
}

#[inline(always)]
pub(crate) fn set_claim(mapping: Mapping, slot: u32, claim: Claim) {
    if let Some(place) = CLAIMS.get_ptr_mut(mapping.index()) {
        // SAFETY: as in `claims`; nobody else writes this one.
        unsafe { place.cast::<u64>().add((slot & 1) as usize).write_volatile(claim.0) }
    }
}

/// How many changes a processor has seen, and how many packets it has sent.
#[inline(always)]
pub(crate) fn clock(slot: u32) -> (u64, u64) {
    let Some(clock) = CLOCKS.get_ptr(slot) else { return (0, 0) };
    // SAFETY: whole and aligned words of the value.
    unsafe { ((&raw const (*clock).changes).read_volatile(), (&raw const (*clock).packets).read_volatile()) }
}

/// A mapping has changed. Returns this processor's new count.
#[inline(always)]
pub(crate) fn tick(slot: u32) -> u64 {
    let Some(clock) = CLOCKS.get_ptr_mut(slot) else { return 0 };
    // SAFETY: as in `clock`; nobody else writes it.
    unsafe {
        let changes = (&raw const (*clock).changes).read_volatile() + 1;
        (&raw mut (*clock).changes).write_volatile(changes);
        changes
    }
}

#[inline(always)]
pub(crate) fn count_packet(slot: u32) {
    if let Some(clock) = CLOCKS.get_ptr_mut(slot) {
        // SAFETY: as in `tick`.
        unsafe {
            let packets = (&raw const (*clock).packets).read_volatile() + 1;
            (&raw mut (*clock).packets).write_volatile(packets);
        }
    }
}

/// What the program under test has counted on this processor.
#[inline(always)]
pub(crate) fn counts() -> Option<[u64; COUNTED]> {
    let verdicts = VERDICT_COUNTERS.get(0)?;
    let mut counts = [0; COUNTED];
    let mut number = 0;
    while number < COUNTED {
        counts[number] = verdicts.get(counted::VERDICTS[number] as u32)?[0];
        number += 1;
    }
    Some(counts)
}
