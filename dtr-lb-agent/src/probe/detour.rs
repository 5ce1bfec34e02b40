//! Whether a replica in mode `dnat` that is silent towards a VIP is silent at all.
//!
//! It is asked from the VIP, and its answer comes back only if its route to the VIP leads here. Where it has not answered, the next
//! probe also looks whether it takes a connection from this host's own address: then it is not dead, and its route is what is
//! wrong. Both looks are bare TCP connections, so that a way that loses large packets is not taken for this.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::{join, join_all};
use tokio::time::timeout;

use super::{Failure, Phase, connector::Connector};

/// What is known of one replica.
#[derive(Debug)]
pub(super) struct Detour {
    own: Connector,
    vips: Vec<(IpAddr, Connector)>,
    limit: Duration,
    /// It did not take the last probe's connection in time.
    silent: AtomicBool,
}

impl Detour {
    pub(super) fn new(replica: SocketAddr, vips: &[IpAddr], limit: Duration) -> Self {
        let vips = vips.iter().map(|vip| (*vip, Connector::from_vip(replica, *vip))).collect();
        Self { own: Connector::own(replica), vips, limit, silent: AtomicBool::new(false) }
    }

    /// The VIP to which a replica does not answer that answers this host. Looks for it after a probe that was not answered, and
    /// ends within the probe's time.
    pub(super) async fn look(&self) -> Option<IpAddr> {
        if !self.silent.load(Ordering::Relaxed) {
            return None;
        }
        let vips = self.vips.iter();
        let from_vips = join_all(vips.map(|(_, connector)| connect(connector, self.limit)));
        let (own, from_vips) = join(connect(&self.own, self.limit), from_vips).await;
        own.ok()?;
        let silent = from_vips.iter().position(|answer| answer.as_ref().is_err_and(is_silence))?;
        Some(self.vips[silent].0)
    }

    /// What a probe's failure comes to, by what was found beside it.
    pub(super) fn judge(&self, failure: Option<Failure>, past: Option<IpAddr>) -> Option<Failure> {
        let silent = failure.as_ref().is_some_and(is_silence);
        self.silent.store(silent, Ordering::Relaxed);
        match past {
            Some(vip) if silent => Some(Failure::AnswersPast { vip }),
            _ => failure,
        }
    }
}

/// Connects within `limit`, and closes at once.
async fn connect(connector: &Connector, limit: Duration) -> Result<(), Failure> {
    match timeout(limit, connector.connect(limit)).await {
        Ok(connected) => connected.map(|_closed_on_drop| ()),
        Err(_elapsed) => Err(Failure::Timeout { after: limit, phase: Phase::Connecting }),
    }
}

fn is_silence(failure: &Failure) -> bool {
    matches!(failure, Failure::Timeout { phase: Phase::Connecting, .. })
}
