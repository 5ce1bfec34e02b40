//! What the watcher makes of changes.

use std::{collections::BTreeSet, fs, time::Duration};

use tokio::time::timeout;

use super::{
    FAR, FAR_MAC, Far, OTHER, OTHER_MAC, connect, expected, in_new_namespace, ip, mac_is, published_within,
    published_within_a_second, run_ip, segment, watch_next_hops,
};
use crate::next_hop::{NextHopError, resolve};

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_link_without_carrier_and_a_link_set_down() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent"));
        let address = ip("10.9.0.2");
        let (_watcher, _addresses, mut published) = watch_next_hops(&["10.9.0.2"]);
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;

        // The kernel tells of a change of carrier up to a second late. The limit is below the sweep's interval.
        let limit = Duration::from_secs(3);
        run_ip("link set far0 down");
        let down = Err(NextHopError::InterfaceDown { address, interface: "near0".to_owned() });
        published_within(limit, &mut published, |now| now[&address] == down).await;
        run_ip("link set far0 up");
        published_within(limit, &mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;

        // The kernel takes the routes of an interface that is set down away.
        run_ip("link set near0 down");
        published_within_a_second(&mut published, |now| {
            matches!(now[&address], Err(NextHopError::NoRoute { .. }))
        })
        .await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_watcher_resolves_follows_the_set_and_ends_when_dropped() {
    in_new_namespace(async || {
        let _far = Far::new();
        let (watcher, addresses, mut published) = watch_next_hops(&["10.9.0.2"]);
        let resolved = published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;
        assert_eq!(resolved[&ip("10.9.0.2")], Ok(expected("10.9.0.1")));

        addresses.send_replace(BTreeSet::from([ip("fd09::2"), ip("10.30.0.1")]));
        let now = published_within_a_second(&mut published, |now| mac_is(now, "fd09::2", FAR)).await;
        assert_eq!(now.keys().copied().collect::<Vec<_>>(), [ip("10.30.0.1"), ip("fd09::2")]);
        assert!(matches!(now[&ip("10.30.0.1")], Err(NextHopError::NoRoute { .. })), "{now:?}");

        run_ip("route add 10.30.0.0/16 via 10.9.0.2");
        published_within_a_second(&mut published, |now| mac_is(now, "10.30.0.1", FAR)).await;

        drop(watcher);
        let ended = timeout(Duration::from_secs(1), async { while published.changed().await.is_ok() {} });
        ended.await.expect("the watcher's task ends");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_changed_mac_is_published() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent"));
        let (_watcher, _addresses, mut published) = watch_next_hops(&["10.9.0.2"]);
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {OTHER_MAC} nud permanent"));
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", OTHER)).await;
        run_ip(&format!("link set near0 address {FAR_MAC}"));
        published_within_a_second(
            &mut published,
            |now| matches!(&now[&ip("10.9.0.2")], Ok(next_hop) if next_hop.source_mac == FAR),
        )
        .await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_lost_neighbour_keeps_its_mac_until_the_route_changes() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!(
            "route add 10.20.0.0/16 via 10.9.0.2
             neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent"
        ));
        let (_watcher, addresses, mut published) = watch_next_hops(&["10.20.0.1"]);
        published_within_a_second(&mut published, |now| mac_is(now, "10.20.0.1", FAR)).await;

        // That the watcher has looked since shows by the answer for an address it had not been asked for before.
        for (lost, marker) in [
            ("neigh change 10.9.0.2 dev near0 nud failed", "10.9.0.1"),
            ("neigh flush dev near0", "127.0.0.1"),
        ] {
            run_ip(lost);
            addresses.send_modify(|set| {
                set.insert(ip(marker));
            });
            let now = published_within_a_second(&mut published, |now| now.contains_key(&ip(marker))).await;
            assert!(mac_is(&now, "10.20.0.1", FAR), "after `{lost}`: {now:?}");
            let unresolved = resolve(&connect(), ip("10.20.0.1")).await;
            assert!(
                matches!(unresolved, Err(NextHopError::Unresolved { .. })),
                "after `{lost}`, the kernel still knows it: {unresolved:?}"
            );
        }

        run_ip("route replace 10.20.0.0/16 via 10.9.0.3");
        let address = ip("10.20.0.1");
        let unresolved =
            Err(NextHopError::Unresolved { address, via: ip("10.9.0.3"), interface: "near0".to_owned() });
        published_within_a_second(&mut published, |now| now[&address] == unresolved).await;
        // What was known of the first gateway is forgotten with the route to it.
        run_ip("route replace 10.20.0.0/16 via 10.9.0.2");
        let unresolved =
            Err(NextHopError::Unresolved { address, via: ip("10.9.0.2"), interface: "near0".to_owned() });
        published_within_a_second(&mut published, |now| now[&address] == unresolved).await;
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_replica_that_moves_in_silence_is_found() {
    in_new_namespace(async || {
        let far = Far::new();
        // What takes the kernel ten seconds by default.
        let tunables = "/proc/sys/net/ipv4/neigh/near0";
        fs::write(format!("{tunables}/delay_first_probe_time"), "0").expect("a tunable of the namespace");
        fs::write(format!("{tunables}/retrans_time_ms"), "20").expect("a tunable of the namespace");
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent"));
        let (_watcher, _addresses, mut published) = watch_next_hops(&["10.9.0.2"]);
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;

        far.run_ip(&format!("link set far0 address {OTHER_MAC}"));
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud stale"));
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", OTHER)).await;
    });
}
