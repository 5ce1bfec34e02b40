//! The walk through the flow table, in pieces, between which everything else goes on.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::datapath::{Asked, Census, Datapath};

/// The pause between two walks.
const PAUSE: Duration = Duration::from_secs(1);
/// Of a walk, the part of the time that it may take from the processor.
const SHARE: u32 = 20;
/// The same, while clients of a dead replica wait to be notified.
const QUICK_SHARE: u32 = 2;

/// One piece. Returns what the walk has found, if that was its last one, and when the next is due.
pub(super) fn step(datapath: &mut Datapath) -> (Option<Census>, Instant) {
    let begun = Instant::now();
    let (census, pause) = match datapath.sweep() {
        Ok(None) if datapath.hurries() => (None, begun.elapsed() * QUICK_SHARE),
        Ok(None) => (None, begun.elapsed() * SHARE),
        Ok(Some(census)) => (Some(census), PAUSE),
        Err(error) => {
            warn!(%error, "the flow table was not swept; counts of flows may be old");
            (None, PAUSE * 10)
        }
    };
    (census, Instant::now() + pause)
}

/// What a walk has done for clients.
pub(super) fn log_notified(asked: &Asked) {
    let Asked { clients, lost, untold, idle, error } = asked;
    if *clients + *lost > 0 {
        info!(
            clients,
            lost, "clients of dead replicas received a challenge ACK, so that their connections are reset"
        );
    }
    if *idle > 0 {
        info!(
            connections = idle,
            "connections were silent for longer than datapath.idle_timeout: client and replica received a reset"
        );
    }
    if *untold > 0 {
        warn!(
            resets = untold,
            "no interface took these resets of silent connections, or their next hop is no longer known: who they were for \
             finds out with its next packet"
        );
    }
    if let Some(error) = error {
        warn!(%error, "not all of them could be notified: they notice when they send something");
    }
}
