//! Fuzzes the packet pipeline on the host: the code that runs in the kernel, over tables in plain memory.
//!
//! An input is bytes. They say a [`world`] (services, replicas, settings) and a sequence of [`event`]s: frames that ends
//! and strangers send, time that passes, sweeps of the agent, changes of the world. [`run`] plays it, and after each
//! frame the [`oracle`] says what had to become of it: it follows connections by what was sent, reads frames with a
//! [`reader`] of its own and shares nothing with the pipeline but the hashes that choose a slot and a bucket.
//!
//! [`search`] makes inputs: at random from a seed, and by changing those that reached something new. [`minimise`] makes a
//! finding small, [`corpus`] keeps it.

pub mod corpus;
pub mod ends;
pub mod event;
pub mod frame;
pub mod input;
pub mod memory;
pub mod minimise;
pub mod net;
pub mod oracle;
pub mod random;
pub mod reached;
pub mod reader;
pub mod run;
pub mod search;
pub mod words;
pub mod world;
