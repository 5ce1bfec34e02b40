//! What dtr-lb's kernel and user sides share.
//!
//! The types that stand in BPF maps ([`abi`]), the packet pipeline that the eBPF programs run ([`pipeline`]), and
//! what both sides must compute alike: checksums, the flow hash, Maglev tables. Nothing here needs a kernel: the
//! pipeline reaches packets and maps through two traits, and the [`model`] implements them in plain memory, so
//! that the very code which runs in the kernel is tested on the host.
#![cfg_attr(not(any(feature = "user", test)), no_std)]

pub mod abi;
pub mod address;
pub mod checksum;
pub mod filter;
pub mod flow_table;
pub mod hash;
#[cfg(any(feature = "user", test))]
pub mod maglev;
#[cfg(any(feature = "user", test))]
pub mod model;
pub mod pipeline;
pub mod siphash;
pub mod verdict;
pub mod wire;
