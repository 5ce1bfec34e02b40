//! The four netlink questions that a next hop is made of: route, link, neighbours, and "please find this neighbour".
//!
//! Thin on purpose: it turns netlink messages into the few fields that matter and decides nothing. Each question has
//! a time limit, because a reply that the netlink library cannot decode, or that was lost to an overrun, would
//! otherwise be waited for for ever.

use std::{collections::BTreeMap, io, net::IpAddr, pin::pin, time::Duration};

use futures::{Stream, StreamExt};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        link::{
            AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkExtentMask, LinkFlags, LinkLayerType, LinkMessage,
        },
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};
use tokio::time::timeout;

use super::NextHopError;
use crate::vlan::{self, Below};

/// A healthy kernel answers in microseconds; this is for the reply that never comes.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

const ENODEV: i32 = 19;

/// A neighbour is known by the index of its interface and its address.
pub(super) type NeighbourKey = (u32, IpAddr);

/// Where the routing tables send packets for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) ifindex: u32,
    /// The gateway, or the address itself if it is on the link. May be IPv6 for an IPv4 route.
    pub(super) via: IpAddr,
    pub(super) source: Option<IpAddr>,
    /// The route's own MTU in bytes, if it has one.
    pub(super) mtu: Option<u32>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// `None` if it is not an Ethernet interface.
    pub(super) mac: Option<[u8; 6]>,
    /// Administratively up, and with a carrier.
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// The MTU for IPv6, which a router may have told (RFC 4861 section 4.6.4) and which is not larger; `None` if the
    /// interface has no IPv6.
    pub(super) mtu_v6: Option<u32>,
    /// What it stands on, if it is a VLAN interface.
    pub(super) below: Option<Below>,
}

/// What the neighbour table has for an address it lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// Known, and the kernel sees no reason to doubt it.
    Fresh([u8; 6]),
    /// Known, but unconfirmed for a while: the kernel confirms it only when something uses it.
    Stale([u8; 6]),
    /// The kernel is asking for it.
    Asking,
    /// It did not answer, or was never asked.
    Unknown,
}

/// Asks for the route to `address`.
pub(super) async fn path(handle: &Handle, address: IpAddr) -> Result<Path, NextHopError> {
    if let IpAddr::V6(v6) = address
        && v6.is_unicast_link_local()
    {
        return Err(no_route(address, "a link-local address is of one link, and does not say of which"));
    }
    let call = "route get";
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let request = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, prefix)
        .map_err(|error| netlink(call, &error))?
        .build();
    match first(call, handle.route().get(request).execute()).await {
        Ok(message) => path_of(address, &message),
        Err(Failure::Refused(error)) if error.kind() == io::ErrorKind::OutOfMemory => {
            Err(netlink(call, &error))
        }
        Err(Failure::Refused(error)) => Err(no_route(address, &refusal(&error))),
        Err(Failure::Lost(error)) => Err(error),
    }
}

/// The routing tables answer with an error number for a route that is made to lead nowhere. Any other number concerns
/// this one address as well: such as for an IPv6 address on a host without IPv6.
fn refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable => "the network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "an `unreachable` route covers it".to_owned(),
        io::ErrorKind::PermissionDenied => "a `prohibit` route covers it".to_owned(),
        io::ErrorKind::InvalidInput => "a `blackhole` route covers it".to_owned(),
        _ => format!("the kernel says: {error}"),
    }
}

fn no_route(address: IpAddr, reason: &str) -> NextHopError {
    NextHopError::NoRoute { address, reason: reason.to_owned() }
}

/// What a route message says, or why it leads to no other host.
pub(super) fn path_of(address: IpAddr, message: &RouteMessage) -> Result<Path, NextHopError> {
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local | RouteType::Anycast => return Err(NextHopError::LocalAddress { address }),
        RouteType::Broadcast => return Err(no_route(address, "it is a broadcast address")),
        RouteType::Multicast => return Err(no_route(address, "it is a multicast address")),
        _ => return Err(no_route(address, "its route is not a unicast route")),
    }
    let mut ifindex = None;
    let mut path = Path { ifindex: 0, via: address, source: None, mtu: None };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Gateway(gateway) => path.via = ip(gateway).unwrap_or(path.via),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => path.via = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => path.via = (*gateway).into(),
            RouteAttribute::PrefSource(source) => path.source = ip(source),
            RouteAttribute::Metrics(metrics) => path.mtu = route_mtu(metrics),
            _ => {}
        }
    }
    path.ifindex = ifindex.ok_or_else(|| no_route(address, "its route has no interface"))?;
    Ok(path)
}

fn route_mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(bytes) if *bytes > 0 => Some(*bytes),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// Asks for an interface; `None` if it has gone since the route named it.
pub(super) async fn link(handle: &Handle, ifindex: u32) -> Result<Option<Link>, NextHopError> {
    let call = "link get";
    // The counters are most of a link message, and are not wanted here.
    let request = handle
        .link()
        .get()
        .set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats])
        .match_index(ifindex);
    match first(call, request.execute()).await {
        Ok(message) => Ok(Some(link_of(&message))),
        Err(Failure::Refused(error)) if error.raw_os_error() == Some(ENODEV) => Ok(None),
        Err(Failure::Refused(error)) => Err(netlink(call, &error)),
        Err(Failure::Lost(error)) => Err(error),
    }
}

/// The fields of a link message that matter.
pub(super) fn link_of(message: &LinkMessage) -> Link {
    let header = &message.header;
    let ethernet = header.link_layer_type == LinkLayerType::Ether;
    let mut link = Link {
        name: format!("interface {}", header.index),
        mac: None,
        up: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        mtu: 0,
        mtu_v6: None,
        below: vlan::below(message),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if ethernet => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(bytes) => link.mtu = *bytes,
            LinkAttribute::AfSpecUnspec(families) => link.mtu_v6 = mtu_v6(families),
            _ => {}
        }
    }
    link
}

fn mtu_v6(families: &[AfSpecUnspec]) -> Option<u32> {
    let v6 = families.iter().find_map(|family| match family {
        AfSpecUnspec::Inet6(v6) => Some(v6),
        _ => None,
    })?;
    let config = v6.iter().find_map(|attribute| match attribute {
        AfSpecInet6::DevConf(config) => Some(config),
        _ => None,
    })?;
    config.mtu6.try_into().ok().filter(|bytes| *bytes > 0)
}

/// Asks for the neighbour table, of one interface or of all of them.
pub(super) async fn neighbours(
    handle: &Handle,
    only_on: Option<u32>,
) -> Result<BTreeMap<NeighbourKey, Neighbour>, NextHopError> {
    let call = "neighbour dump";
    let mut request = handle.neighbours().get();
    if let Some(ifindex) = only_on {
        request.message_mut().attributes.push(NeighbourAttribute::IfIndex(ifindex));
    }
    let dump = async {
        let mut replies = pin!(request.execute());
        let mut table = BTreeMap::new();
        while let Some(reply) = replies.next().await {
            table.extend(neighbour_of(&reply.map_err(|error| netlink(call, &error))?));
        }
        Ok(table)
    };
    timeout(ANSWER_LIMIT, dump).await.unwrap_or_else(|_| Err(silence(call)))
}

/// The entry that a neighbour message is about; `None` for what is not an IP neighbour, such as a bridge's entry.
pub(super) fn neighbour_of(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let neighbour = match (message.header.state, mac) {
        (NeighbourState::Stale, Some(mac)) => Neighbour::Stale(mac),
        // NOARP is the state of an entry on an interface that asks nobody. The kernel sends to it, and so do we.
        (
            NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp,
            Some(mac),
        ) => Neighbour::Fresh(mac),
        (NeighbourState::Incomplete, _) => Neighbour::Asking,
        _ => Neighbour::Unknown,
    };
    Some(((message.header.ifindex, address?), neighbour))
}

/// Makes the kernel find out, or confirm, a neighbour's MAC address, as if a packet was waiting for it. Does not wait
/// for the outcome, which arrives as an event. `listed`: the neighbour table has an entry for it.
///
/// Not to be called for an entry that the kernel trusts: `NTF_USE` takes away an entry's PERMANENT state.
pub(super) async fn solicit(
    handle: &Handle,
    (ifindex, via): NeighbourKey,
    listed: bool,
) -> Result<(), NextHopError> {
    let call = "neighbour solicitation";
    let request =
        handle.neighbours().add(ifindex, via).state(NeighbourState::None).flags(NeighbourFlags::Use);
    // Without `replace`, an entry that somebody has made since the table was read is left as it is.
    let request = if listed { request.replace() } else { request };
    match timeout(ANSWER_LIMIT, request.execute()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(rtnetlink::Error::NetlinkError(message)))
            if !listed && message.to_io().kind() == io::ErrorKind::AlreadyExists =>
        {
            Ok(())
        }
        Ok(Err(error)) => Err(netlink(call, &error)),
        Err(_) => Err(silence(call)),
    }
}

/// Removes a neighbour's entry. That it is gone already is well.
pub(super) async fn forget(handle: &Handle, (ifindex, address): NeighbourKey) -> Result<(), NextHopError> {
    let call = "neighbour removal";
    let mut message = NeighbourMessage::default();
    message.header.ifindex = ifindex;
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    match timeout(ANSWER_LIMIT, handle.neighbours().del(message).execute()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(rtnetlink::Error::NetlinkError(message)))
            if message.to_io().kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Ok(Err(error)) => Err(netlink(call, &error)),
        Err(_) => Err(silence(call)),
    }
}

/// Why a question has no answer.
enum Failure {
    /// The kernel answered with an error number.
    Refused(io::Error),
    /// There was no answer that can be used.
    Lost(NextHopError),
}

async fn first<T>(
    call: &'static str,
    replies: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<T, Failure> {
    let mut replies = pin!(replies);
    match timeout(ANSWER_LIMIT, replies.next()).await {
        Ok(Some(Ok(reply))) => Ok(reply),
        Ok(Some(Err(rtnetlink::Error::NetlinkError(message)))) => Err(Failure::Refused(message.to_io())),
        Ok(Some(Err(error))) => Err(Failure::Lost(netlink(call, &error))),
        Ok(None) => Err(Failure::Lost(netlink(call, &"the netlink connection has ended"))),
        Err(_) => Err(Failure::Lost(silence(call))),
    }
}

fn netlink(call: &'static str, reason: &dyn std::fmt::Display) -> NextHopError {
    NextHopError::Netlink { call, reason: reason.to_string() }
}

fn silence(call: &'static str) -> NextHopError {
    NextHopError::Netlink { call, reason: format!("no answer in {} s", ANSWER_LIMIT.as_secs()) }
}
