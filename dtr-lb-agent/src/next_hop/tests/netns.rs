//! Against the real kernel, each test in a network namespace that ends with its thread. Needs root.
//!
//! The segment of every test: `near0` (10.9.0.1/24, fd09::1/64), ours, and its other end `far0`, which is either in
//! the same namespace without addresses (neighbours are then set by hand) or in a second one that answers.

mod changes;
mod ipv6;
mod neighbour_probe;
mod notices;
mod resolve;

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

use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::Handle;
use tokio::{sync::watch, time::timeout};

use super::{FAR, NEAR, ip};
use crate::{
    next_hop::{NextHop, NextHopError, Watcher},
    privileged::needs_root,
};

const NEAR_MAC: &str = "02:00:00:00:00:01";
const FAR_MAC: &str = "02:00:00:00:00:02";
const OTHER_MAC: &str = "02:00:00:00:00:03";
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 3];

type NextHops = BTreeMap<IpAddr, Result<NextHop, NextHopError>>;

/// Runs `body` on a thread of its own, in a network namespace of its own.
fn in_new_namespace(body: impl AsyncFnOnce() + Send + 'static) {
    needs_root();
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

    /// Runs `ip` over there.
    fn run_ip(&self, commands: &str) {
        self.there(|| {
            run_ip(commands);
            wait_for_carrier("far0");
        });
    }

    /// Runs `body` over there. Not async: this thread's runtime must not run while the thread is away.
    fn there(&self, body: impl FnOnce()) {
        setns(&self.far, CloneFlags::CLONE_NEWNET).expect("to the second namespace");
        body();
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
        carriers: Vec::new(),
    }
}
