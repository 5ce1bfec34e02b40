//! The TCP probe: connect, and close at once. It proves that something listens, no more.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use super::{Failure, Phase};

/// Connects to `target` within `limit`.
pub(super) async fn connect(target: SocketAddr, limit: Duration) -> Result<(), Failure> {
    match timeout(limit, TcpStream::connect(target)).await {
        Ok(Ok(_closed_on_drop)) => Ok(()),
        Ok(Err(error)) => Err(Failure::from_io(&error, limit)),
        Err(_elapsed) => Err(Failure::Timeout { after: limit, phase: Phase::Connecting }),
    }
}
