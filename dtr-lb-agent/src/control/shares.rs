//! Who of a service's replicas gets new flows, and whose flows are reset.

use std::time::Instant;

use super::{ReplicaState, replica::Known, service::Standing};
use crate::{
    config::{Admin, AllDown, OnDown, Replica, Service},
    probe::State,
};

/// Who gets new flows, and whose flows are reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// In the order of the config.
    pub(super) weights: Vec<u16>,
    /// None is fit to serve, and new flows go to such as are known to be down.
    pub(super) to_down: bool,
}

impl Standing {
    /// The share of each replica: that of those that are up, backups only where no other is. With none up, `all_down` decides: fail-open
    /// takes those that are not known to be bad, if there are any, and else all.
    pub(super) fn shares(&self, service: &Service, all_down: AllDown, now: Instant) -> Shares {
        let take = |share: &dyn Fn(&Known, &Replica) -> u16| -> Option<Vec<u16>> {
            let pairs = self.replicas.iter().zip(&service.replicas);
            let weights: Vec<_> = pairs.map(|(known, config)| share(known, config)).collect();
            weights.iter().any(|weight| *weight > 0).then_some(weights)
        };
        let of_state = |state: ReplicaState, known: &Known, share: u16| {
            if known.condition.state == state { share } else { 0 }
        };
        let of_kind = |backup: bool, config: &Replica, share: u16| {
            if config.backup == backup { share } else { 0 }
        };
        let up = |backup| {
            take(&|known, config| {
                of_kind(backup, config, of_state(ReplicaState::Up, known, known.share(config, now)))
            })
        };
        let unjudged =
            || take(&|known, config| of_state(ReplicaState::Starting, known, known.offered(config)));
        let all = || take(&|known, config| known.offered(config));
        let none = || Shares { weights: vec![0; service.replicas.len()], to_down: false };
        match (up(false).or_else(|| up(true)), all_down) {
            (Some(weights), _) => Shares { weights, to_down: false },
            (None, AllDown::Refuse) => none(),
            (None, AllDown::FailOpen) => match unjudged() {
                Some(weights) => Shares { weights, to_down: false },
                None => all().map_or_else(none, |weights| Shares { weights, to_down: true }),
            },
        }
    }

    /// Whether the flows of a replica are reset.
    pub(super) fn reset(&self, service: &Service, place: usize, on_down: OnDown, shares: &Shares) -> bool {
        let known = &self.replicas[place];
        // By an operator's word, which is not to be doubted below.
        if service.replicas[place].admin == Admin::Maint {
            return on_down != OnDown::Leave;
        }
        let wanted = match on_down {
            OnDown::Auto => known.judged() == State::Down && known.silence.dead,
            OnDown::Reset => known.judged() == State::Down || known.own.unfit(),
            OnDown::Leave => false,
        };
        // Where new flows go to it in the hope that probes are wrong, the old ones may hope, too.
        wanted && !shares.to_down
    }
}
