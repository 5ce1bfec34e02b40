//! How much memory the flow table takes. The kernel allocates it whole when it is made.

use dtr_lb_common::{
    abi::{Client, ClientKey, KEPT_SYNS, KeptSyn, MAX_CLIENTS},
    flow_table::{
        BUCKET_BYTES, LOCKS,
        next_hops::{NEXT_HOP_BYTES, NEXT_HOPS},
    },
};

/// Bytes for so many connections: a bucket for each, and what all share.
pub fn estimate(max_flows: u32) -> u64 {
    let shared = LOCKS * size_of::<u64>()
        + NEXT_HOPS * NEXT_HOP_BYTES
        + KEPT_SYNS * size_of::<KeptSyn>().next_multiple_of(8);
    // A place of a hash map has a head and is found by a bucket besides (`struct htab_elem` of the kernel).
    const CLIENT_BYTES: usize = size_of::<ClientKey>() + size_of::<Client>() + 64;
    let shared = shared + MAX_CLIENTS * CLIENT_BYTES;
    u64::from(max_flows) * BUCKET_BYTES as u64 + shared as u64
}
