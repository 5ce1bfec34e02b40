//! The TCP probe: connect, and close at once. It proves that something listens, no more.

use std::time::Duration;

use tokio::time::timeout;

use super::{Failure, Phase, connector::Connector};

/// Connects within `limit`.
pub(super) async fn connect(connector: &Connector, limit: Duration) -> Result<(), Failure> {
    match timeout(limit, connector.connect(limit)).await {
        Ok(connected) => connected.map(|_closed_on_drop| ()),
        Err(_elapsed) => Err(Failure::Timeout { after: limit, phase: Phase::Connecting }),
    }
}
