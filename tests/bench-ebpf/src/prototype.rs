//! The prototype's table and settings.

use bytemuck::{Pod, Zeroable};

/// Places for entries in a bucket.
pub const WAYS: usize = 4;
/// Places of the filter.
pub const FILTER_PLACES: usize = 16_384;
/// Buckets, unless the harness says otherwise.
pub const BUCKETS: usize = 1024;
/// Ids of replicas.
pub const MAX_REPLICAS: usize = 4096;

/// Where a frame is sent: the interface, and the Ethernet addresses as they stand in a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Hop {
    pub interface: u32,
    pub macs: [u32; 3],
}

/// One direction of a connection, in one cache line. Addresses and ports are as they stand in a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Entry {
    pub source: u32,
    pub destination: u32,
    pub ports: u32,
    pub to_source: u32,
    pub to_destination: u32,
    pub to_ports: u32,
    /// The way to the client.
    pub hop: Hop,
    pub address_delta: u16,
    pub port_delta: u16,
    pub replica: u16,
    pub state: u8,
    pub side: u8,
    pub last_seen: u32,
    pub zero: [u32; 3],
}

const _: () = assert!(size_of::<Entry>() == 64);

/// In [`Entry::state`]: packets without a flag that matters change nothing below it.
pub const STEADY: u8 = 8;
/// In [`Entry::side`].
pub const TO_REPLICA: u8 = 0;
pub const TO_CLIENT: u8 = 1;

/// Entries that a key may stand in.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Bucket {
    pub entries: [Entry; WAYS],
}

/// What is asked about a replica for each packet to it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Replica {
    pub hop: Hop,
    pub mtu: u16,
    pub mode: u8,
    pub reset: u8,
}

/// Packets and bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// Of a replica: to it, and to clients.
pub type ReplicaTraffic = [Traffic; 2];

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    Forwarded,
    /// Not to an end that the filter knows.
    NotOurs,
    NoFlow,
    /// Anything that a balancer would go on with, and the prototype does not.
    Unusual,
}

pub const VERDICTS: usize = 4;

/// Numbers that the harness sets before it loads the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    pub seed: u64,
    pub first_port: u32,
    pub port_count: u32,
    /// Ticks for which an entry may be without a packet.
    pub idle: u32,
    /// Buckets, less one. They are a power of two.
    pub last_bucket: u32,
}

/// The place in the filter of packets to this end; the port in host order. All ports of the range are one.
#[inline(always)]
pub const fn place(first_port: u32, port_count: u32, destination: u32, port: u32) -> u32 {
    let port = if port.wrapping_sub(first_port) < port_count { 0 } else { port };
    let mixed = (destination.rotate_left(13) ^ port).wrapping_mul(0x9e37_79b1);
    mixed >> (u32::BITS - FILTER_PLACES.trailing_zeros())
}

/// The hash of a key: bucket by its upper half, preferred place by its lower.
#[inline(always)]
pub const fn hash(seed: u64, source: u32, destination: u32, ports: u32) -> u64 {
    let x = ((source as u64) << 32 | destination as u64) ^ seed;
    let x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 32)).wrapping_add(ports as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// The place to look into at the `n`th attempt.
#[inline(always)]
pub const fn way(hash: u64, n: usize) -> usize {
    ((hash as u32 >> 30) as usize ^ n) % WAYS
}
