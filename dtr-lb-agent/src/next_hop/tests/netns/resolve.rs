//! What [`resolve`] says of an address.

use std::time::Duration;

use tokio::time::timeout;

use super::{FAR_MAC, Far, connect, expected, in_new_namespace, ip, run_ip, segment};
use crate::next_hop::{NextHop, NextHopError, resolve};

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_on_link() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!(
            "neigh replace 10.9.0.2 dev near0 lladdr {FAR_MAC} nud permanent
             neigh replace fd09::2 dev near0 lladdr {FAR_MAC} nud permanent"
        ));
        let handle = connect();
        assert_eq!(resolve(&handle, ip("10.9.0.2")).await, Ok(expected("10.9.0.1")));
        assert_eq!(resolve(&handle, ip("fd09::2")).await, Ok(expected("fd09::1")));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_through_a_gateway_with_source_and_mtu_of_the_route() {
    in_new_namespace(async || {
        segment();
        run_ip(&format!(
            "address add 10.9.0.7/24 dev near0
             neigh replace 10.9.0.254 dev near0 lladdr {FAR_MAC} nud permanent
             neigh replace fe80::254 dev near0 lladdr {FAR_MAC} nud permanent
             route add 10.20.0.0/16 via 10.9.0.254
             route add 10.21.0.0/16 via 10.9.0.254 src 10.9.0.7 mtu 1300
             route add 10.22.0.0/16 via inet6 fe80::254 dev near0
             route add fd20::/64 via fe80::254 dev near0 src fd09::1 mtu 1290"
        ));
        let handle = connect();
        let cases = [
            ("10.20.0.1", expected("10.9.0.1")),
            ("10.21.0.1", NextHop { mtu: 1300, ..expected("10.9.0.7") }),
            ("10.22.0.1", expected("10.9.0.1")),
            ("fd20::1", NextHop { mtu: 1290, ..expected("fd09::1") }),
        ];
        for (address, expected) in cases {
            assert_eq!(resolve(&handle, ip(address)).await, Ok(expected), "{address}");
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_addresses_without_a_next_hop() {
    in_new_namespace(async || {
        segment();
        run_ip(
            "link add idle0 type veth peer name idle1
             link set idle0 up
             link set idle1 up
             route add unreachable 10.31.0.0/16
             route add prohibit 10.32.0.0/16
             route add blackhole 10.33.0.0/16
             route add unreachable fd31::/64
             route add prohibit fd32::/64
             route add blackhole fd33::/64
             route add 10.34.0.0/16 dev lo",
        );
        let handle = connect();
        for address in ["10.30.0.1", "10.31.0.1", "10.32.0.1", "10.33.0.1", "10.9.0.255", "224.0.0.9"] {
            let result = resolve(&handle, ip(address)).await;
            assert!(matches!(result, Err(NextHopError::NoRoute { .. })), "{address}: {result:?}");
        }
        for address in ["fd30::1", "fd31::1", "fd32::1", "fd33::1"] {
            let result = resolve(&handle, ip(address)).await;
            assert!(matches!(result, Err(NextHopError::NoRoute { .. })), "{address}: {result:?}");
        }
        for address in ["10.9.0.1", "127.0.0.1", "fd09::1", "::1"] {
            let address = ip(address);
            assert_eq!(resolve(&handle, address).await, Err(NextHopError::LocalAddress { address }));
        }
        let address = ip("10.34.0.1");
        let interface = "lo".to_owned();
        assert_eq!(resolve(&handle, address).await, Err(NextHopError::NotEthernet { address, interface }));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_interface_without_any_address_has_no_source() {
    in_new_namespace(async || {
        run_ip(
            "link add near0 type veth peer name far0
             link set near0 up
             link set far0 up
             route add 10.9.0.0/24 dev near0",
        );
        let address = ip("10.9.0.2");
        let interface = "near0".to_owned();
        assert_eq!(resolve(&connect(), address).await, Err(NextHopError::NoSource { address, interface }));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_resolve_makes_the_kernel_ask() {
    in_new_namespace(async || {
        let _far = Far::new();
        let handle = connect();
        for (address, source) in [("10.9.0.2", "10.9.0.1"), ("fd09::2", "fd09::1")] {
            let address = ip(address);
            let interface = "near0".to_owned();
            let first = resolve(&handle, address).await;
            assert_eq!(first, Err(NextHopError::Unresolved { address, via: address, interface }));
            let answered = async {
                loop {
                    if let Ok(next_hop) = resolve(&handle, address).await {
                        return next_hop;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let next_hop = timeout(Duration::from_secs(1), answered).await.expect("an answer in a second");
            assert_eq!(next_hop, expected(source));
        }
    });
}
