//! What IPv6 has of its own: link-local gateways, addresses that do not count yet or no more, routers that tell an MTU.

use std::{fs, time::Duration};

use super::{
    FAR, FAR_MAC, Far, NEAR_MAC, OTHER, OTHER_MAC, connect, expected, in_new_namespace, ip, mac_is,
    published_within, published_within_a_second, run_ip, segment, watch_next_hops,
};
use crate::next_hop::{NextHop, NextHopError, resolve};

/// The link-local address that the far end makes of its MAC address (RFC 4291 appendix A).
const FAR_OF_LINK: &str = "fe80::ff:fe00:2";

fn set(tunable: &str, value: &str) {
    fs::write(format!("/proc/sys/net/ipv6/{tunable}"), value).expect("a tunable of the namespace");
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_link_local_gateway_is_asked_for_its_mac() {
    in_new_namespace(async || {
        let _far = Far::new();
        run_ip(&format!("route add fd20::/64 via {FAR_OF_LINK} dev near0"));
        let (_watcher, _addresses, mut published) = watch_next_hops(&["fd20::1"]);
        let now = published_within_a_second(&mut published, |now| mac_is(now, "fd20::1", FAR)).await;
        assert_eq!(now[&ip("fd20::1")], Ok(expected("fd09::1")));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_changes_of_mac_route_and_address_are_published() {
    in_new_namespace(async || {
        segment();
        let permanent = |address: &str, mac: &str| {
            run_ip(&format!("neigh replace {address} dev near0 lladdr {mac} nud permanent"));
        };
        permanent("fd09::fe", FAR_MAC);
        permanent("fe80::fd", OTHER_MAC);
        run_ip("route add fd20::/64 via fd09::fe");
        let address = ip("fd20::1");
        let (_watcher, _addresses, mut published) = watch_next_hops(&["fd20::1"]);
        published_within_a_second(&mut published, |now| mac_is(now, "fd20::1", FAR)).await;
        permanent("fd09::fe", OTHER_MAC);
        published_within_a_second(&mut published, |now| mac_is(now, "fd20::1", OTHER)).await;
        permanent("fd09::fe", FAR_MAC);
        published_within_a_second(&mut published, |now| mac_is(now, "fd20::1", FAR)).await;
        run_ip("route replace fd20::/64 via fe80::fd dev near0 mtu 1300");
        let other = Ok(NextHop { destination_mac: OTHER, mtu: 1300, ..expected("fd09::1") });
        published_within_a_second(&mut published, |now| now[&address] == other).await;
        // Of two addresses the kernel takes the one nearer to the destination (RFC 6724 section 5, rule 8).
        run_ip("address add fd20::7/128 dev near0 nodad");
        let nearer = Ok(NextHop { destination_mac: OTHER, mtu: 1300, ..expected("fd20::7") });
        published_within_a_second(&mut published, |now| now[&address] == nearer).await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_replica_that_moves_in_silence_is_found() {
    in_new_namespace(async || {
        let far = Far::new();
        // What takes the kernel ten seconds by default.
        set("neigh/near0/delay_first_probe_time", "0");
        set("neigh/near0/retrans_time_ms", "20");
        run_ip(&format!("neigh replace fd09::2 dev near0 lladdr {FAR_MAC} nud permanent"));
        let (_watcher, _addresses, mut published) = watch_next_hops(&["fd09::2"]);
        published_within_a_second(&mut published, |now| mac_is(now, "fd09::2", FAR)).await;
        far.run_ip(&format!("link set far0 address {OTHER_MAC}"));
        run_ip(&format!("neigh replace fd09::2 dev near0 lladdr {FAR_MAC} nud stale"));
        published_within_a_second(&mut published, |now| mac_is(now, "fd09::2", OTHER)).await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_address_counts_when_no_other_host_has_it() {
    in_new_namespace(async || {
        run_ip(&format!(
            "link set lo up
             link add near0 mtu 1400 address {NEAR_MAC} type veth peer name far0"
        ));
        // What takes the kernel up to two seconds by default.
        set("conf/near0/router_solicitation_delay", "0");
        set("neigh/near0/retrans_time_ms", "500");
        run_ip(&format!(
            "link set near0 up
             link set far0 up
             address add fd09::1/64 dev near0
             neigh replace fd09::2 dev near0 lladdr {FAR_MAC} nud permanent"
        ));
        let address = ip("fd09::2");
        let (_watcher, _addresses, mut published) = watch_next_hops(&["fd09::2"]);
        let none = Err(NextHopError::NoSource { address, interface: "near0".to_owned() });
        published_within_a_second(&mut published, |now| now.get(&address) == Some(&none)).await;
        // Below the sweep's interval: it is the kernel's notice that makes the watcher look.
        let limit = Duration::from_secs(3);
        published_within(limit, &mut published, |now| now[&address] == Ok(expected("fd09::1"))).await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_deprecated_address_is_taken_only_if_there_is_no_other() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!(
            "address add fd09::7/64 dev near0 nodad preferred_lft 0 valid_lft forever
             neigh replace fd09::2 dev near0 lladdr {FAR_MAC} nud permanent"
        ));
        let address = ip("fd09::2");
        let (_watcher, _addresses, mut published) = watch_next_hops(&["fd09::2"]);
        published_within_a_second(&mut published, |now| now.get(&address) == Some(&Ok(expected("fd09::1"))))
            .await;
        run_ip("address del fd09::1/64 dev near0");
        published_within_a_second(&mut published, |now| now[&address] == Ok(expected("fd09::7"))).await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_mtu_that_a_router_told_counts_for_ipv6_only() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!(
            "neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent
             neigh replace fd09::2 dev near0 lladdr {FAR_MAC} nud permanent"
        ));
        // Where the kernel keeps the MTU of router advertisements.
        set("conf/near0/mtu", "1350");
        let handle = connect();
        assert_eq!(resolve(&handle, ip("10.9.0.2")).await, Ok(expected("10.9.0.1")));
        assert_eq!(resolve(&handle, ip("fd09::2")).await, Ok(NextHop { mtu: 1350, ..expected("fd09::1") }));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_link_local_replica_is_refused() {
    in_new_namespace(async || {
        let _far = Far::new();
        let refused = resolve(&connect(), ip(FAR_OF_LINK)).await;
        assert!(
            matches!(&refused, Err(NextHopError::NoRoute { reason, .. }) if reason.contains("link-local")),
            "{refused:?}"
        );
    });
}
