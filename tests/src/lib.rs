//! What the tests stand on, a module a room, and the rooms know each other in one direction only:
//!
//! - [`lab`]: network namespaces with clients, a switch and replicas; and, of the lab's, [`stub`]: eBPF programs that stand for
//!   hardware, [`balancer`]: an agent in the lab, [`pinned`]: what pinned maps say, [`many_probes`]: what probing costs.
//! - [`fixtures`]: frames and cases for the packet pipeline, which run on the host, in the kernel and over a wire.
//! - [`compare`]: what people run today, in the same lab. [`demo`]: `cargo xtask run`.
//! - [`privilege`]: what tests need and a machine may lack; where it is missing, they are skipped and counted, or fail.

pub mod balancer;
pub mod compare;
pub mod demo;
pub mod fixtures;
pub mod lab;
pub mod many_probes;
pub mod pinned;
pub mod privilege;
pub mod stub;
