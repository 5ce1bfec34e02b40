//! What is counted of connections as a whole, and told of them.

use core::{
    arch::asm,
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr,
};

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, RingBuf},
    helpers::{bpf_ktime_get_ns, bpf_ringbuf_query},
    macros::btf_map,
};
use dtr_lb_common::{
    abi::{
        End, FLOW_EVENTS_BYTES, FLOW_STATS_NUMBERS, FlowEvent, FlowStats, MAX_REPLICAS, Place, ReplicaId,
        flow_wanted,
    },
    flow_table::{Control, room},
    pipeline::milestone,
};

use crate::maps::Maps;

/// Of all processors together: it is written at milestones of connections, and not for each packet.
#[btf_map]
static FLOW_STATS: Array<FlowStats, MAX_REPLICAS, { BPF_F_MMAPABLE as usize }> = Array::new();
/// The agent looks by itself, many times a second.
#[btf_map]
static FLOW_EVENTS: RingBuf<FlowEvent, FLOW_EVENTS_BYTES> = RingBuf::new();

/// The agent says what anybody wants to hear: [`flow_wanted`].
#[btf_map]
static FLOW_WANTED: Array<u32, 1> = Array::new();

/// What a stranger can cause fills no more of the ring than this.
const STRANGERS_SHARE: u64 = FLOW_EVENTS_BYTES as u64 / 4;

/// Microseconds, of the kernel's monotonic clock.
#[inline(always)]
pub(crate) fn micros() -> u32 {
    // SAFETY: the helper takes nothing.
    (unsafe { bpf_ktime_get_ns() } / 1000) as u32
}

/// Adds to a number of a replica's.
#[inline(always)]
pub(crate) fn tally(id: ReplicaId, place: usize, amount: u64) {
    // The bound is to be seen where the number is: see `slot`.
    let place = plain(place);
    if place >= FLOW_STATS_NUMBERS {
        return;
    }
    if let Some(stats) = FLOW_STATS.get_ptr_mut(u32::from(id)) {
        const ORDER: AtomicOrdering = AtomicOrdering::Relaxed;
        // SAFETY: the number is inside the value, and aligned. Others add to it in the same way.
        unsafe { atomic_xadd::<u64, u64, ORDER>(stats.cast::<u64>().add(place), amount) };
    }
}

#[inline(always)]
pub(crate) fn wanted() -> u32 {
    FLOW_WANTED.get(0).map_or(flow_wanted::NOTHING, |wanted| *wanted)
}

/// The number, of which the compiler knows no more than the verifier.
#[inline(always)]
fn plain(mut number: usize) -> usize {
    // SAFETY: a register is copied to itself.
    unsafe { asm!("{number} = {number}", number = inout(reg) number, options(nomem, nostack, pure)) };
    number
}

/// Tells what becomes of a connection. Says whether there was room.
#[inline(always)]
pub(crate) fn tell(stranger: bool, fill: impl FnOnce(&mut FlowEvent)) -> bool {
    if stranger {
        let ring = ptr::from_ref(&FLOW_EVENTS).cast_mut().cast();
        // SAFETY: the ring's map.
        if unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA.into()) } > STRANGERS_SHARE {
            return false;
        }
    }
    let Some(mut entry) = FLOW_EVENTS.reserve(0) else { return false };
    // SAFETY: the kernel's memory, which is this program's until it is submitted. Whatever stands there is a value.
    fill(unsafe { &mut *entry.as_mut_ptr() });
    entry.submit(BPF_RB_NO_WAKEUP.into());
    true
}

/// As [`milestone::over`]: returns 1 if it is done with. It and those that it calls are functions of their own, so that the verifier looks at each once, and that little
/// of the stack is taken: an insertion, which calls it, has left no more than that.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dtr_lb_over(place: u32, control: u32, end: u32) -> u32 {
    let how = room::end(Control(control), End(end)).0;
    if milestone::is_counted(Control(control), End(end), End(how)) {
        let _ = dtr_lb_count_end(place, how);
    }
    if wanted() == flow_wanted::NOTHING || how != End::AGAIN.0 && dtr_lb_tell_end(place, control, how) != 0 {
        return 1;
    }
    if milestone::is_told_later(End(end)) {
        return 0;
    }
    let _ = dtr_lb_aside(place, control, how);
    let partner = milestone::partner(&Maps, Place(place), Control(control));
    if partner != Place::NONE {
        let _ = dtr_lb_aside(partner.0, Control(control).towards_client().0, how);
    }
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dtr_lb_count_end(place: u32, end: u32) -> u32 {
    milestone::count(&Maps, Place(place), End(end));
    0
}

/// Returns 1 if it was told.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dtr_lb_tell_end(place: u32, control: u32, end: u32) -> u32 {
    milestone::tell(&Maps, Place(place), Control(control), End(end)).into()
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn dtr_lb_aside(place: u32, control: u32, end: u32) -> u32 {
    milestone::aside(&Maps, Place(place), Control(control), End(end));
    0
}
