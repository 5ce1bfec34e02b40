//! What a connection has carried, by its entries in the flow table.

use dtr_lb_common::{
    abi::{Direction, Flow, Traffic},
    flow_table::{Memory, account},
};

/// What has come in this entry's direction; none if it is gone by now.
pub(super) fn traffic_of<M: Memory>(table: &M, flow: &Flow) -> Option<Traffic> {
    Some(account::traffic(table.line(flow.place)?, flow.control))
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) to_replica: Option<Traffic>,
    pub(super) to_client: Option<Traffic>,
}

impl Carried {
    /// By the entry that stands for the connection and, where there are two, the other one.
    pub(super) fn of<M: Memory>(table: &M, flow: &Flow, other: Option<&Flow>) -> Self {
        let (own, others) = (traffic_of(table, flow), other.and_then(|other| traffic_of(table, other)));
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
