//! Several processors at once, in all interleavings: whole packets through the pipeline, over a flow table whose memory is that of
//! the model checker `loom`.
//!
//! `cargo test -p dtr-lb-common --lib interleavings -- --nocapture` says how many executions each scenario had, and how many
//! different ends. All are looked at by a plain walker (`explore::whole`): no key, and so no NAT port, is there twice; each entry
//! has its partner, which says the same; no lock is left. What a scenario demands besides stands in its `afterwards`.
//!
//! # Bounds
//!
//! - Two processors, a table of one or two buckets.
//! - In order `Strict` a load sees the newest value, and a processor may lose its turn at two steps. In order `Weak` loads see
//!   all that acquire and release allow, which is more than x86-64 does, and a turn is lost at one step: the short scenarios have
//!   both. (A copy of the state that is not looked at again was missed in order `Weak`, and found in `Strict`.)
//! - Each scenario is explored twice, with the one processor and with the other first: within these bounds `loom` reaches from one
//!   beginning what it misses from the other.
//! - Time stands still while processors run. The next hop and SYNs that are kept are not the model checker's.
//! - `loom` keeps the last seven values of a word.
//!
//! Words that only one processor uses, or nobody writes, cost no branch: see [`memory`].

mod ending;
mod evicting;
mod explore;
mod memory;
mod opening;
mod packets;
mod telling;
mod world;
