//! Against the real kernel, each test in a network namespace that ends with its thread. Needs root.
//!
//! The segment of every test: `near0` (10.9.0.1/24, fd09::1/64), ours, and its other end `far0`, which is either in
//! the same namespace without addresses (neighbours are then set by hand) or in a second one that answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    net::IpAddr,
    os::fd::AsRawFd,
    panic,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::geteuid,
};
use rtnetlink::Handle;
use tokio::{sync::watch, time::timeout};

use super::{FAR, NEAR, ip};
use crate::next_hop::{
    NextHop, NextHopError, Watcher,
    events::{Events, is_overrun},
    resolve,
};

const NEAR_MAC: &str = "02:00:00:00:00:01";
const FAR_MAC: &str = "02:00:00:00:00:02";
const OTHER_MAC: &str = "02:00:00:00:00:03";
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];

type NextHops = BTreeMap<IpAddr, Result<NextHop, NextHopError>>;

/// Runs `body` on a thread of its own, in a network namespace of its own.
fn in_new_namespace(body: impl AsyncFnOnce() + Send + 'static) {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let test = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(body());
    });
    if let Err(panic) = test.join() {
        panic::resume_unwind(panic);
    }
}

/// Runs `ip` with each of these lines.
fn run_ip(commands: &str) {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`ip` of iproute2");
    child.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("write to `ip`");
    let output = child.wait_with_output().expect("`ip` to end");
    assert!(output.status.success(), "ip {commands}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Lets IPv6 addresses of interfaces made later in this namespace count at once. Neighbour discovery sends from the
/// link-local address, so that it would otherwise begin only when duplicate address detection ends.
fn no_duplicate_address_detection() {
    fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").expect("a tunable of the namespace");
}

/// `near0` with its addresses, and its bare other end in the same namespace.
fn segment() {
    no_duplicate_address_detection();
    run_ip(&format!(
        "link set lo up
         link add near0 mtu 1400 address {NEAR_MAC} type veth peer name far0
         address add 10.9.0.1/24 dev near0
         address add fd09::1/64 dev near0 nodad
         link set near0 up
         link set far0 up"
    ));
}

/// Waits until this namespace's end of the segment can send: the kernel gives it its queue and its link-local address
/// up to a second after it is set up.
fn wait_for_carrier(interface: &str) {
    let started = Instant::now();
    let ready = || {
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").expect("the IPv6 addresses");
        addresses.lines().any(|line| line.starts_with("fe80") && line.ends_with(interface))
    };
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(10), "{interface} has no link-local address");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A second namespace, with the other end of the segment in it.
struct Far {
    home: File,
    far: File,
}

impl Far {
    fn new() -> Self {
        let here = || File::open("/proc/thread-self/ns/net").expect("this thread's network namespace");
        segment();
        let home = here();
        unshare(CloneFlags::CLONE_NEWNET).expect("a second network namespace");
        let far = here();
        no_duplicate_address_detection();
        setns(&home, CloneFlags::CLONE_NEWNET).expect("back to the first namespace");
        run_ip(&format!("link set far0 netns /proc/{}/fd/{}", std::process::id(), far.as_raw_fd()));
        let this = Self { home, far };
        this.run_ip(&format!(
            "link set far0 address {FAR_MAC}
             address add 10.9.0.2/24 dev far0
             address add fd09::2/64 dev far0 nodad
             link set far0 up"
        ));
        wait_for_carrier("near0");
        this
    }

    /// Runs `ip` over there. Not async: this thread's runtime must not run while the thread is away.
    fn run_ip(&self, commands: &str) {
        setns(&self.far, CloneFlags::CLONE_NEWNET).expect("to the second namespace");
        run_ip(commands);
        wait_for_carrier("far0");
        setns(&self.home, CloneFlags::CLONE_NEWNET).expect("back to the first namespace");
    }
}

fn connect() -> Handle {
    let (connection, handle, _) = rtnetlink::new_connection().expect("a netlink socket");
    tokio::spawn(connection);
    handle
}

fn watch_next_hops(
    addresses: &[&str],
) -> (Watcher, watch::Sender<BTreeSet<IpAddr>>, watch::Receiver<NextHops>) {
    let (sender, receiver) = watch::channel(addresses.iter().copied().map(ip).collect());
    let (watcher, published) = Watcher::spawn(receiver).expect("a watcher");
    (watcher, sender, published)
}

/// Waits until what is published fulfils a condition, for at most a second.
async fn published_within_a_second(
    published: &mut watch::Receiver<NextHops>,
    condition: impl Fn(&NextHops) -> bool,
) -> NextHops {
    published_within(Duration::from_secs(1), published, condition).await
}

async fn published_within(
    limit: Duration,
    published: &mut watch::Receiver<NextHops>,
    condition: impl Fn(&NextHops) -> bool,
) -> NextHops {
    let in_time = timeout(limit, published.wait_for(|now| condition(now))).await;
    match in_time.map(|open| open.expect("the watcher lives").clone()) {
        Ok(next_hops) => next_hops,
        Err(_) => panic!("not within {limit:?}; published: {:#?}", *published.borrow()),
    }
}

fn mac_is(next_hops: &NextHops, address: &str, mac: [u8; 6]) -> bool {
    matches!(next_hops.get(&ip(address)), Some(Ok(next_hop)) if next_hop.destination_mac == mac)
}

fn ifindex(interface: &str) -> u32 {
    nix::net::if_::if_nametoindex(interface).expect("the interface's index")
}

fn expected(source: &str) -> NextHop {
    NextHop {
        ifindex: ifindex("near0"),
        interface: "near0".into(),
        source_mac: NEAR,
        destination_mac: FAR,
        source: ip(source),
        mtu: 1400,
    }
}

#[test]
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

#[test]
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
