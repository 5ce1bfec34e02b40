//! The agent's API: HTTP with JSON bodies, for the command line and for scripts
//! (`curl --unix-socket /run/dtr-lb/dtr-lb.sock http://agent/v1/status`).
//!
//! It decides nothing: a request (`request`) is put to the agent's main loop, which answers from its own state. `ask` puts
//! it there, `asker` says who asks. `routes` are the paths and methods, `socket` is where they are served, `client` the other end. The HTTP side ([`crate::web`]) serves
//! [`open_routes`], too.

mod ask;
mod asker;
mod client;
mod events;
mod follow;
mod healthz;
mod history;
mod look;
mod metrics;
mod request;
mod routes;
mod socket;
mod trace;
mod verdicts;

pub use client::{
    ClientError, Lines, ask_detach, ask_events, ask_explain, ask_flows, ask_follow, ask_reload, ask_replica,
    ask_status, ask_status_within, ask_trace, ask_undo, ask_would_reload,
};
pub use request::{
    Answer, Detached, Follow, Look, Ordered, Refusal, RefusalKind, Reloaded, ReplicaOrder, Replicas, Request,
    WouldReload,
};
pub use routes::{open_routes, router};
pub use socket::{Api, ApiError, AtPath, inspect};
