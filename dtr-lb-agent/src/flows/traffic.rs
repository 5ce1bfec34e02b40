//! What a connection has carried, by its entries in the flow table.

use dtr_lb_common::abi::{Direction, Flow, Traffic};

/// What has come in this entry's direction; none where that is not counted.
pub(super) const fn traffic_of(_flow: &Flow) -> Option<Traffic> {
    None
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) to_replica: Option<Traffic>,
    pub(super) to_client: Option<Traffic>,
}

impl Carried {
    /// By the entry that stands for the connection and, where there are two, the other one.
    pub(super) fn of(flow: &Flow, other: Option<&Flow>) -> Self {
        let (own, others) = (traffic_of(flow), other.and_then(traffic_of));
        match flow.direction() {
            Direction::ToReplica | Direction::Direct => Self { to_replica: own, to_client: others },
            Direction::ToClient => Self { to_replica: others, to_client: own },
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.sum(|traffic| traffic.bytes)
    }

    pub(super) fn packets(&self) -> u64 {
        self.sum(|traffic| traffic.packets)
    }

    fn sum(&self, of: fn(&Traffic) -> u64) -> u64 {
        [&self.to_replica, &self.to_client].into_iter().flatten().map(of).sum()
    }
}
