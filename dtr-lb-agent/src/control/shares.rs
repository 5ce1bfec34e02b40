//! Who of a service's replicas gets new flows, and whose flows are reset.

use std::time::Instant;

use super::{ReplicaState, health::ReplicaHealth, machine::ReplicaMachine, service::ServiceState};
use crate::config::{Admin, AllDown, OnDown};

/// Who gets new flows, and whose flows are reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// In the order of the config.
    pub(super) weights: Vec<u16>,
    /// None is fit to serve, and new flows go to such as are known to be down.
    pub(super) to_down: bool,
}

impl ServiceState {
    /// The share of each replica: that of those that are up, backups only where no other is. With none up, `all_down` decides: fail-open
    /// takes those that are not known to be bad, if there are any, and else all.
    pub(super) fn shares(&self, all_down: AllDown, now: Instant) -> Shares {
        let take = |share: &dyn Fn(&ReplicaMachine) -> u16| -> Option<Vec<u16>> {
            let weights: Vec<_> = self.replicas.iter().map(share).collect();
            weights.iter().any(|weight| *weight > 0).then_some(weights)
        };
        let is = |replica: &ReplicaMachine, state| replica.condition().state == state;
        let up = |backup| {
            take(&|replica| {
                let serves = is(replica, ReplicaState::Up) && replica.replica().backup == backup;
                if serves { replica.share(now) } else { 0 }
            })
        };
        let unjudged =
            || take(&|replica| if is(replica, ReplicaState::Starting) { replica.offered() } else { 0 });
        let all = || take(&ReplicaMachine::offered);
        let none = || Shares { weights: vec![0; self.replicas.len()], to_down: false };
        match (up(false).or_else(|| up(true)), all_down) {
            (Some(weights), _) => Shares { weights, to_down: false },
            (None, AllDown::Refuse) => none(),
            (None, AllDown::FailOpen) => match unjudged() {
                Some(weights) => Shares { weights, to_down: false },
                None => all().map_or_else(none, |weights| Shares { weights, to_down: true }),
            },
        }
    }
}

impl Shares {
    /// Whether the flows of a replica, one of those that these shares are of, are reset.
    pub(super) fn reset(&self, replica: &ReplicaMachine, on_down: OnDown) -> bool {
        // By an operator's word, which is not to be doubted below.
        if replica.replica().admin == Admin::Maint {
            return on_down != OnDown::Leave;
        }
        let down = replica.judged() == ReplicaHealth::Down;
        let wanted = match on_down {
            OnDown::Auto => down && replica.silence().dead,
            OnDown::Reset => down || replica.agent_check().unfit(),
            OnDown::Leave => false,
        };
        // Where new flows go to it in the hope that probes are wrong, the old ones may hope, too.
        wanted && !self.to_down
    }
}
