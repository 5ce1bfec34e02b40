//! Many notices of the kernel at once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    FAR, FAR_MAC, OTHER, OTHER_MAC, in_new_namespace, ip, mac_is, published_within_a_second, run_ip, segment,
    watch_next_hops,
};
use crate::next_hop::events::{Events, is_overrun};

/// `count` changes of a neighbour's MAC address, the last one to `OTHER`.
fn flood(neighbour: &str, count: usize) -> String {
    (0..count)
        .map(|n| {
            let mac = if n % 2 == count % 2 { FAR_MAC } else { OTHER_MAC };
            format!("neigh replace {neighbour} dev near0 lladdr {mac} nud permanent\n")
        })
        .collect()
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_flood_of_notices_costs_few_looks() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent"));
        let (watcher, addresses, mut published) = watch_next_hops(&["10.9.0.2"]);
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;

        // About other neighbours: no look at all, but for the sweep. The marker shows that all have been read.
        let before = watcher.rounds();
        for _ in 0..20 {
            run_ip(&flood("10.9.0.99", 50));
            tokio::task::yield_now().await;
        }
        addresses.send_modify(|set| {
            set.insert(ip("10.9.0.1"));
        });
        published_within_a_second(&mut published, |now| now.contains_key(&ip("10.9.0.1"))).await;
        let looks = watcher.rounds() - before;
        assert!(looks <= 3, "{looks} looks for 1000 notices about others");

        // About this one: some looks, and the last change is published.
        let before = watcher.rounds();
        let started = Instant::now();
        for _ in 0..20 {
            run_ip(&flood("10.9.0.2", 50));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", OTHER)).await;
        let looks = watcher.rounds() - before;
        let allowed = 3 + u64::try_from(started.elapsed().as_millis() / 100).expect("a short time");
        assert!(looks <= allowed, "{looks} looks for 1000 notices in {:?}", started.elapsed());
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_overrun_is_noticed_and_made_good() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent"));
        let mut events = Events::subscribe().expect("a subscription");
        let (_watcher, _addresses, mut published) = watch_next_hops(&["10.9.0.2"]);
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", FAR)).await;

        // Nothing reads the sockets of this thread's runtime meanwhile: their buffers overflow with notices about
        // another neighbour, and the one that counts is lost.
        run_ip(&flood("10.9.0.99", 5000));
        run_ip(&format!("neigh replace 10.9.0.2 dev near0 lladdr {OTHER_MAC} nud permanent"));
        let nobody = BTreeSet::new();
        let notice = timeout(Duration::from_secs(1), events.relevant(&nobody)).await.expect("a notice");
        let error = notice.expect_err("lost notices");
        assert!(is_overrun(&error), "{error}");
        published_within_a_second(&mut published, |now| mac_is(now, "10.9.0.2", OTHER)).await;
    });
}
