//! What Prometheus reads at `/metrics`: names, help and labels of all metrics, and the page made of them.
//!
//! A page is a pure function of a [`Snapshot`], which the main loop makes in one go, and of what the kernel says of this
//! process. Packets, bytes and connections are counted in the datapath's maps, so that these counters go on where the agent
//! is restarted; probes, table writes and refused HTTP requests are the agent's own, and begin at 0 with it.
//!
//! Series are bounded by the config: a replica that it no longer has is no longer told of, and no label has what a client,
//! a replica or a packet says.

mod families;
mod flows;
mod page;
mod probes;
mod process;
mod replicas;

use crate::{flow_log::FlowLogCounts, status::Status, web::HttpCounts};

pub use flows::FlowCounts;
pub use probes::{ProbeCounts, Tally};
pub use process::Process;

/// What the agent knows at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub status: Status,
    pub probes: ProbeCounts,
    pub flows: FlowCounts,
    pub http: HttpCounts,
    pub flow_log: FlowLogCounts,
}

/// The content type of [`page`]: Prometheus' text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The page. `process` is left out where the kernel does not tell.
///
/// # Errors
/// A metric or label has a name that the format does not allow: a fault of this program.
pub fn page(snapshot: &Snapshot, process: Option<&Process>) -> Result<String, String> {
    let mut page = page::Page::default();
    families::add(snapshot, &mut page);
    if let Some(process) = process {
        process.add(&mut page);
    }
    page.text()
}

#[cfg(test)]
mod tests;
