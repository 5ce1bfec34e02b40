//! What lets `BPF_PROG_TEST_RUN` repeat a program over many flows: it hands each run the frame as the one before left it. A
//! wrapper makes it a packet of the next flow, with headers as new, and goes on with the program under test. Measured with
//! an empty one in its place, it is subtracted.
//!
//! Checksums are not made right: no program under test looks at more than their difference. Each field is written by one
//! store that is no narrower than whoever reads it, as a load of what two stores have just written waits for both, which a
//! frame that comes from a device does not make it do.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{TC_ACT_UNSPEC, xdp_action},
    btf_maps::{Array, ProgramArray},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use dtr_lb_bench_ebpf::flows::{Order, pair, ports, random};

use crate::frame::Frame;

#[btf_map]
static ORDER: Array<Order, 1> = Array::new();
/// The program under test.
#[btf_map]
static XDP_TARGET: ProgramArray<1> = ProgramArray::new();
#[btf_map]
static TC_TARGET: ProgramArray<1> = ProgramArray::new();

/// The bytes of the headers up to TCP's ports.
const V4: usize = 14 + 20 + 4;
const V6: usize = 14 + 40 + 4;

/// Writes the next packet. `None` if the frame is too short, which it never is.
#[inline(always)]
fn write_v4(start: usize, end: usize) -> Option<()> {
    let frame = Frame::<V4>::new(start, end)?;
    let order = next()?;
    // SAFETY: the map's own value, of this benchmark, which runs on one CPU.
    let order = unsafe { &mut *order };
    let number = number(order);
    let ends = order.ends(number);
    ethernet(&frame, order);
    frame.set::<u32, 22>(order.at_22 as u32);
    frame.set::<u64, 26>(pair(ends.source.to_be(), ends.destination.to_be()));
    frame.set::<u32, 34>(ports(&ends));
    Some(())
}

/// The same of IPv6.
#[inline(always)]
fn write_v6(start: usize, end: usize) -> Option<()> {
    let frame = Frame::<V6>::new(start, end)?;
    let order = next()?;
    // SAFETY: as in `write_v4`.
    let order = unsafe { &mut *order };
    let number = number(order);
    let ends = order.ends(number);
    ethernet(&frame, order);
    frame.set::<u64, 22>(order.source.first);
    frame.set::<u64, 30>(pair(order.source.second, ends.source.to_be()));
    frame.set::<u64, 38>(order.destination.first);
    frame.set::<u64, 46>(pair(order.destination.second, ends.destination.to_be()));
    frame.set::<u32, 54>(ports(&ends));
    Some(())
}

#[inline(always)]
fn next() -> Option<*mut Order> {
    ORDER.get_ptr_mut(0)
}

/// The number of the next flow.
#[inline(always)]
fn number(order: &mut Order) -> u32 {
    if order.counted != 0 {
        let number = order.next;
        order.next += 1;
        number
    } else {
        order.random = random(order.random);
        // Without a division: Lemire's multiply-shift.
        (((order.random >> 32) * u64::from(order.flows)) >> 32) as u32
    }
}

/// Ethernet, and what comes before the TTL or the addresses.
#[inline(always)]
fn ethernet<const BYTES: usize>(frame: &Frame<BYTES>, order: &Order) {
    const { assert!(BYTES >= V4) };
    frame.set::<u64, 0>(order.at_0);
    frame.set::<u32, 8>(order.at_8);
    frame.set::<u16, 12>(order.at_12);
    frame.set::<u64, 14>(order.at_14);
}

macro_rules! xdp_wrapper {
    ($name:ident, $write:ident $(, $outer:ident)?) => {
        #[xdp(frags)]
        pub(crate) fn $name(ctx: XdpContext) -> u32 {
            $(if $outer(&ctx).is_none() {
                return xdp_action::XDP_ABORTED;
            })?
            if $write(ctx.data(), ctx.data_end()).is_some() {
                // SAFETY: nothing here needs to be dropped.
                unsafe { XDP_TARGET.tail_call(&ctx, 0) };
            }
            xdp_action::XDP_ABORTED
        }
    };
}

xdp_wrapper!(xdp_v4, write_v4);
xdp_wrapper!(xdp_v6, write_v6);
xdp_wrapper!(xdp_outer_v4, write_v4, without_outer_v4);
xdp_wrapper!(xdp_outer_v6, write_v6, without_outer_v6);

/// Takes an outer IPv4 header off, and calls the helper where there is none, too: so that it costs as much with the empty
/// program.
#[inline(always)]
fn without_outer_v4(ctx: &XdpContext) -> Option<()> {
    const IPIP: u8 = 4;
    let next = Frame::<V4>::new(ctx.data(), ctx.data_end())?.get::<u8, 23>();
    move_front(ctx, if next == IPIP { 20 } else { 0 })
}

/// The same of IPv6.
#[inline(always)]
fn without_outer_v6(ctx: &XdpContext) -> Option<()> {
    const IPV6: u8 = 41;
    let next = Frame::<V6>::new(ctx.data(), ctx.data_end())?.get::<u8, 20>();
    move_front(ctx, if next == IPV6 { 40 } else { 0 })
}

#[inline(always)]
fn move_front(ctx: &XdpContext, bytes: i32) -> Option<()> {
    // SAFETY: the context is the program's own, and nothing holds a pointer into the frame.
    (unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), bytes) } == 0).then_some(())
}

macro_rules! tc_wrapper {
    ($name:ident, $write:ident) => {
        #[classifier]
        pub(crate) fn $name(ctx: TcContext) -> i32 {
            if $write(ctx.data(), ctx.data_end()).is_some() {
                // SAFETY: nothing here needs to be dropped.
                unsafe { TC_TARGET.tail_call(&ctx, 0) };
            }
            aya_ebpf::bindings::TC_ACT_SHOT
        }
    };
}

tc_wrapper!(tc_v4, write_v4);
tc_wrapper!(tc_v6, write_v6);

#[xdp(frags)]
pub(crate) fn xdp_empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[classifier]
pub(crate) fn tc_empty(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}
