//! `datapath.tunnel_sources`: from which addresses tunnelled packets come.
//!
//! A replica's network card spreads what it receives over its queues by addresses and ports, and a tunnelled packet has
//! no ports on the outside. So its source varies by flow, within a prefix that is kept for that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::not_one_host;
use super::prefix::prefix;
use super::takes::{List, Made};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The low bits of an outer source address that vary by flow.
const VARYING_BITS: u8 = 16;

/// Outer source addresses of mode `ipip`: one prefix a family. The bits beyond its length are 0, but for the low 16,
/// which vary by flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelSources {
    /// Towards replicas with an IPv4 address.
    pub v4: Ipv4Net,
    /// Towards replicas with an IPv6 address.
    pub v6: Ipv6Net,
}

impl Default for TunnelSources {
    /// Private addresses, and the prefix of RFC 6666, to which nothing is ever routed: nothing answers them.
    fn default() -> Self {
        Self {
            v4: Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 16),
            v6: Ipv6Net::new_assert(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
        }
    }
}

impl TunnelSources {
    /// The first address of the prefix with which a replica is sent to.
    #[must_use]
    pub fn towards(&self, replica: IpAddr) -> IpAddr {
        match replica {
            IpAddr::V4(_) => self.v4.network().into(),
            IpAddr::V6(_) => self.v6.network().into(),
        }
    }
}

/// A key that takes them.
pub(super) const SOURCES: Made<TunnelSources, IpNet> = Made {
    list: List::of(
        "a list of one network a family, /16 or shorter (IPv4), /112 or shorter (IPv6), as in [\"172.16.0.0/16\"]",
        source,
        IpNet::to_string,
    )
    .not_empty("an empty list; leave the key out for the default"),
    make: one_a_family,
    parts: |sources| vec![sources.v4.into(), sources.v6.into()],
};

/// A family that is not in the list keeps its default.
fn one_a_family(prefixes: Vec<IpNet>) -> Result<TunnelSources, (usize, String)> {
    let (mut v4, mut v6) = (None, None);
    for (index, prefix) in prefixes.into_iter().enumerate() {
        let twice = match prefix {
            IpNet::V4(prefix) => v4.replace(prefix).is_some(),
            IpNet::V6(prefix) => v6.replace(prefix).is_some(),
        };
        if twice {
            return Err((index, "the second of its family".to_owned()));
        }
    }
    let default = TunnelSources::default();
    Ok(TunnelSources { v4: v4.unwrap_or(default.v4), v6: v6.unwrap_or(default.v6) })
}

fn source(text: &str) -> Result<IpNet, String> {
    let prefix = prefix(text)?;
    let longest = prefix.max_prefix_len() - VARYING_BITS;
    if prefix.prefix_len() > longest {
        return Err(format!(
            "too long: the low {VARYING_BITS} bits vary by flow, so it is /{longest} at most"
        ));
    }
    match not_one_host(prefix.network()) {
        Some(kind) => Err(format!("it begins with {kind} address, from which nothing may come")),
        None => Ok(prefix),
    }
}
