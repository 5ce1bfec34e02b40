//! What is measured: a program, and tables that can be filled.

use anyhow::Result;
use aya::programs::ProgramFd;
use dtr_lb_agent::datapath::Hook;

use super::case::{Load, Sent};

/// A program under test with its tables.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;
    /// The program, for a wrapper to go on with.
    fn program(&mut self, hook: Hook) -> Result<ProgramFd>;
    /// What it makes of a frame, when it is run by itself.
    fn run(&mut self, hook: Hook, frame: &[u8]) -> Result<Vec<u8>>;
    /// How many packets had the fate that `sent` is to have, so far.
    fn counted(&self, sent: Sent) -> Result<u64>;
    /// The share of the packets that must have had it.
    fn share(&self) -> f64 {
        1.0
    }
    /// Forgets all flows.
    fn clear(&mut self) -> Result<()>;
}

/// Connections that a table is made for that is to be filled: a seventh more than there are to be, at 900,000. One of IPv6 counts
/// for two.
pub(crate) fn max_flows(load: Load) -> u32 {
    let flows = load.flows * if load.v6 { 2 } else { 1 };
    let with_room = flows + flows / 8;
    let power = with_room.next_power_of_two();
    if power < 65_536 { 65_536 } else { power }
}

/// The default of `datapath.max_flows`: what handshakes meet.
pub(crate) const DEFAULT_MAX_FLOWS: u32 = 1_048_576;
