//! By which interface packets for an address leave, and by which those leave for which no other route is: what the config
//! need not say of interfaces is worked out of it.

use std::{collections::BTreeSet, net::IpAddr, pin::pin, time::Duration};

use futures::StreamExt as _;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
};
use tokio::time::timeout;

use super::{NextHopError, kernel};

/// A table of the Internet's routes takes the kernel some seconds.
const DUMP_LIMIT: Duration = Duration::from_secs(20);

/// Where packets for an address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Towards {
    pub interface: String,
    /// The address is on the interface's own link, behind no router.
    pub on_link: bool,
}

/// The interface by which packets for `address` leave. Needs no privilege, and asks no neighbour.
///
/// # Errors
/// There is no route, the address is this host's own, or the kernel does not answer.
pub async fn towards(handle: &Handle, address: IpAddr) -> Result<Towards, NextHopError> {
    let path = kernel::path(handle, address).await?;
    let interface = name(handle, path.ifindex).await?;
    Ok(Towards { interface, on_link: path.via == address })
}

/// The interfaces of the family's default route of the main table with the lowest metric; none if there is none.
///
/// # Errors
/// The kernel does not answer.
pub async fn default_interfaces(handle: &Handle, v4: bool) -> Result<Vec<String>, NextHopError> {
    let call = "route dump";
    let lost = |reason: String| NextHopError::Netlink { call, reason };
    let request = if v4 {
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build()
    } else {
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()
    };
    let dump = async {
        let mut replies = pin!(handle.route().get(request).execute());
        let mut defaults = Vec::new();
        while let Some(reply) = replies.next().await {
            defaults.extend(default_of(&reply.map_err(|error| lost(error.to_string()))?));
        }
        Ok(defaults)
    };
    let limit = || lost(format!("no answer in {} s", DUMP_LIMIT.as_secs()));
    let defaults = timeout(DUMP_LIMIT, dump).await.unwrap_or_else(|_| Err(limit()))?;
    let mut names = Vec::new();
    for index in best(&defaults) {
        names.push(name(handle, index).await?);
    }
    Ok(names)
}

/// Metric and interfaces of a route, if it is a default route that leads somewhere.
fn default_of(message: &RouteMessage) -> Option<(u32, Vec<u32>)> {
    let header = &message.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || header.table != RouteHeader::RT_TABLE_MAIN
    {
        return None;
    }
    let (mut metric, mut interfaces) = (0, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => interfaces.push(*index),
            RouteAttribute::MultiPath(hops) => interfaces.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    Some((metric, interfaces))
}

/// The interfaces of the routes with the lowest metric: IPv6 has several routes where IPv4 has one with several hops.
fn best(defaults: &[(u32, Vec<u32>)]) -> BTreeSet<u32> {
    let lowest = defaults.iter().map(|(metric, _)| *metric).min();
    let of_lowest = defaults.iter().filter(|(metric, _)| Some(*metric) == lowest);
    of_lowest.flat_map(|(_, interfaces)| interfaces.iter().copied()).collect()
}

async fn name(handle: &Handle, index: u32) -> Result<String, NextHopError> {
    let link = kernel::link(handle, index).await?;
    link.map(|link| link.name).ok_or_else(|| NextHopError::Netlink {
        call: "link get",
        reason: format!("the interface with index {index}, which a route leads to, has just gone"),
    })
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::RouteNextHop;

    use super::*;

    fn route(prefix: u8, table: u8, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = prefix;
        message.header.table = table;
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        message
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts_with_all_its_hops() {
        let hop = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let main = RouteHeader::RT_TABLE_MAIN;
        let of = |index, metric| vec![RouteAttribute::Priority(metric), RouteAttribute::Oif(index)];
        let two = vec![RouteAttribute::Priority(50), RouteAttribute::MultiPath(vec![hop(4), hop(5)])];
        let routes = [route(0, main, of(2, 100)), route(8, main, of(3, 1)), route(0, 7, of(6, 1))];
        let found: Vec<_> = routes.iter().filter_map(default_of).collect();
        assert_eq!(best(&found), BTreeSet::from([2]));
        let found: Vec<_> = routes.iter().chain([&route(0, main, two)]).filter_map(default_of).collect();
        assert_eq!(best(&found), BTreeSet::from([4, 5]));
        assert_eq!(best(&[]), BTreeSet::new());
    }
}
