//! The prototype: what a packet of an established connection costs at least, under XDP, by full NAT of IPv4. It parses,
//! asks the filter, looks the flow up in one bucket, asks the replica for its next hop and MTU, notes that the flow was
//! seen, rewrites, corrects both checksums, and counts. It is a measuring stick and no balancer: whatever else a packet may
//! be is passed, there is no second bucket, no writer, and nothing grows old.

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::{bpf_jiffies64, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use dtr_lb_bench_ebpf::prototype::{
    BUCKETS, Bucket, Entry, FILTER_PLACES, Hop, MAX_REPLICAS, Replica, ReplicaTraffic, STEADY, Settings,
    TO_CLIENT, Traffic, VERDICTS, Verdict, WAYS, hash, place, way,
};

use crate::frame::Frame;

/// `BPF_F_MMAPABLE`: the harness fills it as memory, and its values begin at a page, so that an entry is a cache line.
const MMAPABLE: usize = 1 << 10;

/// The harness sets its size.
#[btf_map]
static BUCKET: Array<Bucket, BUCKETS, MMAPABLE> = Array::new();
#[btf_map]
static REPLICA: Array<Replica, MAX_REPLICAS> = Array::new();
#[btf_map]
static REPLICA_TRAFFIC: PerCpuArray<ReplicaTraffic, MAX_REPLICAS> = PerCpuArray::new();
#[btf_map]
static VERDICT_TRAFFIC: PerCpuArray<Traffic, VERDICTS> = PerCpuArray::new();

/// Set by the harness before the program is loaded. Mutable, so that the verifier does not take them for constants, which a
/// balancer's settings are not.
#[unsafe(no_mangle)]
static mut PROTOTYPE_SETTINGS: Settings =
    Settings { seed: 0, first_port: 0, port_count: 0, idle: 0, last_bucket: 0 };
#[unsafe(no_mangle)]
static mut PROTOTYPE_FILTER: [u8; FILTER_PLACES] = [0; FILTER_PLACES];

/// Ethernet, IPv4 and TCP without options.
const HEADERS: usize = 14 + 20 + 20;
const IPV4: u16 = 0x0800_u16.to_be();
const TCP: u8 = 6;
/// More fragments, and the offset of one.
const FRAGMENT: u16 = 0x3fff_u16.to_be();
/// FIN, SYN and RST.
const CONTROL: u8 = 0x07;

#[xdp(frags)]
pub(crate) fn prototype(ctx: XdpContext) -> u32 {
    let bytes = (ctx.data_end() - ctx.data()) as u32;
    match established(&ctx, bytes) {
        Ok(interface) => {
            count(Verdict::Forwarded, bytes);
            // SAFETY: the kernel hands every XDP program a valid context.
            if interface == unsafe { (*ctx.ctx).ingress_ifindex } {
                xdp_action::XDP_TX
            } else {
                // SAFETY: the helper takes numbers only.
                unsafe { bpf_redirect(interface, 0) as u32 }
            }
        }
        Err(verdict) => {
            count(verdict, bytes);
            xdp_action::XDP_PASS
        }
    }
}

#[inline(always)]
fn established(ctx: &XdpContext, bytes: u32) -> Result<u32, Verdict> {
    let frame = Frame::<HEADERS>::new(ctx.data(), ctx.data_end()).ok_or(Verdict::Unusual)?;
    let plain =
        frame.get::<u16, 12>() == IPV4 && frame.get::<u8, 14>() == 0x45 && frame.get::<u8, 23>() == TCP;
    if !plain || frame.get::<u16, 20>() & FRAGMENT != 0 {
        return Err(Verdict::Unusual);
    }
    let length = u32::from(u16::from_be(frame.get::<u16, 16>()));
    if length + 14 > bytes || length < 40 {
        return Err(Verdict::Unusual);
    }
    let (source, destination) = (frame.get::<u32, 26>(), frame.get::<u32, 30>());
    let ports = frame.get::<u32, 34>();
    if !is_marked(destination, u32::from(u16::from_be((ports >> 16) as u16))) {
        return Err(Verdict::NotOurs);
    }
    let flags = frame.get::<u8, 47>();
    if frame.get::<u8, 46>() >> 4 < 5 {
        return Err(Verdict::Unusual);
    }
    let entry = find(source, destination, ports).ok_or(Verdict::NoFlow)?;
    // SAFETY: the verifier knows the value that it is in; the benchmark runs on one CPU.
    let entry = unsafe { &mut *entry };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_jiffies64() } as u32;
    // SAFETY: the program's own, which nobody writes.
    let idle = unsafe { (&raw const PROTOTYPE_SETTINGS.idle).read_volatile() };
    if now.wrapping_sub(entry.last_seen) > idle || flags & CONTROL != 0 || entry.state >= STEADY {
        return Err(Verdict::Unusual);
    }
    if entry.last_seen != now {
        entry.last_seen = now;
    }
    let mut hop = &entry.hop;
    if entry.side != TO_CLIENT {
        let replica = REPLICA.get(u32::from(entry.replica)).ok_or(Verdict::Unusual)?;
        if replica.reset != 0 || replica.mode != 0 || length > u32::from(replica.mtu) {
            return Err(Verdict::Unusual);
        }
        hop = &replica.hop;
    }
    let ttl = frame.get::<u8, 22>();
    if hop.interface == 0 || ttl <= 1 {
        return Err(Verdict::Unusual);
    }
    rewrite(&frame, entry, hop, ttl);
    if let Some(traffic) = REPLICA_TRAFFIC.get_ptr_mut(u32::from(entry.replica)) {
        // SAFETY: this CPU's own value.
        let traffic = unsafe { &mut (*traffic)[usize::from(entry.side & 1)] };
        traffic.packets += 1;
        traffic.bytes += u64::from(bytes);
    }
    Ok(hop.interface)
}

#[inline(always)]
fn is_marked(destination: u32, port: u32) -> bool {
    // SAFETY: the program's own, which nobody writes.
    let (first, count) = unsafe {
        (
            (&raw const PROTOTYPE_SETTINGS.first_port).read_volatile(),
            (&raw const PROTOTYPE_SETTINGS.port_count).read_volatile(),
        )
    };
    let place = place(first, count, destination, port) as usize % FILTER_PLACES;
    // SAFETY: as above, and the place is inside.
    unsafe { (&raw const PROTOTYPE_FILTER).cast::<u8>().add(place).read_volatile() != 0 }
}

/// The entry of a key.
#[inline(always)]
fn find(source: u32, destination: u32, ports: u32) -> Option<*mut Entry> {
    // SAFETY: the program's own, which nobody writes.
    let (seed, last) = unsafe {
        (
            (&raw const PROTOTYPE_SETTINGS.seed).read_volatile(),
            (&raw const PROTOTYPE_SETTINGS.last_bucket).read_volatile(),
        )
    };
    let hash = hash(seed, source, destination, ports);
    let bucket = BUCKET.get_ptr_mut((hash >> 32) as u32 & last)?;
    let first = way(hash, 0);
    let mut n = 0;
    while n < WAYS {
        // SAFETY: there are as many entries in a bucket as ways.
        let entry = unsafe { (&raw mut (*bucket).entries).cast::<Entry>().add((first ^ n) % WAYS) };
        // SAFETY: the entry is in the map's value.
        let held = unsafe { &*entry };
        if held.source == source && held.ports == ports && held.destination == destination {
            return Some(entry);
        }
        n += 1;
    }
    None
}

#[inline(always)]
fn rewrite(frame: &Frame<HEADERS>, entry: &Entry, hop: &Hop, ttl: u8) {
    frame.set::<u32, 0>(hop.macs[0]);
    frame.set::<u32, 4>(hop.macs[1]);
    frame.set::<u32, 8>(hop.macs[2]);
    frame.set::<u32, 26>(entry.to_source);
    frame.set::<u32, 30>(entry.to_destination);
    frame.set::<u32, 34>(entry.to_ports);
    frame.set::<u8, 22>(ttl - 1);
    // The TTL, first byte of its word, falls by one.
    const HOP: u32 = !u16::from_ne_bytes([1, 0]) as u32;
    let addresses = u32::from(entry.address_delta);
    frame.set::<u16, 24>(corrected(frame.get::<u16, 24>(), addresses + HOP));
    frame.set::<u16, 50>(corrected(frame.get::<u16, 50>(), addresses + u32::from(entry.port_delta)));
}

/// A checksum after a difference (RFC 1624, equation 3).
#[inline(always)]
fn corrected(checksum: u16, delta: u32) -> u16 {
    let sum = u32::from(!checksum) + delta;
    let once = (sum & 0xffff) + (sum >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}

#[inline(always)]
fn count(verdict: Verdict, bytes: u32) {
    if let Some(traffic) = VERDICT_TRAFFIC.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own value.
        let traffic = unsafe { &mut *traffic };
        traffic.packets += 1;
        traffic.bytes += u64::from(bytes);
    }
}
