//! Walks a flow table: counts the connections of each replica and removes entries that have outlived their state.
//!
//! The datapath needs no sweep to be right: it looks at an entry's age when it meets it, and a full table makes room by
//! itself. The sweep keeps the counts true and room free. It reads in batches, in pieces of a bounded size, so that it
//! never holds up the agent for long.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{HashMap, Map, MapData, MapError};
use dtr_lb_common::abi::{Flow, ReplicaId, Settings, Side, Ticks, Tuple};

use super::{batch, error::DatapathError, run::FlowEntry};

type FlowMap<'a> = HashMap<&'a mut MapData, Tuple, Flow>;

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections that may still carry data, by replica.
    pub flows: BTreeMap<ReplicaId, u64>,
    /// Entries of any kind that stay, by replica.
    pub held: BTreeMap<ReplicaId, u64>,
    /// Entries of any kind that were there.
    pub entries: u64,
    /// Entries that were removed.
    pub removed: u64,
}

/// What one batch showed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What the walk found, when it is over.
    pub(super) census: Option<Census>,
    /// Entries by which a client of one of the replicas that were asked about is reached.
    pub(super) waiting: Vec<FlowEntry>,
}

/// A sweep under way.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    cursor: batch::Cursor,
    census: Census,
}

impl Sweep {
    /// Goes on for one batch, and looks for the clients of `dead` replicas.
    pub(super) fn step(
        &mut self,
        map: &mut Map,
        name: &'static str,
        settings: &Settings,
        now: Ticks,
        dead: &BTreeSet<ReplicaId>,
    ) -> Result<Batch, DatapathError> {
        let Map::LruHashMap(data) = &*map else {
            return Err(DatapathError::Object { reason: format!("{name} is not an LRU hash map") });
        };
        let entries: Vec<FlowEntry> = batch::read(data, name, &mut self.cursor)?;
        let mut flows = FlowMap::try_from(map).map_err(DatapathError::map(name, "opening"))?;
        let mut waiting = Vec::new();
        for (key, flow) in &entries {
            self.census.entries += 1;
            if settings.expired(flow.state, flow.last_seen, now) && remove(&mut flows, name, key, flow)? {
                self.census.removed += 1;
                continue;
            }
            *self.census.held.entry(flow.replica).or_default() += 1;
            if flow.side != Side::TO_REPLICA && !flow.state.ended() && dead.contains(&flow.replica) {
                waiting.push((*key, *flow));
            }
            if flow.side != Side::TO_CLIENT && !flow.state.ended() {
                *self.census.flows.entry(flow.replica).or_default() += 1;
            }
        }
        let census = self.cursor.is_done().then(|| std::mem::take(self).census);
        Ok(Batch { census, waiting })
    }
}

/// Removes an entry if it is still what was `seen`, and says whether it is gone. Since it was read, a packet may have
/// taken the tuple for another connection. What is left of that race is the time between two system calls: no call
/// compares and removes.
pub(super) fn remove(
    flows: &mut FlowMap<'_>,
    name: &'static str,
    key: &Tuple,
    seen: &Flow,
) -> Result<bool, DatapathError> {
    match flows.get(key, 0) {
        Ok(flow) if (flow.state, flow.last_seen) != (seen.state, seen.last_seen) => return Ok(false),
        Ok(_) => {}
        Err(MapError::KeyNotFound) => return Ok(true),
        Err(error) => return Err(DatapathError::map(name, "reading")(error)),
    }
    match flows.remove(key) {
        // The datapath was faster.
        Ok(()) | Err(MapError::KeyNotFound) => Ok(true),
        Err(error) => Err(DatapathError::map(name, "removing from")(error)),
    }
}
