//! Who answers for an address that this host has itself.

use std::{collections::BTreeSet, fs, time::Duration};

use super::{FAR, Far, connect, ifindex, in_new_namespace, ip, run_ip};
use crate::next_hop::{gateway, kernel, neighbour_probe};

/// Where nobody is to answer.
const LIMIT: Duration = Duration::from_millis(500);
/// Where somebody is: a question that is lost is asked again after a second (RFC 4861 section 10), on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(4);

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_another_host_that_answers_for_our_address_is_found() {
    in_new_namespace(async || {
        let far = Far::new();
        let handle = connect();
        let link = ifindex("near0");
        run_ip("address add 10.9.0.10/32 dev lo\naddress add fd09::10/128 dev lo nodad");
        for vip in ["10.9.0.10", "fd09::10"] {
            assert_eq!(neighbour_probe(&handle, link, ip(vip), LIMIT).await, Ok(None), "{vip}");
        }
        // A replica set up as docs/dsr.md says: IPv4 answers for addresses of other interfaces unless it is told not to.
        far.run_ip("address add 10.9.0.10/32 dev lo\naddress add fd09::10/128 dev lo");
        for (arp_ignore, vip, expected) in
            [("0", "10.9.0.10", Some(FAR)), ("1", "10.9.0.10", None), ("0", "fd09::10", None)]
        {
            far.there(|| fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", arp_ignore).expect("a tunable"));
            let limit = if expected.is_some() { PATIENCE } else { LIMIT };
            assert_eq!(
                neighbour_probe(&handle, link, ip(vip), limit).await,
                Ok(expected),
                "{vip}, {arp_ignore}"
            );
        }
        // One that is not.
        far.run_ip(
            "address del 10.9.0.10/32 dev lo
             address del fd09::10/128 dev lo
             address add 10.9.0.10/32 dev far0
             address add fd09::10/128 dev far0 nodad",
        );
        for vip in ["10.9.0.10", "fd09::10"] {
            assert_eq!(neighbour_probe(&handle, link, ip(vip), PATIENCE).await, Ok(Some(FAR)), "{vip}");
        }
        // Also where this host has the VIP on the interface itself; of IPv6 that is not heard.
        run_ip("address del 10.9.0.10/32 dev lo\naddress add 10.9.0.10/32 dev near0");
        assert_eq!(neighbour_probe(&handle, link, ip("10.9.0.10"), PATIENCE).await, Ok(Some(FAR)));
        let left = kernel::neighbours(&handle, Some(link)).await.expect("the neighbours");
        let vips = BTreeSet::from([(link, ip("10.9.0.10")), (link, ip("fd09::10"))]);
        assert!(left.keys().all(|key| !vips.contains(key)), "{left:?}");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_router_on_the_way_is_told_from_a_replica_on_the_link() {
    in_new_namespace(async || {
        let _far = Far::new();
        run_ip("route add 10.20.0.0/16 via 10.9.0.2\nroute add fd20::/64 via fd09::2");
        let handle = connect();
        for (address, expected) in [
            ("10.9.0.2", None),
            ("fd09::2", None),
            ("10.20.0.1", Some(ip("10.9.0.2"))),
            ("fd20::1", Some(ip("fd09::2"))),
        ] {
            assert_eq!(gateway(&handle, ip(address)).await, Ok(expected), "{address}");
        }
    });
}
