//! `allow` and `deny` of a service: who may open connections to it.
//!
//! The longest prefix that holds a client's address decides. An address that no prefix holds is let in if `allow` is not
//! written, and not if it is.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use dtr_lb_common::abi::MAX_SOURCES;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::Spanned;

use super::field::{Field, Table};
use super::prefix::prefix;
use super::problems::Problems;
use super::raw::{RawService, TableOf};
use super::service::Service;

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

pub(super) fn read(table: &Table, raw: &RawService, problems: &mut Problems<'_>) -> Option<Access> {
    let before = problems.len();
    let mut seen = HashMap::new();
    let allow = table.field("allow", &raw.allow);
    if let Some(field) = allow.as_ref().filter(|field| field.value.is_empty()) {
        problems.refuse(field, "an empty list lets nobody in; leave the key out to let everyone in");
    }
    let allowed = allow.as_ref().map(|field| prefixes(field, &mut seen, problems));
    let denied = table.field("deny", &raw.deny);
    let mut denied = denied.map_or_else(Vec::new, |field| prefixes(&field, &mut seen, problems));
    if problems.len() > before {
        return None;
    }
    let Some(allowed) = allowed else {
        // The datapath has IPv4 addresses within IPv6 ones: without a word about them, such a prefix would hold them all.
        let word = denied.iter().any(holds_mapped) && !denied.contains(&all_v4());
        let allowed = if word { vec![all_v4()] } else { Vec::new() };
        return Some(Access { allowed, denied });
    };
    let others = everyone().into_iter().filter(|all| !allowed.contains(all) && !denied.contains(all));
    denied.extend(others.collect::<Vec<_>>());
    if denied.is_empty() {
        return Some(Access::default());
    }
    Some(Access { allowed, denied })
}

/// Says whether all prefixes together fit, and refuses them if not: they go into one map of the datapath,
/// which has those of a service once for each VIP.
pub(super) fn all_fit(
    services: &[Service],
    listed: &[Spanned<TableOf<RawService>>],
    problems: &mut Problems<'_>,
) -> bool {
    let count = |service: &Service| service.access.len() * service.vips.len();
    let all: usize = services.iter().map(count).sum();
    if all <= MOST_PREFIXES {
        return true;
    }
    let most = services.iter().enumerate().max_by_key(|(_, service)| count(service));
    let Some((index, raw)) = most.and_then(|(index, _)| Some((index, listed.get(index)?))) else {
        return true;
    };
    let table = Table::top().nth("service", index, raw);
    let raw = raw.get_ref();
    let what = format!(
        "all services together have {all} networks in `allow` and `deny`, with those of a service counted for each of its \
         VIPs, and the datapath holds {MOST_PREFIXES}; this service has most of them"
    );
    let field = table.field("allow", &raw.allow).or_else(|| table.field("deny", &raw.deny));
    if let Some(field) = field {
        problems.refuse(&field, what);
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

/// Reads a list. `seen` has the place of each prefix of both lists.
fn prefixes(
    field: &Field<'_, Vec<Spanned<String>>>,
    seen: &mut HashMap<IpNet, (String, usize)>,
    problems: &mut Problems<'_>,
) -> Vec<IpNet> {
    let mut read = Vec::new();
    for element in field.elements() {
        let Some(prefix) = prefix(&element, problems) else { continue };
        if let Some((key, at)) = seen.get(&prefix) {
            let line = problems.source.brief(*at);
            problems.refuse(&element, format!("the same network as {key} ({line}); write it once"));
            continue;
        }
        seen.insert(prefix, (element.key.clone(), element.at));
        read.push(prefix);
    }
    read
}
