//! Against the real kernel. Each test has a mount namespace with a BPF file system, and a network namespace, of its own;
//! both end with its thread. Needs root, but for `shape`, which looks at the object only.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    panic,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use dtr_lb_common::abi::Hop;
use nix::{
    mount::{MsFlags, mount},
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};

use super::{
    Census, Datapath, DatapathError, Desired, DesiredReplica, DesiredService, DesiredSettings, Interface,
    Options, service_key,
};
use crate::privileged::needs_root;

mod attach;
mod connections;
mod fast_path;
mod idle;
mod instructions;
mod maps;
mod memory;
mod pins;
mod probing;
mod repair;
mod shape;
mod table;
mod traps;

pub(crate) const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
pub(crate) const REPLICA: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));

/// Runs `body` with the path of a fresh BPF file system.
pub(crate) fn as_root(body: impl FnOnce(&Path) + Send + 'static) {
    needs_root();
    let mount_point = tempfile::tempdir().expect("a temporary directory");
    let path = mount_point.path().to_owned();
    // As much as the agent's main thread has: a table is 131 KB, and unoptimized code copies it again and again.
    let spacious = thread::Builder::new().stack_size(8 << 20);
    let test = spacious.spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("new namespaces");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), none).expect("a BPF file system");
        body(&path);
    });
    let test = test.expect("a thread");
    if let Err(panic) = test.join() {
        panic::resume_unwind(panic);
    }
}

fn options(root: &Path) -> Options {
    Options { max_flows: 1024, pins: Some(root.into()), log_packets: false }
}

fn open(root: &Path) -> Datapath {
    Datapath::open(&options(root)).expect("the datapath opens")
}

/// A datapath that is pinned nowhere.
pub(crate) fn fresh() -> Datapath {
    of_size(1024)
}

fn of_size(max_flows: u32) -> Datapath {
    Datapath::open(&Options { max_flows, pins: None, log_packets: false }).expect("the datapath opens")
}

pub(crate) fn replica(address: IpAddr, interface: u32) -> DesiredReplica {
    DesiredReplica {
        address,
        port: 443,
        weight: 100,
        hop: Some(Hop { interface, ..Hop::default() }),
        nat: vec![VIP],
        mtu: 0,
        reset: false,
    }
}

/// A whole walk through the flow table.
fn sweep_all(datapath: &mut Datapath) -> Census {
    loop {
        if let Some(census) = datapath.sweep().expect("the table can be swept") {
            return census;
        }
    }
}

fn refused<T>(result: Result<T, DatapathError>) -> DatapathError {
    result.err().expect("it is refused")
}

/// Everything below `directory`, relative to it, sorted.
fn tree(directory: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            found.push(path.strip_prefix(root).expect("below the root").to_owned());
            if path.is_dir() {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, directory, &mut found);
    found.sort();
    found
}

/// Runs `ip` with these words and returns what it prints.
fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("`ip` of iproute2");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn interface(name: &str) -> Interface {
    let index = if_nametoindex(name).expect("the interface");
    Interface { name: name.into(), index, xdp_program: None }
}

/// Services of [`VIP`] by their ports.
pub(crate) fn desired(services: impl IntoIterator<Item = (u16, Vec<DesiredReplica>)>) -> Desired {
    Desired {
        settings: DesiredSettings {
            hash_seed: 0,
            nat_ports: 10_000..=32_767,
            idle_timeout: Duration::from_secs(3600),
            own_macs: None,
        },
        services: services
            .into_iter()
            .map(|(port, replicas)| (service_key(VIP, port), DesiredService::nat(replicas)))
            .collect(),
    }
}
