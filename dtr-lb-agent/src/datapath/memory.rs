//! How much memory the flow tables take. The kernel allocates them whole when they are made.

use dtr_lb_common::abi::{Flow, HALF_OPEN_ENTRIES, HalfOpen, Tuple};

/// `struct htab_elem` without key and value (kernel/bpf/hashtab.c, Linux 6.18).
const ELEMENT: u64 = 48;
/// `struct bucket` there.
const BUCKET: u64 = 16;

/// Bytes of both tables for so many connections.
pub fn estimate(max_flows: u32) -> u64 {
    table::<Flow>(2 * u64::from(max_flows)) + table::<HalfOpen>(HALF_OPEN_ENTRIES as u64)
}

fn table<V>(entries: u64) -> u64 {
    let key = size_of::<Tuple>().next_multiple_of(8) as u64;
    let value = size_of::<V>().next_multiple_of(8) as u64;
    entries * (ELEMENT + key + value) + entries.next_power_of_two() * BUCKET
}
