//! What needs no kernel: reading netlink messages, deciding, telling relevant notices from others.

mod netns;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use dtr_lb_common::{
    abi::Vlans,
    address::Be16,
    wire::{ETHERTYPE_PROVIDER_VLAN, ETHERTYPE_VLAN, VlanTag},
};
use rtnetlink::{
    packet_core::NetlinkMessage,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
        neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::{RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};

use super::{
    Carrier, NextHop, NextHopError,
    events::is_relevant,
    kernel::{Link, Neighbour, Path, link_of, neighbour_of, path_of},
    resolve::{carriers, current_mac, next_hop, wants_soliciting},
};
use crate::vlan::Below;

const NEAR: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

#[test]
fn a_next_hop_takes_each_field_from_its_source() {
    let path = Path { ifindex: 7, via: ip("10.9.0.254"), source: Some(ip("10.9.0.1")), mtu: None };
    let link = Link { name: "eth1".into(), mac: Some(NEAR), up: true, mtu: 1500, mtu_v6: None, below: None };
    let expected = NextHop {
        ifindex: 7,
        interface: "eth1".into(),
        source_mac: NEAR,
        destination_mac: FAR,
        source: ip("10.9.0.1"),
        mtu: 1500,
        carriers: Vec::new(),
    };
    for (route_mtu, mtu) in [(None, 1500), (Some(1400), 1400), (Some(9000), 1500)] {
        let path = Path { mtu: route_mtu, ..path.clone() };
        let expected = NextHop { mtu, ..expected.clone() };
        assert_eq!(
            next_hop(ip("10.20.0.1"), &path, Some(&link), Some(FAR)),
            Ok(expected),
            "route MTU {route_mtu:?}"
        );
    }
}

#[test]
fn a_vlan_interfaces_frames_leave_by_what_carries_it() {
    let tag = |kind, id| VlanTag { kind, control: Be16::new(id) };
    let link = |name: &str, below: Option<(u32, VlanTag)>| {
        let below = below.map(|(index, tag)| Below { index, tag });
        Link { name: name.into(), mac: Some(NEAR), up: true, mtu: 1500, mtu_v6: None, below }
    };
    let (inner, outer) = (tag(ETHERTYPE_VLAN, 20), tag(ETHERTYPE_PROVIDER_VLAN, 10));
    let links = BTreeMap::from([
        (6, link("up0.5.10.20", Some((9, tag(ETHERTYPE_VLAN, 5))))),
        (9, link("up0.10.20", Some((8, inner)))),
        (8, link("up0.10", Some((7, outer)))),
        (7, link("up0", None)),
    ]);
    let carrier = |ifindex, name: &str, vlans| Carrier { ifindex, interface: name.into(), vlans };
    let one = Vlans::NONE.within(inner);
    let expected = vec![carrier(8, "up0.10", one), carrier(7, "up0", one.within(outer))];
    assert_eq!(carriers(9, &links), expected);
    assert_eq!(carriers(8, &links), [carrier(7, "up0", Vlans::NONE.within(outer))]);
    assert_eq!((carriers(7, &links), carriers(1, &links)), (vec![], vec![]));
    assert_eq!(carriers(6, &links).len(), 2, "two tags are followed");
    let gone = BTreeMap::from([(9, links[&9].clone())]);
    assert_eq!(carriers(9, &gone), [], "what it stands on is gone");

    let hop = NextHop {
        ifindex: 9,
        interface: "up0.10.20".into(),
        source_mac: NEAR,
        destination_mac: FAR,
        source: ip("10.9.0.1"),
        mtu: 1500,
        carriers: expected.clone(),
    };
    let by = |interfaces: &[&str]| {
        let interfaces: Vec<_> = interfaces.iter().map(|&name| name.to_owned()).collect();
        hop.by(&interfaces)
    };
    assert_eq!(by(&["up0"]), Some(expected[1].clone()));
    assert_eq!(by(&["other0", "up0.10"]), Some(expected[0].clone()));
    assert_eq!(by(&["up0.10.20", "other0"]), Some(carrier(9, "up0.10.20", Vlans::NONE)));
    assert_eq!(by(&["other0"]), None);
}

#[test]
fn of_the_mtus_that_count_for_the_family_the_smallest_is_taken() {
    for (route, for_v6, v4, v6) in [
        (None, None, 1500, 1500),
        (None, Some(1400), 1500, 1400),
        (None, Some(9000), 1500, 1500),
        (Some(1300), Some(1400), 1300, 1300),
        (Some(1450), Some(1400), 1450, 1400),
    ] {
        let link =
            Link { name: "eth1".into(), mac: Some(NEAR), up: true, mtu: 1500, mtu_v6: for_v6, below: None };
        for (address, source, expected) in [("10.20.0.1", "10.9.0.1", v4), ("fd20::1", "fd09::1", v6)] {
            let path = Path { ifindex: 7, via: ip(address), source: Some(ip(source)), mtu: route };
            let mtu = next_hop(ip(address), &path, Some(&link), Some(FAR)).map(|next_hop| next_hop.mtu);
            assert_eq!(mtu, Ok(expected), "route {route:?}, IPv6 {for_v6:?}: {address}");
        }
    }
}

#[test]
fn each_missing_piece_has_its_own_error() {
    let address = ip("10.20.0.1");
    let via = ip("10.9.0.254");
    let interface = || "eth1".to_owned();
    let path = Path { ifindex: 7, via, source: Some(ip("10.9.0.1")), mtu: None };
    let link = Link { name: interface(), mac: Some(NEAR), up: true, mtu: 1500, mtu_v6: None, below: None };
    let sourceless = Path { source: None, ..path.clone() };
    let [of_the_link, of_the_host] =
        ["fe80::1", "::1"].map(|source| Path { source: Some(ip(source)), ..path.clone() });
    let down = Link { up: false, ..link.clone() };
    let tunnel = Link { mac: None, ..link.clone() };
    let cases = [
        (
            &path,
            None,
            Some(FAR),
            NextHopError::InterfaceDown { address, interface: "interface 7".to_owned() },
        ),
        (&path, Some(&down), Some(FAR), NextHopError::InterfaceDown { address, interface: interface() }),
        (&path, Some(&tunnel), Some(FAR), NextHopError::NotEthernet { address, interface: interface() }),
        (&sourceless, Some(&link), Some(FAR), NextHopError::NoSource { address, interface: interface() }),
        (&of_the_link, Some(&link), Some(FAR), NextHopError::NoSource { address, interface: interface() }),
        (&of_the_host, Some(&link), Some(FAR), NextHopError::NoSource { address, interface: interface() }),
        (&path, Some(&link), None, NextHopError::Unresolved { address, via, interface: interface() }),
    ];
    for (path, link, mac, expected) in cases {
        let error = next_hop(address, path, link, mac).expect_err("a piece is missing");
        assert_eq!(error, expected);
        assert!(error.to_string().contains("10.20.0.1"), "the message names the address: {error}");
    }
}

fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.kind = kind;
    message.attributes = attributes;
    message
}

#[test]
fn a_route_message_is_read() {
    let address = ip("10.20.0.1");
    let gateway = ip("10.9.0.254");
    let via6 = ip("fe80::1");
    let IpAddr::V6(via6_octets) = via6 else { unreachable!("it is IPv6") };
    let path = |via, source, mtu| Path { ifindex: 7, via, source, mtu };
    let cases = [
        ("on link", vec![RouteAttribute::Oif(7)], path(address, None, None)),
        (
            "through a gateway",
            vec![
                RouteAttribute::Gateway(gateway.into()),
                RouteAttribute::Oif(7),
                RouteAttribute::PrefSource(ip("10.9.0.1").into()),
                RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(9), RouteMetric::Mtu(1400)]),
            ],
            path(gateway, Some(ip("10.9.0.1")), Some(1400)),
        ),
        (
            "IPv4 through an IPv6 gateway, with no MTU",
            vec![
                RouteAttribute::Oif(7),
                RouteAttribute::Via(RouteVia::Inet6(via6_octets)),
                RouteAttribute::Metrics(vec![RouteMetric::Mtu(0)]),
            ],
            path(via6, None, None),
        ),
    ];
    for (name, attributes, expected) in cases {
        assert_eq!(path_of(address, &route(RouteType::Unicast, attributes)), Ok(expected), "{name}");
    }
}

#[test]
fn only_a_unicast_route_with_an_interface_leads_to_a_replica() {
    let address = ip("10.20.0.1");
    let oif = || vec![RouteAttribute::Oif(7)];
    for kind in [RouteType::Local, RouteType::Anycast] {
        assert_eq!(path_of(address, &route(kind, oif())), Err(NextHopError::LocalAddress { address }));
    }
    for message in [
        route(RouteType::Broadcast, oif()),
        route(RouteType::Multicast, oif()),
        route(RouteType::BlackHole, oif()),
        route(RouteType::Unicast, vec![]),
    ] {
        let result = path_of(address, &message);
        assert!(matches!(result, Err(NextHopError::NoRoute { .. })), "{message:?}: {result:?}");
    }
}

#[test]
fn a_link_message_is_read() {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.attributes = vec![
        LinkAttribute::IfName("eth1".into()),
        LinkAttribute::Mtu(1500),
        LinkAttribute::Address(NEAR.to_vec()),
    ];
    let cases = [
        (LinkLayerType::Ether, LinkFlags::Up | LinkFlags::LowerUp, Some(NEAR), true),
        (LinkLayerType::Ether, LinkFlags::Up, Some(NEAR), false),
        (LinkLayerType::Ether, LinkFlags::LowerUp, Some(NEAR), false),
        // A loopback interface has six octets of address, too.
        (LinkLayerType::Loopback, LinkFlags::Up | LinkFlags::LowerUp, None, true),
    ];
    for (layer, flags, mac, up) in cases {
        message.header.link_layer_type = layer;
        message.header.flags = flags;
        assert_eq!(
            link_of(&message),
            Link { name: "eth1".into(), mac, up, mtu: 1500, mtu_v6: None, below: None },
            "{layer:?} {flags:?}"
        );
    }
}

fn neighbour(state: NeighbourState, address: &str, mac: Option<&[u8]>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = 7;
    message.header.state = state;
    let address = ip(address);
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.attributes = vec![NeighbourAttribute::Destination(address.into())];
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message
}

#[test]
fn each_neighbour_state_is_resolved_or_not_and_solicited_or_not() {
    let mac = Some(&FAR[..]);
    // state, MAC in the entry, resolved, solicit
    let cases = [
        (NeighbourState::Reachable, mac, true, false),
        (NeighbourState::Delay, mac, true, false),
        (NeighbourState::Probe, mac, true, false),
        (NeighbourState::Permanent, mac, true, false),
        (NeighbourState::Noarp, mac, true, false),
        (NeighbourState::Stale, mac, true, true),
        (NeighbourState::Incomplete, None, false, false),
        (NeighbourState::Failed, None, false, true),
        // The kernel lists a failed entry with the MAC address it had.
        (NeighbourState::Failed, mac, false, true),
        (NeighbourState::None, None, false, true),
        (NeighbourState::Other(0x4000), mac, false, true),
        // Not an Ethernet address.
        (NeighbourState::Reachable, Some(&FAR[..4]), false, true),
    ];
    for (state, mac, resolved, solicit) in cases {
        for address in ["10.9.0.2", "fd09::2"] {
            let (key, entry) = neighbour_of(&neighbour(state, address, mac)).expect("an IP neighbour");
            assert_eq!(key, (7, ip(address)));
            assert_eq!(current_mac(Some(entry)), resolved.then_some(FAR), "{state:?} {mac:?}");
            assert_eq!(wants_soliciting(Some(entry)), solicit, "{state:?} {mac:?}");
        }
    }
    assert_eq!(current_mac(None), None);
    assert!(wants_soliciting(None));
}

#[test]
fn a_bridge_entry_is_no_neighbour() {
    let mut message = neighbour(NeighbourState::Permanent, "10.9.0.2", Some(&FAR));
    message.attributes.remove(0);
    assert_eq!(neighbour_of(&message), None::<((u32, IpAddr), Neighbour)>);
}

fn datagram(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[test]
fn only_notices_about_other_neighbours_are_skipped() {
    let watched = BTreeSet::from([(7, ip("10.9.0.2")), (8, ip("10.9.0.3"))]);
    let entry = |address| neighbour(NeighbourState::Reachable, address, Some(&FAR));
    let others = datagram(RouteNetlinkMessage::NewNeighbour(entry("10.9.0.3")));
    let mut two_in_one = others.clone();
    two_in_one.extend(&others);
    let cases = [
        ("a watched neighbour", datagram(RouteNetlinkMessage::NewNeighbour(entry("10.9.0.2"))), true),
        ("a watched neighbour goes", datagram(RouteNetlinkMessage::DelNeighbour(entry("10.9.0.2"))), true),
        ("watched on another interface only", others.clone(), false),
        ("another one goes", datagram(RouteNetlinkMessage::DelNeighbour(entry("10.9.0.4"))), false),
        ("a route", datagram(RouteNetlinkMessage::NewRoute(RouteMessage::default())), true),
        ("a link", datagram(RouteNetlinkMessage::DelLink(LinkMessage::default())), true),
        ("several in one", two_in_one, true),
        ("cut short", others[..20].to_vec(), true),
        ("nothing", vec![], true),
    ];
    for (name, bytes, relevant) in cases {
        assert_eq!(is_relevant(&bytes, &watched), relevant, "{name}");
    }
}
