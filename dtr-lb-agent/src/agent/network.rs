//! What the agent follows of the network: next hops, and the interfaces of the config.

use std::{collections::BTreeSet, future::pending, net::IpAddr};

use tokio::sync::{mpsc, watch};

use super::log::log;
use crate::{
    control::{Change, Control, NextHops},
    interface::{Links, Look, Watch},
    next_hop::{NextHopError, Watcher},
};

/// What is followed.
pub(super) struct Network {
    _watcher: Watcher,
    /// Those that the watcher watches.
    addresses: watch::Sender<BTreeSet<IpAddr>>,
    next_hops: watch::Receiver<NextHops>,
    interfaces: Watch,
    /// What `interfaces` sees, every few seconds.
    looks: mpsc::Receiver<Look>,
    /// Whether the start is over: before, what is not known is no news.
    pub(super) settled: bool,
}

/// What is new.
pub(super) enum Seen {
    NextHops,
    Interfaces(Look),
}

impl Network {
    /// Follows the next hops of these addresses and these interfaces, within a tokio runtime.
    ///
    /// # Errors
    /// The kernel does not tell of next hops.
    pub(super) fn follow(
        addresses: BTreeSet<IpAddr>,
        interfaces: Vec<String>,
        links: Links,
    ) -> Result<Self, NextHopError> {
        let (addresses, watched) = watch::channel(addresses);
        let (watcher, next_hops) = Watcher::spawn(watched)?;
        let (interfaces, looks) = Watch::spawn(interfaces, links);
        Ok(Self { _watcher: watcher, addresses, next_hops, interfaces, looks, settled: false })
    }

    /// Waits for what is new. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Seen {
        tokio::select! {
            Ok(()) = self.next_hops.changed() => Seen::NextHops,
            Some(look) = self.looks.recv() => Seen::Interfaces(look),
            else => pending().await,
        }
    }

    /// Gives `control` the next hops as they are now.
    pub(super) fn take_next_hops(&mut self, control: &mut Control) {
        let next_hops = self.next_hops.borrow_and_update().clone();
        let changes = control.next_hops(next_hops).into_iter();
        let is_missing = |change: &Change| matches!(change, Change::NextHop { result: Err(_), .. });
        changes.filter(|change| self.settled || !is_missing(change)).for_each(log);
    }

    /// Waits for next hops only. May be dropped and called again.
    pub(super) async fn next_hops_changed(&mut self) {
        if self.next_hops.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    /// Follows the next hops of these addresses from now on.
    pub(super) fn follow_addresses(&self, wanted: BTreeSet<IpAddr>) {
        self.addresses.send_if_modified(|addresses| {
            let changed = *addresses != wanted;
            *addresses = wanted;
            changed
        });
    }

    /// Follows these interfaces from now on.
    pub(super) fn follow_interfaces(&mut self, names: Vec<String>, links: Links) {
        (self.interfaces, self.looks) = Watch::spawn(names, links);
    }
}
