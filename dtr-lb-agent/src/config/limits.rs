//! What clients of a service may do: how many connections, for how long they keep a replica, and what those are told that may
//! not connect.

use std::time::Duration;

use super::choice::choice;
use super::field::{self, Table};
use super::mode::Mode;
use super::problems::Problems;
use super::raw::RawService;
use super::service::Affinity;

/// The limits of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A replica that has so many connections gets no new one; 0: no limit. Counted for each VIP.
    pub max_flows_per_replica: u32,
    /// So many connections may one address (of IPv6: a /64) open in a second; 0: no limit.
    pub max_new_flows_per_source: u32,
    /// For so long after its last connection an address keeps its replica, whatever becomes of the table; zero: the table
    /// decides each time.
    pub affinity_timeout: Duration,
    /// What becomes of the SYN of a client that may not connect.
    pub denied: Denied,
}

choice! {
    /// What becomes of the SYN of a client that may not connect.
    pub enum Denied {
        /// Nothing: the client waits until it gives up.
        Drop = "drop",
        /// It is answered by a reset.
        Reset = "reset",
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_flows_per_replica: 0,
            max_new_flows_per_source: 0,
            affinity_timeout: Duration::ZERO,
            denied: Denied::Drop,
        }
    }
}

/// As many as a flow table holds.
const MOST_FLOWS: u32 = 16_777_216;
const LONGEST_AFFINITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn read(
    table: &Table,
    raw: &RawService,
    mode: Option<Mode>,
    affinity: Option<Affinity>,
    problems: &mut Problems<'_>,
) -> Option<Limits> {
    let unwritten = Limits::default();
    let flows = table.field("max_flows_per_replica", &raw.max_flows_per_replica);
    let new_flows = table.field("max_new_flows_per_source", &raw.max_new_flows_per_source);
    let timeout = table.field("affinity_timeout", &raw.affinity_timeout);
    // Of a replica that answers past the balancer a stranger's word would be all that is counted.
    if mode.is_some_and(Mode::direct) {
        let what = "limits are not possible where replicas answer clients directly: the balancer sees no proof that a \
                    connection is real, and anybody could use them up in another's name";
        for field in [&flows, &new_flows].into_iter().flatten().filter(|field| *field.value != 0) {
            problems.refuse(field, what);
        }
    }
    if let Some(field) = &timeout
        && mode.is_some_and(Mode::direct)
    {
        problems.refuse(
            field,
            "not where replicas answer clients directly: anybody could say in another's name where it goes",
        );
    }
    let max_flows_per_replica =
        flows.map_or(Some(0), |field| field::whole_number(&field, 0..=MOST_FLOWS, problems));
    let max_new_flows_per_source =
        new_flows.map_or(Some(0), |field| field::whole_number(&field, 0..=1_000_000, problems));
    let affinity_timeout = match &timeout {
        None => Some(unwritten.affinity_timeout),
        Some(field) => field::duration(field, Duration::ZERO..=LONGEST_AFFINITY, problems),
    };
    if let Some(field) = &timeout
        && affinity == Some(Affinity::None)
        && affinity_timeout.is_none_or(|timeout| !timeout.is_zero())
    {
        problems.refuse(field, "without affinity there is nothing to keep; add affinity = \"source-ip\"");
    }
    let denied = table.field("denied", &raw.denied);
    let denied = denied.map_or(Some(unwritten.denied), |field| field::choice(&field, problems));
    Some(Limits {
        max_flows_per_replica: max_flows_per_replica?,
        max_new_flows_per_source: max_new_flows_per_source?,
        affinity_timeout: affinity_timeout?,
        denied: denied?,
    })
}
