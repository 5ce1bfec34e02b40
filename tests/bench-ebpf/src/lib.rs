//! What the benchmark's eBPF programs and its harness both know: which packets a flow has, what a batch is ordered to send,
//! and how the prototype's table looks.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod flows;
pub mod prototype;
