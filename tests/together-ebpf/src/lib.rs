//! What the programs and their harness both know: who there is, what is known of each connection, what may be sent, and how
//! what became of it is told.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod op;
pub mod packet;
pub mod record;
pub mod world;
