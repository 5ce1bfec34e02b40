//! The agent's API: HTTP with JSON bodies, for the command line and for scripts
//! (`curl --unix-socket /run/dtr-lb/dtr-lb.sock http://agent/v1/status`).
//!
//! It decides nothing: a request (`request`) is put to the agent's main loop, which answers from its own state. `routes` are
//! the paths and methods, `socket` is where they are served, `client` the other end.

mod client;
mod healthz;
mod metrics;
mod request;
mod routes;
mod socket;

pub use client::{ClientError, ask_detach, ask_healthz, ask_reload, ask_replica, ask_status};
pub use request::{Answer, Detached, Ordered, Refusal, RefusalKind, Reloaded, ReplicaOrder, Request};
pub use routes::router;
pub use socket::{Api, ApiError};
