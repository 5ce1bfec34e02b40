//! The dtr-lb agent: probes replicas, decides which of them get traffic, and writes that into the datapath.

pub mod datapath;
