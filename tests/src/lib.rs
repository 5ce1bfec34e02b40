//! The lab, and what the scenarios in `tests/tests/` share.

pub mod lab;
