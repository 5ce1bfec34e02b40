use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    path::Path,
    process,
    sync::mpsc::{Sender, SyncSender, channel, sync_channel},
    thread,
    time::Duration,
};

use aya::programs::{
    SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
};
use dtr_lb_common::abi::LAYOUT_VERSION;
use nix::sched::{CloneFlags, unshare};

use super::{VIP, as_root, desired, interface, ip, open, refused, replica, tree};
use crate::datapath::{Datapath, DatapathError, DesiredReplica, Hook, Wanted, pins::entries};

const GENERIC: Wanted = Wanted::Exactly(Hook::GenericXdp);
const NATIVE: Wanted = Wanted::Exactly(Hook::NativeXdp);
const TC: Wanted = Wanted::Exactly(Hook::Tc);

fn veth() {
    ip("link add near0 type veth peer name far0");
}

/// How `ip` shows XDP on an interface: `xdp`, `xdpgeneric`, or nothing.
fn mode(name: &str) -> Option<&'static str> {
    let shown = ip(&format!("link show dev {name}"));
    [("xdpgeneric", " xdpgeneric "), ("xdp", " xdp ")].into_iter().find_map(|(mode, word)| {
        let shown = shown.replace('/', " ");
        shown.contains(word).then_some(mode)
    })
}

/// The pins of links, by the hook's prefix and the interface's name.
fn pins(root: &Path) -> Vec<String> {
    let links = root.join(format!("v{LAYOUT_VERSION}/links"));
    let names = entries(&links).expect("the directory").into_iter();
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn attach(datapath: &mut Datapath, wanted: Wanted, names: &[&str]) -> Result<Hook, DatapathError> {
    let interfaces: Vec<_> = names.iter().map(|name| interface(name)).collect();
    datapath.attach(wanted, &interfaces).map(|attached| attached.hook)
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_each_hook_can_follow_each_other() {
    as_root(|root| {
        veth();
        let index = interface("near0").index;
        let steps = [
            (GENERIC, Hook::GenericXdp, Some("xdpgeneric"), "xdpgeneric"),
            (NATIVE, Hook::NativeXdp, Some("xdp"), "xdp"),
            (GENERIC, Hook::GenericXdp, Some("xdpgeneric"), "xdpgeneric"),
            (GENERIC, Hook::GenericXdp, Some("xdpgeneric"), "xdpgeneric"),
            (Wanted::Auto, Hook::NativeXdp, Some("xdp"), "xdp"),
            (TC, Hook::Tc, None, "tc"),
            (GENERIC, Hook::GenericXdp, Some("xdpgeneric"), "xdpgeneric"),
            (TC, Hook::Tc, None, "tc"),
            (NATIVE, Hook::NativeXdp, Some("xdp"), "xdp"),
        ];
        for (step, (wanted, hook, shown, pin)) in steps.into_iter().enumerate() {
            // As a new agent that finds what the last one left.
            let mut datapath = open(root);
            let is = attach(&mut datapath, wanted, &["near0"])
                .unwrap_or_else(|error| panic!("step {step}: {error}"));
            assert_eq!(is, hook, "step {step}");
            assert_eq!(pins(root), [format!("{pin}-{index}")], "step {step}");
            if hook != Hook::Tc {
                assert_eq!(mode("near0"), shown, "step {step}");
            }
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_one_process_can_change_the_hook_too() {
    as_root(|root| {
        veth();
        let mut datapath = open(root);
        for (wanted, shown) in [(NATIVE, "xdp"), (GENERIC, "xdpgeneric"), (NATIVE, "xdp"), (NATIVE, "xdp")] {
            attach(&mut datapath, wanted, &["near0"]).expect("it attaches");
            assert_eq!(mode("near0"), Some(shown));
            let (_, stand_ins) =
                SchedClassifier::query_tcx("near0", TcAttachType::Ingress).expect("TC's programs");
            assert!(stand_ins.is_empty(), "{stand_ins:?}");
        }
    });
}

/// Makes the cable of which `near` is one end's namespace, says so, and then opens connections from the other end until
/// nobody listens to the outcome. Each is sent whether it was refused.
fn knock(near: &File, made: &Sender<()>, refused: &SyncSender<bool>) {
    unshare(CloneFlags::CLONE_NEWNET).expect("a namespace for the client");
    let near = near.as_raw_fd();
    ip(&format!("link add far0 type veth peer name near0 netns /proc/{}/fd/{near}", process::id()));
    ip("address add 10.0.0.99/24 dev far0");
    ip("link set far0 up");
    made.send(()).expect("the test waits");
    loop {
        let result = TcpStream::connect_timeout(&SocketAddr::new(VIP, 443), Duration::from_millis(1));
        let is_refused = result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused.send(is_refused).is_err() {
            return;
        }
    }
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_no_packet_passes_to_the_stack_while_the_hook_changes() {
    as_root(|root| {
        let near = File::open("/proc/thread-self/ns/net").expect("this namespace");
        let (made, is_made) = channel();
        let (outcome, outcomes) = sync_channel(1000);
        let client = thread::spawn(move || knock(&near, &made, &outcome));
        is_made.recv().expect("the client makes the cable");
        ip("address add 10.0.0.10/24 dev near0");
        ip("link set near0 up");
        assert!(
            outcomes.iter().take(1000).any(|refused| refused),
            "the stack answers before anything is attached"
        );

        let mut datapath = open(root);
        // A service whose packets are dropped, as the way to its replica is not known: none may be answered.
        let replica = DesiredReplica { hop: None, ..replica([10, 0, 0, 11].into(), 1) };
        datapath.apply(&desired([(443, vec![replica])])).expect("it fits");
        attach(&mut datapath, GENERIC, &["near0"]).expect("it attaches");
        // What was on its way by then: one more than the channel holds.
        assert_eq!(outcomes.iter().take(1001).count(), 1001);
        let mut tried = 0;
        for wanted in [NATIVE, GENERIC, TC, NATIVE, TC, GENERIC].repeat(2) {
            attach(&mut datapath, wanted, &["near0"]).expect("it attaches");
            for refused in outcomes.try_iter() {
                assert!(!refused, "on the way to {wanted:?}");
                tried += 1;
            }
        }
        assert!(tried > 10, "{tried}");
        drop(outcomes);
        client.join().expect("the client ends");
    });
}

/// What `check` foresees of `datapath.attach = "xdp"` on `lo`.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_loopback_interface_has_no_native_xdp() {
    as_root(|root| {
        let error = attach(&mut open(root), NATIVE, &["lo"]).expect_err("it is refused");
        assert!(
            matches!(&error, DatapathError::NoNativeXdp { interface, .. } if interface == "lo"),
            "{error}"
        );
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_without_native_xdp_the_generic_link_is_put_back() {
    as_root(|root| {
        veth();
        ip("link add bare0 type bridge");
        let names = ["near0", "bare0"];
        let mut datapath = open(root);
        attach(&mut datapath, GENERIC, &names).expect("it attaches");
        drop(datapath);
        let before = pins(root);

        let mut datapath = open(root);
        let error = refused(attach(&mut datapath, NATIVE, &names));
        assert!(
            matches!(&error, DatapathError::NoNativeXdp { interface, .. } if interface == "bare0"),
            "{error}"
        );
        assert_eq!((mode("near0"), mode("bare0")), (Some("xdpgeneric"), Some("xdpgeneric")));
        assert_eq!(pins(root), before);

        assert_eq!(attach(&mut datapath, Wanted::Auto, &names).expect("it attaches"), Hook::Tc);
        assert!(pins(root).iter().all(|name| name.starts_with("tc-")), "{:?}", pins(root));
    });
}

/// Any child of this process that has not yet called exec holds what this process held: seen where a stand-in went and the
/// program came back to TC at once.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_link_at_tc_that_is_about_to_end_is_waited_for() {
    as_root(|root| {
        veth();
        let mut datapath = open(root);
        attach(&mut datapath, TC, &["near0"]).expect("it attaches");
        let [pin] = &pins(root)[..] else { panic!("one link") };
        let pin = root.join(format!("v{LAYOUT_VERSION}/links")).join(pin);
        let held = PinnedLink::from_pin(&pin).expect("the link");
        fs::remove_file(&pin).expect("the pin goes");
        let holder = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        attach(&mut datapath, TC, &["near0"]).expect("it attaches when the other has gone");
        holder.join().expect("it ends");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_another_programs_xdp_is_left_alone_and_ours_put_back() {
    as_root(|root| {
        veth();
        let other_root = root.join("other");
        let mut other = open(&other_root);
        attach(&mut other, GENERIC, &["far0"]).expect("it attaches");
        let mut datapath = open(&root.join("ours"));
        attach(&mut datapath, NATIVE, &["near0"]).expect("it attaches");
        let before = tree(root);

        let error = refused(attach(&mut datapath, GENERIC, &["near0", "far0"]));
        assert!(matches!(&error, DatapathError::Busy { interface, .. } if interface == "far0"), "{error}");
        assert_eq!((mode("near0"), mode("far0")), (Some("xdp"), Some("xdpgeneric")));
        assert_eq!(tree(root), before);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_interface_that_died_leaves_no_obstacle() {
    as_root(|root| {
        ip("link add near0 index 4000 type veth peer name far0");
        let mut datapath = open(root);
        attach(&mut datapath, GENERIC, &["near0"]).expect("it attaches");
        drop(datapath);
        ip("link delete near0");
        ip("link add near0 index 4000 type bridge");

        let mut datapath = open(root);
        let error = refused(attach(&mut datapath, NATIVE, &["near0"]));
        assert!(matches!(error, DatapathError::NoNativeXdp { .. }), "{error}");
        assert_eq!((mode("near0"), pins(root)), (None, Vec::new()), "a dead link is not put back");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_update_keeps_the_link_and_changes_its_program() {
    as_root(|root| {
        veth();
        let pin = root.join(format!("v{LAYOUT_VERSION}/links/xdp-{}", interface("near0").index));
        let ids = || {
            let link = FdLink::from(PinnedLink::from_pin(&pin).expect("the pin"));
            let info = link.info().expect("the link's properties");
            (info.id(), info.program_id())
        };
        let mut datapath = open(root);
        attach(&mut datapath, NATIVE, &["near0"]).expect("it attaches");
        drop(datapath);
        let (link, program) = ids();
        let mut datapath = open(root);
        attach(&mut datapath, NATIVE, &["near0"]).expect("it attaches");
        assert_eq!(ids().0, link);
        assert_ne!(ids().1, program);
    });
}
