//! The flow table's memory: arrays that userspace maps as well, and a lock for each of many keys.
//!
//! Loads and stores are single instructions that the compiler leaves in their order, and so does the processor on x86-64.
//! Compare-and-exchange is a full barrier everywhere.

use core::{
    arch::asm,
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg},
};

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_get_smp_processor_id,
    macros::btf_map,
};
use dtr_lb_common::{
    abi::{Bucket, End, FLOW_BUCKETS, KEPT_SYNS, KeptSyn},
    flow_table::{
        Buckets, Control, ENTRY_BYTES, LOCKS, Line, Memory, Place, WAYS, entry,
        next_hops::{self, NEXT_HOP_BYTES, NextHops},
    },
};

use crate::flow_events;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// The agent sets its size. Mapped, so that values begin at a page: else an entry would lie across two cache lines.
#[btf_map]
static FLOWS: Array<Bucket, FLOW_BUCKETS, MMAPABLE> = Array::new();
#[btf_map]
static FLOW_LOCKS: Array<u64, LOCKS> = Array::new();
#[btf_map]
static NEXT_HOPS: Array<[u8; NEXT_HOP_BYTES], { next_hops::NEXT_HOPS }, MMAPABLE> = Array::new();
#[btf_map]
static SYNS: Array<KeptSyn, KEPT_SYNS> = Array::new();
/// How many SYNs this processor has kept.
#[btf_map]
static SYN_COUNT: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Where a number goes to come back as one that may be any.
#[btf_map]
static OPAQUE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// [`dtr_lb_common::abi::SYNS_A_CPU`].
#[unsafe(no_mangle)]
static DTR_LB_SYNS_A_CPU: Global<u32> = Global::new(1024);

/// How often a lock is tried: it is held for some hundred nanoseconds. Longer holds who has lost his processor.
const TRIES: u32 = 256;

/// The table.
pub(crate) struct Table;

/// Words of a map's value.
#[derive(Clone, Copy)]
pub(crate) struct KernelLine(*mut u32);

impl Line for KernelLine {
    #[inline(always)]
    fn load(self, word: usize) -> u32 {
        // SAFETY: who made the line has as many words in this value, which the verifier proves again. Each is aligned.
        unsafe { self.0.add(word).read_volatile() }
    }

    #[inline(always)]
    fn store(self, word: usize, value: u32) {
        // SAFETY: as in `load`. Others who use the word do so by whole words, too.
        unsafe { self.0.add(word).write_volatile(value) }
    }

    /// By 64 bits, the neighbour's with it: an exchange of 32 bits takes instructions of 32 bits (`alu32`), and with these
    /// alone, without the jumps that go with them, LLVM 22 compares words with constants above 2^31 wrongly. Where only
    /// the neighbour has changed it is tried again.
    #[inline(always)]
    fn exchange(self, word: usize, old: u32, new: u32) -> bool {
        const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
        const ATTEMPTS: u32 = 3;
        // SAFETY: as in `store`; lines begin at 8 bytes, and have an even number of words.
        let pair = unsafe { self.0.add(word & !1) }.cast::<u64>();
        let shift = if (word % 2 == 1) == cfg!(target_endian = "little") { u32::BITS } else { 0 };
        let mut attempt = 0;
        while attempt < ATTEMPTS {
            attempt += 1;
            // SAFETY: as above.
            let seen = unsafe { pair.read_volatile() };
            if (seen >> shift) as u32 != old {
                return false;
            }
            let wanted = seen & !(u64::from(u32::MAX) << shift) | u64::from(new) << shift;
            // SAFETY: as above.
            if unsafe { atomic_cxchg::<u64, ORDER, ORDER>(pair, seen, wanted).1 } {
                return true;
            }
        }
        false
    }

    /// As one number, whose lower half does not overflow into the upper one.
    #[inline(always)]
    fn add(self, word: usize, first: u32, second: u32) {
        let (low, high) = if cfg!(target_endian = "little") { (first, second) } else { (second, first) };
        let both = u64::from(high) << u32::BITS | u64::from(low);
        const ORDER: AtomicOrdering = AtomicOrdering::Relaxed;
        // SAFETY: as in `exchange`.
        unsafe { atomic_xadd::<u64, u64, ORDER>(self.0.add(word).cast(), both) };
    }
}

impl Memory for Table {
    type Line = KernelLine;
    type Bucket = *mut Bucket;

    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<*mut Bucket> {
        FLOWS.get_ptr_mut(number)
    }

    #[inline(always)]
    fn way(&self, bucket: *mut Bucket, way: u32) -> KernelLine {
        let at = (way % WAYS) as usize * ENTRY_BYTES;
        // SAFETY: the way is inside the bucket.
        KernelLine(unsafe { bucket.cast::<u8>().add(at) }.cast())
    }

    #[inline(always)]
    fn pair_of(&self, bucket: *mut Bucket, way: u32) -> KernelLine {
        let at = ((way % WAYS) & !1) as usize * ENTRY_BYTES;
        // SAFETY: as in `way`, and so is the one behind it.
        KernelLine(unsafe { bucket.cast::<u8>().add(at) }.cast())
    }

    /// Loads of which nothing is made: eBPF has no instruction for that. The processor waits for none of them before it begins
    /// the next.
    #[inline(always)]
    fn fetch(&self, buckets: Buckets) {
        if let Some(lock) = FLOW_LOCKS.get_ptr(buckets.hash % LOCKS as u32) {
            // SAFETY: a whole and aligned value of the map.
            let _ = unsafe { lock.read_volatile() };
        }
        for number in [buckets.first, buckets.second] {
            let Some(bucket) = self.bucket(number) else { return };
            let _ = self.way(bucket, 0).load(entry::word::CONTROL);
            let _ = self.way(bucket, 1).load(entry::word::CONTROL);
            let _ = self.way(bucket, 2).load(entry::word::CONTROL);
            let _ = self.way(bucket, 3).load(entry::word::CONTROL);
        }
    }

    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        let Some(place) = OPAQUE.get_ptr_mut(0) else { return 0 };
        // SAFETY: this processor's own value.
        unsafe {
            place.write_volatile(number);
            place.read_volatile()
        }
    }

    #[inline(always)]
    fn over(&self, place: Place, control: Control, end: End) -> bool {
        flow_events::dtr_lb_over(place.0, control.0, end.0) != 0
    }

    #[inline(always)]
    fn line(&self, place: Place) -> Option<KernelLine> {
        let bucket = self.bucket(place.bucket())?;
        Some(self.way(bucket, plain(place.way())))
    }

    #[inline(always)]
    fn pair(&self, place: Place) -> Option<KernelLine> {
        let bucket = self.bucket(place.bucket())?;
        Some(self.pair_of(bucket, plain(place.way())))
    }

    #[inline(always)]
    fn lock(&self, hash: u32) -> bool {
        let Some(lock) = FLOW_LOCKS.get_ptr_mut(hash % LOCKS as u32) else { return false };
        let mut attempt = 0;
        while attempt < TRIES {
            attempt += 1;
            const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;
            // SAFETY: a whole and aligned value of the map.
            if unsafe { atomic_cxchg::<u64, ORDER, ORDER>(lock, 0, 1).1 } {
                return true;
            }
        }
        false
    }

    #[inline(always)]
    fn unlock(&self, hash: u32) {
        if let Some(lock) = FLOW_LOCKS.get_ptr_mut(hash % LOCKS as u32) {
            // SAFETY: as in `lock`.
            let _ = unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(lock, 0) };
        }
    }
}

/// The number, of which the compiler knows no more than the verifier. Else it takes the bits of a neighbour's way apart, and the
/// verifier, which does not know that they are never both set, sees an entry beyond the bucket.
#[inline(always)]
fn plain(mut way: u32) -> u32 {
    // SAFETY: a register is copied to itself.
    unsafe { asm!("{way} = {way}", way = inout(reg) way, options(nomem, nostack, pure)) };
    way
}

/// The next hops to clients.
pub(crate) struct Hops;

impl NextHops for Hops {
    type Line = KernelLine;

    #[inline(always)]
    fn next_hop(&self, index: u16) -> Option<KernelLine> {
        Some(KernelLine(NEXT_HOPS.get_ptr_mut(u32::from(index))?.cast()))
    }
}

/// Keeps a SYN in this processor's part of the ring. Returns where, from 1 on.
#[inline(always)]
pub(crate) fn keep_syn(syn: &KeptSyn) -> u32 {
    let Some(count) = SYN_COUNT.get_ptr_mut(0) else { return 0 };
    // SAFETY: this processor's own value.
    let number = unsafe {
        *count = (*count).wrapping_add(1);
        *count
    };
    let part = DTR_LB_SYNS_A_CPU.load();
    // SAFETY: the helper takes nothing.
    let processor = unsafe { bpf_get_smp_processor_id() as u32 };
    let at = processor * part + number % part.max(1);
    let Some(place) = SYNS.get_ptr_mut(at) else { return 0 };
    // SAFETY: a whole value of the map. Another processor may be reading it: it looks at the stamp before and after.
    unsafe {
        (&raw mut (*place).stamp).write_volatile(0);
        (*place).client = syn.client;
        (*place).syn = syn.syn;
        (*place).attempted = syn.attempted;
        (*place).asked = syn.asked;
        (*place).answered = 0;
        (&raw mut (*place).stamp).write_volatile(number | 1);
    }
    at + 1
}

/// Writes beside what is kept there when its replica answered. Where another SYN stands there by now, it is measured wrongly, and
/// nothing is decided by that.
#[inline(always)]
pub(crate) fn answered(at: u32, micros: u32) {
    if let Some(place) = SYNS.get_ptr_mut(at.wrapping_sub(1)) {
        // SAFETY: as in `keep_syn`.
        unsafe { (&raw mut (*place).answered).write_volatile(micros) };
    }
}

/// Reads what is kept there. Says whether it is whole.
#[inline(always)]
pub(crate) fn kept_syn(at: u32, syn: &mut KeptSyn) -> bool {
    let Some(place) = SYNS.get_ptr(at.wrapping_sub(1)) else { return false };
    // SAFETY: as in `keep_syn`.
    unsafe {
        let stamp = (&raw const (*place).stamp).read_volatile();
        *syn = *place;
        stamp != 0 && (&raw const (*place).stamp).read_volatile() == stamp
    }
}
