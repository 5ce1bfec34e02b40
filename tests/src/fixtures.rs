//! Cases for the packet pipeline, for both places where it runs: on the host over the model, and in the kernel.
//!
//! A [`Case`] is a sequence of frames through one world ([`world`]): a handshake, data, a close. Each frame has its
//! expected verdict and, if it is forwarded, its expected bytes ([`frames`]), which share no code with the pipeline. Ends have
//! names, to which a [`Plan`] gives addresses of either family. [`play()`] runs a case on an [`Engine`]: [`Host`], [`Kernel`] or
//! [`Wire`]. The NAT port is the pipeline's choice, so it is read off the SYN that leaves and expected from there on
//! ([`Connection`]).

pub mod accounts;
pub mod cases;
pub mod connection;
pub mod engine;
pub mod extension;
pub mod frames;
pub mod host;
pub mod icmp;
pub mod kernel;
pub mod others;
pub mod plan;
mod play;
pub mod wire;
pub mod world;

pub use connection::{Connection, Exchange};
pub use engine::{Engine, Exit, Output};
pub use host::Host;
pub use kernel::Kernel;
pub use plan::Plan;
pub use play::{Case, Play, Record, play};
pub use wire::Wire;
