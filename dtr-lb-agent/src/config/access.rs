//! `allow` and `deny` of a service: who may open connections to it.
//!
//! The longest prefix that holds a client's address decides. An address that no prefix holds is let in if `allow` is not
//! written, and not if it is.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use dtr_lb_common::abi::MAX_SOURCES;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::key::{depends, is, table};
use super::node::Table;
use super::prefix::prefix;
use super::problems::Problems;
use super::service::Service;
use super::takes::List;

/// Who may open connections to a service. The longest prefix that holds an address decides; an address that none holds
/// is let in. An `allow` that does not name everyone is thus in `denied` as well, as a prefix of length 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Let in. Empty if nobody is denied.
    pub allowed: Vec<IpNet>,
    /// Not let in. No prefix is in both.
    pub denied: Vec<IpNet>,
}

impl Access {
    /// How many prefixes it takes to say so.
    #[must_use]
    pub fn len(&self) -> usize {
        self.allowed.len() + self.denied.len()
    }

    /// Everyone is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.denied.is_empty()
    }
}

/// Prefixes of all services at most, with those of a service counted once for each of its VIPs. Half of what the map
/// holds, as new rules are written beside the old ones.
const MOST_PREFIXES: usize = MAX_SOURCES / 2;

const ALLOW: List<IpNet> = List::of(
    "a list of networks and addresses, each once, as in [\"10.0.0.0/8\", \"2001:db8::/32\"]",
    prefix,
    IpNet::to_string,
)
.not_empty("an empty list lets nobody in; leave the key out to let everyone in")
.once();

const DENY: List<IpNet> = List::of(
    "a list of networks and addresses, each once and none of `allow`, as in [\"10.0.0.13\", \"2001:db8::/32\"]",
    prefix,
    IpNet::to_string,
)
.once();

table! {
    WrittenAccess {
        /// Who may open connections: the [longest prefix](#allow-and-deny) that holds the client's address decides. An address that no
        /// prefix holds may if `allow` is not written, and may not if it is.
        allow: Vec<IpNet> = ALLOW, depends("everyone", "[\"10.0.0.0/8\", \"2001:db8::/32\"]");
        /// Who may not open connections.
        deny: Vec<IpNet> = DENY, is(Vec::new());
    }
}

pub(super) fn read(table: &Table<'_>, problems: &mut Problems<'_>) -> Option<Access> {
    let WrittenAccess { allow, deny } = WrittenAccess::read(table, problems);
    let mut denied = deny.value?;
    let Some(allow_node) = allow.node else {
        // The datapath has IPv4 addresses within IPv6 ones: without a word about them, such a prefix would hold them all.
        let word = denied.iter().any(holds_mapped) && !denied.contains(&all_v4());
        let allowed = if word { vec![all_v4()] } else { Vec::new() };
        return Some(Access { allowed, denied });
    };
    let allowed = allow.value?;
    let places: HashMap<_, _> = allowed.iter().enumerate().map(|(place, prefix)| (prefix, place)).collect();
    let twins: Vec<_> =
        denied.iter().enumerate().filter_map(|(place, prefix)| Some((place, *places.get(prefix)?))).collect();
    if let Some(deny_node) = deny.node.filter(|_| !twins.is_empty()) {
        let (allow, deny) = (allow_node.elements(problems)?, deny_node.elements(problems)?);
        for (place, twin) in twins {
            let line = problems.source.brief(allow[twin].at);
            let what = format!("the same network as {} ({line}); write it once", allow[twin].key);
            problems.refuse(&deny[place], what);
        }
        return None;
    }
    let others = everyone().into_iter().filter(|all| !allowed.contains(all) && !denied.contains(all));
    denied.extend(others.collect::<Vec<_>>());
    if denied.is_empty() {
        return Some(Access::default());
    }
    Some(Access { allowed, denied })
}

/// Says whether all prefixes together fit, and refuses them if not: they go into one map of the datapath,
/// which has those of a service once for each VIP.
pub(super) fn all_fit(services: &[Service], tables: &[Table<'_>], problems: &mut Problems<'_>) -> bool {
    let count = |service: &Service| service.access.len() * service.vips.len();
    let all: usize = services.iter().map(count).sum();
    if all <= MOST_PREFIXES {
        return true;
    }
    let most = services.iter().zip(tables).max_by_key(|(service, _)| count(service));
    let Some((_, table)) = most else { return true };
    let what = format!(
        "all services together have {all} networks in `allow` and `deny`, with those of a service counted for each of its \
         VIPs, and the datapath holds {MOST_PREFIXES}; this service has most of them"
    );
    if let Some(node) = table.node("allow").or_else(|| table.node("deny")) {
        problems.refuse(&node, what);
    }
    false
}

/// The prefixes that hold all addresses of a family.
fn everyone() -> [IpNet; 2] {
    [all_v4(), Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into()]
}

fn all_v4() -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into()
}

/// Whether an IPv6 prefix holds ::ffff:0:0/96, where IPv4 addresses are (RFC 4291 section 2.5.5.2).
fn holds_mapped(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V6(prefix) if prefix.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()))
}
