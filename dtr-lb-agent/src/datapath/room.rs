//! How many connections replicas may still have, where their service limits that.
//!
//! The datapath takes one off for each handshake that is completed, and the census, which counts the connections that there
//! are, says anew how many are left: so the number never falls behind, and what has ended counts again a moment later.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use dtr_lb_common::abi::{ROOM_KNOWN, ReplicaId, map};

use super::{error::DatapathError, object::take, sweep::Census};

/// The map, and what it is to say.
pub(super) struct Room {
    map: Array<MapData, i64>,
    /// Of the replicas that have a limit.
    limits: BTreeMap<ReplicaId, u32>,
    /// What was left when the census began.
    before: BTreeMap<ReplicaId, i64>,
}

impl Room {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self { map: take(ebpf, map::ROOM)?, limits: BTreeMap::new(), before: BTreeMap::new() })
    }

    /// Takes in the limits, and which ids are new replicas'. One that had no limit until now may have as many as its limit says, until
    /// they are counted.
    pub(super) fn limit(
        &mut self,
        limits: BTreeMap<ReplicaId, u32>,
        new: &[ReplicaId],
    ) -> Result<(), DatapathError> {
        self.limits.retain(|id, _| !new.contains(id));
        for (id, limit) in &limits {
            let before = self.limits.get(id).map(|before| i64::from(*before));
            let left = match before {
                Some(before) if before == i64::from(*limit) => continue,
                Some(before) => {
                    // What a census under way takes for opened is not this.
                    let change = i64::from(*limit) - before;
                    self.before.entry(*id).and_modify(|left| *left += change);
                    self.left(*id)? + change
                }
                None => {
                    self.before.remove(id);
                    i64::from(*limit)
                }
            };
            self.set(*id, left)?;
        }
        self.limits = limits;
        Ok(())
    }

    /// A census begins.
    pub(super) fn census_begins(&mut self) -> Result<(), DatapathError> {
        self.before = self.limits.keys().map(|id| Ok((*id, self.left(*id)?))).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Takes in a census. What was opened meanwhile may be in it or not, and counts beside it until the next one.
    pub(super) fn take(&mut self, census: &Census) -> Result<(), DatapathError> {
        let limits: Vec<_> = self.limits.iter().map(|(id, limit)| (*id, *limit)).collect();
        for (id, limit) in limits {
            // A limit that is younger than the census waits for the next one.
            let Some(before) = self.before.get(&id) else { continue };
            let opened = before - self.left(id)?;
            let flows = census.flows.get(&id).copied().unwrap_or_default();
            let left = i64::from(limit) - i64::try_from(flows).unwrap_or(i64::MAX);
            self.set(id, left.saturating_sub(opened.max(0)))?;
        }
        Ok(())
    }

    fn left(&self, id: ReplicaId) -> Result<i64, DatapathError> {
        let left = self.map.get(&id.into(), 0).map_err(DatapathError::map(map::ROOM, "reading"))?;
        Ok(left - ROOM_KNOWN)
    }

    fn set(&mut self, id: ReplicaId, left: i64) -> Result<(), DatapathError> {
        self.map.set(id.into(), left + ROOM_KNOWN, 0).map_err(DatapathError::map(map::ROOM, "writing"))
    }
}
