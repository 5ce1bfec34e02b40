//! Which replica of which service has which id. Flows know their replica by it, so that an id stays with its replica
//! for as long as a flow may name it, also when no service names the replica any more.
//!
//! An id is given to another replica only when the ids that nobody has had run out, and when a census of the flow table
//! shows that no entry names it. That census begins after the last handshake with the old replica must have ended, as
//! it does not see those; see [`REST`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use dtr_lb_common::{
    abi::{MAX_REPLICAS, Mode, ReplicaId, ServiceKey},
    address::{Address, Be16},
};

/// Service, address, port and mode: what tells a replica's entry from all others. The mode is in the entry, and flows go by
/// the one that they were opened in.
pub(super) type Identity = (ServiceKey, Address, Be16, Mode);

/// Ids that there are; 0 is no replica.
pub(super) const LIMIT: usize = MAX_REPLICAS - 1;

/// For how long after the last table that named a replica a handshake with it may still become a flow: Linux sends a SYN
/// for 127 s (`tcp_syn_retries` = 6), after which the half-open entry lives for 30 s.
const REST: Duration = Duration::from_secs(180);

/// The ids in use.
#[derive(Debug, Default)]
pub(super) struct Ids {
    by_identity: BTreeMap<Identity, ReplicaId>,
    owners: BTreeMap<ReplicaId, Identity>,
    /// Since when no service names the replicas that have these ids.
    unnamed: BTreeMap<ReplicaId, Instant>,
    census: Option<Seen>,
}

/// What a walk through the flow table showed.
#[derive(Debug)]
struct Seen {
    begun: Instant,
    /// The ids that entries name.
    held: BTreeSet<ReplicaId>,
}

/// There are not enough ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// How many replicas got none.
    pub(super) replicas: usize,
    /// How many ids are kept for replicas that no service names.
    pub(super) leaving: usize,
}

impl Ids {
    pub(super) fn get(&self, identity: &Identity) -> Option<ReplicaId> {
        self.by_identity.get(identity).copied()
    }

    /// All that are in use.
    pub(super) fn all(&self) -> impl Iterator<Item = (Identity, ReplicaId)> {
        self.by_identity.iter().map(|(identity, id)| (*identity, *id))
    }

    /// Takes over an id that an earlier agent gave.
    pub(super) fn adopt(&mut self, id: ReplicaId, identity: Identity) {
        self.by_identity.insert(identity, id);
        self.owners.insert(id, identity);
    }

    /// Which ids those of `wanted` would get that have none.
    pub(super) fn choose(&self, wanted: &BTreeSet<Identity>) -> Result<Vec<(Identity, ReplicaId)>, Missing> {
        let known: BTreeSet<_> = wanted.iter().filter_map(|identity| self.get(identity)).collect();
        let new: Vec<_> = wanted.iter().filter(|identity| self.get(identity).is_none()).copied().collect();
        let unused = (1..=LIMIT as ReplicaId).filter(|id| !self.owners.contains_key(id));
        let given_up = self.unnamed.keys().copied().filter(|id| !known.contains(id) && self.is_over(*id));
        let ids: Vec<_> = unused.chain(given_up).take(new.len()).collect();
        if ids.len() < new.len() {
            let leaving = self.owners.len() - known.len();
            return Err(Missing { replicas: new.len() - ids.len(), leaving });
        }
        Ok(new.into_iter().zip(ids).collect())
    }

    /// Gives an id to each of `wanted` that has none, or none to any. Returns the ids that another replica had before.
    pub(super) fn assign(&mut self, wanted: &BTreeSet<Identity>) -> Result<Vec<ReplicaId>, Missing> {
        let mut reused = Vec::new();
        for (identity, id) in self.choose(wanted)? {
            self.by_identity.insert(identity, id);
            self.unnamed.remove(&id);
            if let Some(before) = self.owners.insert(id, identity) {
                self.by_identity.remove(&before);
                reused.push(id);
            }
        }
        Ok(reused)
    }

    /// Says which replicas the services name from `at` on.
    pub(super) fn name(&mut self, wanted: &BTreeSet<Identity>, at: Instant) {
        for (id, identity) in &self.owners {
            if wanted.contains(identity) {
                self.unnamed.remove(id);
            } else {
                self.unnamed.entry(*id).or_insert(at);
            }
        }
    }

    /// Takes in what a walk, begun at `begun`, has found.
    pub(super) fn take_census(&mut self, begun: Instant, held: BTreeSet<ReplicaId>) {
        self.census = Some(Seen { begun, held });
    }

    /// Whether nothing can name an id any more whose replica no service names.
    fn is_over(&self, id: ReplicaId) -> bool {
        let (Some(since), Some(seen)) = (self.unnamed.get(&id), &self.census) else { return false };
        seen.begun.saturating_duration_since(*since) >= REST && !seen.held.contains(&id)
    }
}

#[cfg(test)]
mod tests;
