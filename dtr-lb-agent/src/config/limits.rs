//! What clients of a service may do: how many connections, for how long they keep a replica, and what those are told that may
//! not connect.

use std::time::Duration;

use super::choice::choice;
use super::key::{is, table};
use super::mode::Mode;
use super::node::Table;
use super::problems::Problems;
use super::service::Affinity;
use super::takes::{WEEK, Whole, millis, word};

table! {
    /// The limits of a service.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Limits, WrittenLimits {
        /// What a client that may not connect gets.
        denied: Denied = word(), is(Denied::Drop);
        /// A replica with this many connections gets no new ones; if all have as many, clients are refused (where only one of many
        /// has room, a few may be refused already: 64 tries find it). 0: no [limit](#limits). Counted for each VIP.
        // As many as a flow table holds.
        max_flows_per_replica: u32 = Whole(0..=16_777_216), is(0);
        /// Connections that one address (of IPv6: a /64) may open per second; what is more is refused. 0: no
        /// [limit](#limits).
        max_new_flows_per_source: u32 = Whole(0..=1_000_000), is(0);
        /// With `affinity = "source-ip"`: for this long after its last connection was opened, an address keeps its replica, whatever
        /// joins or leaves meanwhile, as long as that one gets new connections. 0s: the table decides each time, and a change of
        /// replicas moves some clients.
        affinity_timeout: Duration = millis(0, WEEK), is(Duration::ZERO);
    }
}

choice! {
    /// What becomes of the SYN of a client that may not connect.
    pub enum Denied {
        /// Nothing: the client waits until it gives up.
        Drop = "drop",
        /// A reset: the client sees "connection refused".
        Reset = "reset",
    }
}

impl Default for Limits {
    fn default() -> Self {
        WrittenLimits::read(&Table::unwritten(), &mut Problems::none())
            .finish()
            .expect("each key has a default of its own")
    }
}

pub(super) fn read(
    table: &Table<'_>,
    mode: Option<Mode>,
    affinity: Option<Affinity>,
    problems: &mut Problems<'_>,
) -> Option<Limits> {
    let mut written = WrittenLimits::read(table, problems);
    // Of a replica that answers past the balancer a stranger's word would be all that is counted.
    if mode.is_some_and(Mode::direct) {
        let what = "limits are not possible where replicas answer clients directly: the balancer sees no proof that a \
                    connection is real, and anybody could use them up in another's name";
        for limit in [&mut written.max_flows_per_replica, &mut written.max_new_flows_per_source] {
            if limit.value.is_some_and(|limit| limit != 0) {
                limit.refuse(what, problems);
            }
        }
        let what =
            "not where replicas answer clients directly: anybody could say in another's name where it goes";
        written.affinity_timeout.refuse(what, problems);
    }
    if affinity == Some(Affinity::None)
        && written.affinity_timeout.value.is_some_and(|timeout| !timeout.is_zero())
    {
        let what = "without affinity there is nothing to keep; add affinity = \"source-ip\"";
        written.affinity_timeout.refuse(what, problems);
    }
    written.finish()
}
