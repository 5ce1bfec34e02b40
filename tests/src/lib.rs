//! The lab, and what the scenarios in `tests/tests/` share.

pub mod balancer;
pub mod compare;
pub mod fixture;
pub mod lab;
pub mod many_probes;
pub mod pinned;
pub mod privilege;
pub mod show;
pub mod stub;
