//! From the kernel's answers to next hops: [`next_hop`] decides for one address and is pure, [`survey`] asks for what
//! it needs and decides for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use dtr_lb_common::abi::Vlans;
use rtnetlink::Handle;

use super::{
    Carrier, NextHop, NextHopError,
    kernel::{self, Link, Neighbour, NeighbourKey, Path},
};

/// The last MAC address seen for each neighbour that a route in use points to.
pub(super) type KnownMacs = BTreeMap<NeighbourKey, [u8; 6]>;

/// The next hop for every address asked for.
pub(super) type NextHops = BTreeMap<IpAddr, Result<NextHop, NextHopError>>;

/// The outcome of one look at the kernel.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) next_hops: NextHops,
    /// The neighbours that the routes point to: only events about these matter.
    pub(super) watched: BTreeSet<NeighbourKey>,
    /// What to remember for the next survey.
    pub(super) known: KnownMacs,
}

impl Survey {
    /// Whether an address still waits for its neighbour to answer.
    pub(super) fn waits(&self) -> bool {
        self.next_hops.values().any(|next_hop| matches!(next_hop, Err(NextHopError::Unresolved { .. })))
    }
}

/// Finds the next hop for `address`, as the kernel knows it now.
///
/// Does not wait for an unknown neighbour: it makes the kernel ask for it and returns
/// [`NextHopError::Unresolved`]; the answer is usually there a millisecond later. Needs `CAP_NET_ADMIN` for that, and
/// no privilege for anything else.
pub async fn resolve(handle: &Handle, address: IpAddr) -> Result<NextHop, NextHopError> {
    let mut survey = survey(handle, &BTreeSet::from([address]), &KnownMacs::new()).await?;
    survey.next_hops.remove(&address).expect("a survey answers for each address it is asked for")
}

/// The router to which packets for `address` go; `None` if it is on the link.
///
/// # Errors
/// As of [`resolve`].
pub async fn gateway(handle: &Handle, address: IpAddr) -> Result<Option<IpAddr>, NextHopError> {
    let via = kernel::path(handle, address).await?.via;
    Ok((via != address).then_some(via))
}

/// Finds the next hop for each of `addresses`, with one neighbour dump for all.
///
/// `known` is what an earlier survey remembered. The error is [`NextHopError::Netlink`], and means that nothing was
/// learnt; what concerns one address only is in that address's result.
pub(super) async fn survey(
    handle: &Handle,
    addresses: &BTreeSet<IpAddr>,
    known: &KnownMacs,
) -> Result<Survey, NextHopError> {
    let mut survey = Survey::default();
    let mut paths = Vec::new();
    for &address in addresses {
        match kernel::path(handle, address).await {
            Ok(path) => paths.push((address, path)),
            Err(error @ NextHopError::Netlink { .. }) => return Err(error),
            Err(error) => {
                survey.next_hops.insert(address, Err(error));
            }
        }
    }

    let ifindexes: BTreeSet<u32> = paths.iter().map(|(_, path)| path.ifindex).collect();
    let mut links = BTreeMap::new();
    let mut wanted: Vec<u32> = ifindexes.iter().copied().collect();
    while let Some(ifindex) = wanted.pop() {
        if let Some(link) = kernel::link(handle, ifindex).await? {
            let below = link.below.map(|below| below.index);
            wanted.extend(below.filter(|below| !links.contains_key(below) && !wanted.contains(below)));
            links.insert(ifindex, link);
        }
    }
    let neighbours = match ifindexes.len() {
        0 => BTreeMap::new(),
        1 => kernel::neighbours(handle, ifindexes.first().copied()).await?,
        _ => kernel::neighbours(handle, None).await?,
    };

    for (address, path) in paths {
        let key = (path.ifindex, path.via);
        let link = links.get(&path.ifindex);
        let neighbour = neighbours.get(&key).copied();
        let mac = current_mac(neighbour).or_else(|| known.get(&key).copied());
        if survey.watched.insert(key)
            && link.is_some_and(|link| link.up && link.mac.is_some())
            && wants_soliciting(neighbour)
            && let Err(error) = kernel::solicit(handle, key, neighbour.is_some()).await
        {
            // Not this survey's failure: the replica's own traffic makes the kernel ask as well.
            tracing::debug!(via = %path.via, %error, "cannot make the kernel ask for a neighbour");
        }
        survey.known.extend(mac.map(|mac| (key, mac)));
        let next_hop = next_hop(address, &path, link, mac);
        let with_carriers = |hop| NextHop { carriers: carriers(path.ifindex, &links), ..hop };
        survey.next_hops.insert(address, next_hop.map(with_carriers));
    }
    Ok(survey)
}

/// The MAC address that the kernel itself would send to.
pub(super) fn current_mac(neighbour: Option<Neighbour>) -> Option<[u8; 6]> {
    match neighbour {
        Some(Neighbour::Fresh(mac) | Neighbour::Stale(mac)) => Some(mac),
        Some(Neighbour::Asking | Neighbour::Unknown) | None => None,
    }
}

/// Whether the kernel would do nothing about this neighbour unless something used it.
///
/// A stale one is among them: the datapath's packets do not pass through the neighbour table, so without this a
/// replica that moves to another MAC address in silence would be missed for as long as nothing else talks to it.
pub(super) fn wants_soliciting(neighbour: Option<Neighbour>) -> bool {
    match neighbour {
        Some(Neighbour::Fresh(_) | Neighbour::Asking) => false,
        Some(Neighbour::Stale(_) | Neighbour::Unknown) | None => true,
    }
}

/// Decides for one address. `link`: the interface that `path` names, or `None` if it has gone. `mac`: the current or
/// else the last known MAC address of the neighbour that `path` points to.
pub(super) fn next_hop(
    address: IpAddr,
    path: &Path,
    link: Option<&Link>,
    mac: Option<[u8; 6]>,
) -> Result<NextHop, NextHopError> {
    let &Path { ifindex, via, source, mtu } = path;
    let Some(link) = link else {
        return Err(NextHopError::InterfaceDown { address, interface: format!("interface {ifindex}") });
    };
    let interface = link.name.clone();
    if !link.up {
        return Err(NextHopError::InterfaceDown { address, interface });
    }
    let Some(source_mac) = link.mac else {
        return Err(NextHopError::NotEthernet { address, interface });
    };
    let Some(source) = source.filter(|source| !is_makeshift(source)) else {
        return Err(NextHopError::NoSource { address, interface });
    };
    let Some(destination_mac) = mac else {
        return Err(NextHopError::Unresolved { address, via, interface });
    };
    let link_mtu = if address.is_ipv6() { link.mtu_v6.unwrap_or(link.mtu).min(link.mtu) } else { link.mtu };
    let mtu = mtu.map_or(link_mtu, |route| route.min(link_mtu));
    Ok(NextHop { ifindex, interface, source_mac, destination_mac, source, mtu, carriers: Vec::new() })
}

/// The interfaces that carry the frames of a VLAN interface, the nearest first: as far as two tags go.
pub(super) fn carriers(mut ifindex: u32, links: &BTreeMap<u32, Link>) -> Vec<Carrier> {
    const TAGS: usize = 2;
    let (mut carriers, mut vlans) = (Vec::new(), Vlans::NONE);
    while let Some(below) = links.get(&ifindex).and_then(|link| link.below)
        && let Some(link) = links.get(&below.index)
        && carriers.len() < TAGS
    {
        vlans = vlans.within(below.tag);
        ifindex = below.index;
        carriers.push(Carrier { ifindex, interface: link.name.clone(), vlans });
    }
    carriers
}

/// What the kernel falls back to while the interface has no address that counts, such as one whose duplicate address
/// detection is under way: a link-local address, or else `::1`. Nobody off this link, or off this host, could answer.
fn is_makeshift(source: &IpAddr) -> bool {
    source.is_loopback() || matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
