//! The trace: what the programs see, packet by packet, for as long as somebody looks.
//!
//! A global turns it on. In the programs that are attached all the time it is off, and the verifier removes what is
//! asked only where it is on: it costs them nothing. To trace, the agent loads the programs once more with the global on,
//! and puts them in the place of the others.

use core::slice;

use aya_ebpf::{
    Global,
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use bytemuck::{Pod, Zeroable};
use dtr_lb_common::{
    abi::{SNAP_MAX, TRACE_BYTES, TraceCounts, TraceFilter, TracePacket},
    pipeline::{Outcome, summary::PacketSummary},
    verdict::{Action, Verdict},
    wire::{Macs, VlanTag},
};

use crate::maps::{Maps, with_context};

/// [`dtr_lb_common::abi::TRACING`].
#[unsafe(no_mangle)]
static DTR_LB_TRACING: Global<u8> = Global::new(0);

#[btf_map]
static TRACE_FILTER: Array<TraceFilter, 1> = Array::new();
/// The agent makes it as small as it can be where nobody traces.
#[btf_map]
static TRACE: RingBuf<TracePacket, TRACE_BYTES> = RingBuf::new();
#[btf_map]
static TRACE_COUNTS: PerCpuArray<TraceCounts, 1> = PerCpuArray::new();
/// The record that is being made, a CPU.
#[btf_map]
static TRACE_RECORD: PerCpuArray<Record, 1> = PerCpuArray::new();

/// Bytes of the addresses that are before a tag, and of it.
const MACS: u32 = size_of::<Macs>() as u32;
const TAG: u32 = size_of::<VlanTag>() as u32;

/// As it goes into the ring, up to the last byte of a frame that is there.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Record {
    packet: TracePacket,
    /// The frame as it came, and right behind it as it left.
    frames: [u8; 2 * SNAP_MAX],
}

/// Where a frame's bytes come from.
pub(crate) trait Source {
    /// Length of the frame in bytes, all of it.
    fn length(&self) -> u32;
    /// The VLAN tag that is beside these bytes.
    #[inline(always)]
    fn tag_beside(&self) -> Option<VlanTag> {
        None
    }
    /// Copies so many bytes behind the first `from`, of all buffers that the frame is in. Says whether it could.
    ///
    /// # Safety
    ///
    /// There is room for them at `to`.
    unsafe fn copy(&self, from: u32, to: *mut u8, bytes: u32) -> bool;
}

/// Whether somebody traces.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    DTR_LB_TRACING.load() != 0
}

/// The arguments of a hook's second function: the verdict, the interface that the frame leaves by (0 if it does not).
#[inline(always)]
pub(crate) fn of(outcome: &Outcome) -> (u32, u32) {
    let egress = matches!(outcome.verdict.action(), Action::Forward | Action::Answer);
    (outcome.verdict as u32, if egress { outcome.interface } else { 0 })
}

/// Takes the first bytes of a frame as it came in.
#[inline(always)]
pub(crate) fn came(frame: &impl Source) -> u32 {
    let (Some(filter), Some(record)) = (TRACE_FILTER.get(0), TRACE_RECORD.get_ptr_mut(0)) else { return 0 };
    with_context(|context| context.forget());
    // SAFETY: this CPU's own value, and nothing else refers to it. Zeros, which it holds at first, are a value.
    let record = unsafe { &mut *record };
    record.packet.length = length(frame);
    // SAFETY: the frames' part begins there, and has room for the longest snap.
    record.packet.captured = unsafe { take(frame, record.frames.as_mut_ptr(), filter.snap) };
    0
}

/// Length of a frame in bytes as it is on the wire.
#[inline(always)]
fn length(frame: &impl Source) -> u32 {
    frame.length() + if frame.tag_beside().is_some() { TAG } else { 0 }
}

/// Copies the first bytes of a frame as it is on the wire, `snap` at most; returns how many.
///
/// # Safety
///
/// At `to` there is room for [`SNAP_MAX`] bytes.
#[inline(always)]
unsafe fn take(frame: &impl Source, to: *mut u8, snap: u32) -> u32 {
    let Some(tag) = frame.tag_beside() else {
        // SAFETY: as much room as the caller has.
        return unsafe { take_bytes(frame, 0, to, snap) };
    };
    // Where a tag would be cut, there is no more than what is before it.
    let room = snap.saturating_sub(MACS + TAG);
    // SAFETY: the addresses and the tag have room, as the snap is longer.
    let macs = unsafe { frame.copy(0, to, MACS) };
    if !macs || room == 0 {
        return 0;
    }
    // SAFETY: the addresses, the tag and the rest are no more than `snap`, and each begins where the other ends.
    unsafe {
        to.add(MACS as usize).cast::<[u8; TAG as usize]>().write(bytemuck::must_cast(tag));
        let rest = take_bytes(frame, MACS, to.add((MACS + TAG) as usize), room);
        if rest == 0 { 0 } else { MACS + TAG + rest }
    }
}

/// Copies the bytes of a frame behind the first `from`, `most` at most; returns how many.
///
/// # Safety
///
/// At `to` there is room for `most` bytes, which are [`SNAP_MAX`] at most.
#[inline(always)]
unsafe fn take_bytes(frame: &impl Source, from: u32, to: *mut u8, most: u32) -> u32 {
    let left = frame.length().saturating_sub(from);
    let wanted = if left < most { left } else { most };
    // For the verifier, which is to see both bounds of the number that is handed over: from 1, which older kernels (6.1) do not
    // learn by a comparison with 0, to the most.
    let last = core::hint::black_box(wanted.wrapping_sub(1));
    let limit = if from == 0 { SNAP_MAX as u32 } else { SNAP_MAX as u32 - MACS - TAG };
    if last >= limit {
        return 0;
    }
    let bytes = last + 1;
    // SAFETY: no more than there is room for.
    if unsafe { frame.copy(from, to, bytes) } { bytes } else { 0 }
}

/// Sends the record of a frame with its verdict, if the filter takes it.
#[inline(always)]
pub(crate) fn left(frame: &impl Source, interface: u32, verdict: u32, left_by: u32) -> u32 {
    let (Some(filter), Some(record)) = (TRACE_FILTER.get(0), TRACE_RECORD.get_ptr_mut(0)) else { return 0 };
    let Some(verdict) = Verdict::from_number(verdict) else { return 0 };
    // SAFETY: as in `came`.
    let record = unsafe { &mut *record };
    let Record { packet, frames } = record;
    let mut taken = false;
    with_context(|context| {
        let PacketSummary { tuple, to, replica, protocol, flags, .. } = context.summary();
        packet.client = context.client(verdict);
        taken = filter.takes(verdict as u32, &packet.client)
            && (filter.ours == 0 || verdict.action() != Action::Pass || context.came_to_us(&Maps));
        packet.tuple = tuple;
        packet.to = to;
        packet.replica = replica;
        packet.protocol = protocol;
        packet.flags = flags;
    });
    if !taken {
        return 0;
    }
    // SAFETY: the helper takes nothing.
    packet.time = unsafe { bpf_ktime_get_ns() };
    packet.verdict = verdict as u32;
    packet.interface = interface;
    packet.left_by = left_by;
    (packet.left_length, packet.left_captured) = (0, 0);
    let came = core::hint::black_box(packet.captured);
    if came > SNAP_MAX as u32 {
        return 0;
    }
    let mut total = came;
    if left_by != 0 {
        packet.left_length = length(frame);
        // SAFETY: behind the frame as it came, which is no longer than the half of the room.
        packet.left_captured = unsafe { take(frame, frames.as_mut_ptr().add(came as usize), filter.snap) };
        total += packet.left_captured;
    }
    send(record, total)
}

/// Puts a record with so many bytes of frames into the ring.
#[inline(always)]
fn send(record: &Record, frames: u32) -> u32 {
    let bytes = core::hint::black_box(frames as usize + size_of::<TracePacket>());
    if bytes > size_of::<Record>() {
        return 0;
    }
    // SAFETY: no more than the record has.
    let bytes = unsafe { slice::from_raw_parts((&raw const *record).cast::<u8>(), bytes) };
    let sent = TRACE.output_untyped::<[u8]>(bytes, 0).is_ok();
    if let Some(counts) = TRACE_COUNTS.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        let counts = unsafe { &mut *counts };
        counts.matched += 1;
        counts.lost += u64::from(!sent);
    }
    0
}

/// Defines the two functions of a hook, global ones as the stages are: `$came` before the pipeline, `$left` after it.
macro_rules! trace {
    ($raw:ident as $source:ident: $came:ident, $left:ident, $interface:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $came(ctx: *mut $raw) -> u32 {
            $crate::trace::came(&$source(core::hint::black_box(ctx)))
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(crate) extern "C" fn $left(ctx: *mut $raw, verdict: u32, left_by: u32) -> u32 {
            let ctx = core::hint::black_box(ctx);
            // SAFETY: the kernel hands every program a valid context.
            let interface = unsafe { (*ctx).$interface };
            $crate::trace::left(&$source(ctx), interface, verdict, left_by)
        }
    };
}

pub(crate) use trace;
