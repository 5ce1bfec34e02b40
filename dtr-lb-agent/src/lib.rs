//! The dtr-lb agent: probes replicas, decides which of them get traffic, and writes that into the datapath.
//!
//! `config` → `probe` and `next_hop` → `control`, the only one that decides → `datapath`, the only one that touches BPF.
//! `agent` runs them; `api` answers the command line, and `web` browsers and Prometheus.

pub mod agent;
pub mod api;
pub mod changes;
pub mod cli;
pub mod command;
pub mod config;
pub mod control;
pub mod datapath;
pub mod directory;
pub mod events;
pub mod explain;
pub mod fit;
pub mod flow_log;
pub mod flows;
pub mod healthz;
pub mod history;
pub mod human;
pub mod interface;
pub mod latency;
pub mod metrics;
pub mod next_hop;
pub mod preflight;
#[cfg(test)]
mod privileged;
pub mod probe;
pub mod resolve;
pub mod status;
pub mod top;
pub mod trace;
pub mod vlan;
pub mod web;
