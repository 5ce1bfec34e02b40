//! Real interfaces, in a network namespace that ends with the test's thread. Needs root.

use std::{panic, process::Command, thread};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::interface::Links;
use crate::privileged::needs_root;

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

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("`ip` of iproute2");
    output.status.success()
}

async fn look(names: &[&str]) -> Vec<Device> {
    let links = Links::open().expect("a netlink socket");
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let seen = links.look(&names).await.expect("an answer");
    gather(links.handle(), &seen).await
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_interfaces_are_found_as_they_are_set() {
    in_new_namespace(async || {
        assert!(ip("link add near0 mtu 1400 numrxqueues 2 numtxqueues 3 type veth peer name far0"));
        assert!(ip("link add br0 type bridge") && ip("link set far0 master br0"));
        let devices = look(&["near0", "far0", "none0", "br0"]).await;
        let [near, far, bridge] = &devices[..] else { panic!("{devices:?}") };
        assert_eq!((near.mtu, &near.kind, &near.member_of, &near.driver), (1400, &Kind::Veth, &None, &None));
        assert_eq!(near.lro, Some(false));
        // A veth's GRO is off, and can be turned on.
        assert_eq!(near.gro.map(|_| ()), Some(()));
        let channels = near.channels.expect("a veth has some");
        assert_eq!((channels.rx.1, channels.tx.1), (2, 3));
        assert_eq!(far.member_of, Some(("br0".into(), Group::Bridge)));
        assert_eq!(bridge.kind, Kind::Stacked("bridge"));
        assert_eq!(look(&["lo"]).await[0].kind, Kind::Loopback);
        assert!(near.processors > 0 && near.kernel > (5, 0), "{near:?}");

        // Not every kernel has these.
        if ip("link add link near0 name near0.7 type vlan id 7") {
            assert_eq!(look(&["near0.7"]).await[0].kind, Kind::Stacked("VLAN interface"));
        }
        for (mode, takes_xdp) in [("active-backup", true), ("balance-alb", false)] {
            if ip(&format!("link add bond7 type bond mode {mode}")) {
                assert_eq!(look(&["bond7"]).await[0].kind, Kind::Bond { takes_xdp, mode: mode.into() });
                assert!(ip("link del bond7"));
            }
        }
    });
}

/// /sys goes on showing the namespace of the process: its `eth0` is not this one.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_sys_says_of_another_namespace_is_not_taken() {
    in_new_namespace(async || {
        let outside = fs::read_dir("/sys/class/net").expect("/sys").filter_map(Result::ok);
        let with_driver = outside.filter(|entry| entry.path().join("device/driver").exists());
        for entry in with_driver {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(ip(&format!("link add {name} type veth peer name other0")));
            assert_eq!(look(&[&name]).await[0].driver, None, "{name}");
            assert!(ip(&format!("link del {name}")));
        }
    });
}

#[test]
fn what_the_kernel_writes_is_understood() {
    assert_eq!(version("6.18.44-arch"), (6, 18));
    assert_eq!(version("?"), (0, 0));
    assert_eq!(virtio_features("0110000"), 0b110);
    assert_eq!(virtio_features(&format!("{}1", "0".repeat(63))), 1 << 63);
    assert_eq!(virtio_features(&"1".repeat(128)), u64::MAX);
}
