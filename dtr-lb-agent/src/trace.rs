//! `dtr-lb trace`: what happened to each packet, and why, by what the datapath saw.
//!
//! `order` is what is asked for, `line` what is told of a packet, `stream` reads the datapath's records for as long as the
//! trace lasts, `pcap` makes a file of them that Wireshark opens.

mod line;
mod order;
pub mod pcap;
mod stream;

pub use line::{Begin, Ends, Finish, Line, PacketLine, Ways};
pub use order::{COUNT, LONGEST, Order, OrderError, Query, SECONDS, SNAP, parse_limit, verdicts};
pub use stream::{Names, TraceRequest, Tracing, stream};
