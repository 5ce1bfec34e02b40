//! Who answers for an address that this host has itself.

use std::{collections::BTreeSet, time::Duration};

use super::{FAR, Far, connect, ifindex, in_new_namespace, ip, run_ip};
use crate::next_hop::{gateway, kernel, who_has};

const LIMIT: Duration = Duration::from_millis(500);

#[test]
fn as_root_another_host_that_answers_for_our_address_is_found() {
    in_new_namespace(async || {
        let far = Far::new();
        let handle = connect();
        let link = ifindex("near0");
        run_ip("address add 10.9.0.10/32 dev lo\naddress add fd09::10/128 dev lo nodad");
        for vip in ["10.9.0.10", "fd09::10"] {
            assert_eq!(who_has(&handle, link, ip(vip), LIMIT).await, Ok(None), "{vip}");
        }
        far.run_ip("address add 10.9.0.10/32 dev far0\naddress add fd09::10/128 dev far0 nodad");
        for vip in ["10.9.0.10", "fd09::10"] {
            assert_eq!(who_has(&handle, link, ip(vip), LIMIT).await, Ok(Some(FAR)), "{vip}");
        }
        let left = kernel::neighbours(&handle, Some(link)).await.expect("the neighbours");
        let vips = BTreeSet::from([(link, ip("10.9.0.10")), (link, ip("fd09::10"))]);
        assert!(left.keys().all(|key| !vips.contains(key)), "{left:?}");
    });
}

#[test]
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
