//! The segment of each test, `near0` to `far0`, and what the replica at its far end does.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    panic,
    process::{self, Command},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns, unshare};

use super::{OWN, OWN6, REPLICA, REPLICA6, VIP, VIP6, ip};
use crate::privileged::needs_root;

/// Runs `body` on a thread of its own, in this host's namespace.
pub(super) fn on_a_segment(body: impl AsyncFnOnce(Far) + Send + 'static) {
    needs_root();
    let test = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { body(Far::new()).await });
    });
    if let Err(panic) = test.join() {
        panic::resume_unwind(panic);
    }
}

/// Runs `ip` with each of these lines.
pub(super) fn run_ip(lines: &str) {
    for line in lines.lines() {
        command("ip", line);
    }
}

fn command(program: &str, words: &str) {
    let output = Command::new(program).args(words.split_whitespace()).output().expect("a program of the lab");
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Leaves the checksums of packets that leave to the device, or does not. Where a test takes packets out of others they are
/// to be in the packets.
pub(super) fn offload(value: &str) {
    command("ethtool", &format!("-K near0 tx {value}"));
}

fn set(tunable: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{tunable}"), value).expect("a tunable of the namespace");
}

/// The namespace of the replica.
pub(super) struct Far {
    home: File,
    far: File,
}

impl Far {
    fn new() -> Self {
        let here = || File::open("/proc/thread-self/ns/net").expect("this thread's network namespace");
        let quick = || {
            for of in ["all", "default"] {
                set(&format!("ipv6/conf/{of}/accept_dad"), "0");
                set(&format!("ipv4/conf/{of}/rp_filter"), "0");
            }
        };
        quick();
        run_ip(&format!(
            "link set lo up
             address add {VIP}/32 dev lo
             address add {VIP6}/128 dev lo nodad
             link add near0 type veth peer name far0
             address add {OWN}/24 dev near0
             address add {OWN6}/64 dev near0 nodad
             link set near0 up"
        ));
        offload("off");
        let home = here();
        unshare(CloneFlags::CLONE_NEWNET).expect("a second network namespace");
        let far = here();
        quick();
        setns(&home, CloneFlags::CLONE_NEWNET).expect("back to the first namespace");
        run_ip(&format!("link set far0 netns /proc/{}/fd/{}", process::id(), far.as_raw_fd()));
        let this = Self { home, far };
        this.there(|| {
            run_ip(&format!(
                "link set lo up
                 address add {REPLICA}/24 dev far0
                 address add {REPLICA6}/64 dev far0 nodad
                 link set far0 up"
            ));
            set("ipv4/conf/far0/arp_ignore", "1");
        });
        for place in [&this.home, &this.far] {
            setns(place, CloneFlags::CLONE_NEWNET).expect("one of the two namespaces");
            wait_for_link_local();
        }
        setns(&this.home, CloneFlags::CLONE_NEWNET).expect("back to the first namespace");
        this
    }

    /// Runs `body` over there. Not async: this thread's runtime must not run while the thread is away.
    pub(super) fn there<T>(&self, body: impl FnOnce() -> T) -> T {
        setns(&self.far, CloneFlags::CLONE_NEWNET).expect("to the second namespace");
        let result = body();
        setns(&self.home, CloneFlags::CLONE_NEWNET).expect("back to the first namespace");
        result
    }

    /// Gives the replica the VIPs, as `docs/dsr.md` says.
    pub(super) fn holds_vips(&self) {
        self.there(|| run_ip(&format!("address add {VIP}/32 dev lo\naddress add {VIP6}/128 dev lo nodad")));
    }

    /// Serves HTTP over there until the test's process ends.
    pub(super) fn serve(&self, address: &str, port: u16) -> Served {
        let listener = self.there(|| TcpListener::bind((ip(address), port))).expect("bind over there");
        let (sender, connections) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ends = (stream.local_addr(), stream.peer_addr());
                if let (Ok(here), Ok(peer)) = ends {
                    // The test may not ask.
                    let _ = sender.send((here, peer));
                }
                let mut stream = stream;
                // Who only connects and goes is no failure of the server's.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        Served { connections }
    }
}

/// The interface of the namespace can send when the kernel has given it a link-local address, up to a second after it
/// is set up.
fn wait_for_link_local() {
    let started = Instant::now();
    let ready = || {
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").expect("the IPv6 addresses");
        addresses.lines().any(|line| line.starts_with("fe80"))
    };
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(10), "no link-local address");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server over there.
pub(super) struct Served {
    connections: Receiver<(SocketAddr, SocketAddr)>,
}

impl Served {
    /// Both ends of the first connection, as the server saw them: its own and the client's.
    pub(super) fn seen(&self) -> (SocketAddr, SocketAddr) {
        let (here, peer) =
            self.connections.recv_timeout(Duration::from_secs(5)).expect("a connection in five seconds");
        assert!(matches!(
            (here.ip(), peer.ip()),
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))
        ));
        (here, peer)
    }
}
