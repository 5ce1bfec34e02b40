//! The programs that steer probes: where they stand, and that nothing of them outlives who probes.

use std::{
    fs,
    os::fd::{BorrowedFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use aya::programs::{SchedClassifier, TcAttachType};
use dtr_lb_common::{
    abi::{LAYOUT_VERSION, Tuple},
    address::Be16,
    pipeline::probe::paths,
};

use super::{VIP, as_root, interface, ip, open, tree};
use crate::datapath::{Hook, Interface, Wanted};

/// The names of the programs at a hook of `near0`, in their order.
fn programs(attach_type: TcAttachType) -> Vec<String> {
    let (_, found) = SchedClassifier::query_tcx("near0", attach_type).expect("TC's programs");
    found.iter().map(|program| program.name_as_str().expect("a name").to_owned()).collect()
}

fn both() -> [Vec<String>; 2] {
    [TcAttachType::Ingress, TcAttachType::Egress].map(programs)
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_they_stand_behind_the_datapath_and_end_with_the_process() {
    as_root(|root| {
        ip("link add near0 type veth peer name far0");
        let near = [interface("near0")];
        let [inwards, outwards] = ["dtr_lb_probe_in", "dtr_lb_probe_out"].map(|name| name[..15].to_owned());
        let mut datapath = open(root);
        let _steering = datapath.start_probing(&near).expect("it attaches");
        assert_eq!(both(), [vec![inwards.clone()], vec![outwards.clone()]]);
        for _ in 0..2 {
            datapath.attach(Wanted::Exactly(Hook::Tc), &near).expect("it attaches");
            assert_eq!(both(), [vec!["dtr_lb_tc".to_owned(), inwards.clone()], vec![outwards.clone()]]);
        }
        datapath.attach(Wanted::Exactly(Hook::GenericXdp), &near).expect("it attaches");
        assert_eq!(both(), [vec![inwards.clone()], vec![outwards.clone()]]);
        let pinned = tree(&root.join(format!("v{LAYOUT_VERSION}")));
        assert!(
            !pinned.iter().any(|path| path.to_string_lossy().to_lowercase().contains("probe")),
            "{pinned:?}"
        );
        drop(datapath);
        assert_eq!(both(), [Vec::<String>::new(), Vec::new()]);
        // The next one finds nothing in the way.
        let mut datapath = open(root);
        datapath.attach(Wanted::Exactly(Hook::Tc), &near).expect("it attaches");
        let _steering = datapath.start_probing(&near).expect("it attaches");
        assert_eq!(both(), [vec!["dtr_lb_tc".to_owned(), inwards], vec![outwards]]);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_start_that_failed_or_came_to_nothing_does_not_stand_in_the_way_of_the_next() {
    as_root(|root| {
        ip("link add near0 type veth peer name far0");
        let near = [interface("near0")];
        let gone = [Interface { name: "gone0".into(), index: 4711, xdp_program: None }];
        let mut datapath = open(root);
        assert!(datapath.start_probing(&gone).is_err(), "there is no such interface");
        let steering = datapath.start_probing(&near).expect("it attaches");
        // The config that it was for did not come into force, and nobody has kept it.
        drop(steering);
        let _steering = datapath.start_probing(&near).expect("it is there already");
        assert_eq!(both().map(|programs| programs.len()), [1, 1]);
    });
}

/// For how long they are held once more.
const HELD: Duration = Duration::from_millis(100);

/// All links that this process holds, held once more: what a child of it does until it calls exec.
fn links() -> Vec<OwnedFd> {
    let open = fs::read_dir("/proc/self/fd").expect("what is open").flatten();
    let links = open.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|what| what.to_string_lossy().contains("bpf_link"))
    });
    let numbers = links.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // SAFETY: it is duplicated at once; one that another test has closed meanwhile is an error, and left out.
    numbers.filter_map(|number| unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().ok()).collect()
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_links_that_a_child_still_holds_are_waited_for() {
    as_root(|root| {
        ip("link add near0 type veth peer name far0");
        let near = [interface("near0")];
        let mut datapath = open(root);
        let _steering = datapath.start_probing(&near).expect("it attaches");
        let held = links();
        assert!(held.len() >= 2, "{held:?}");
        let begun = Instant::now();
        let holder = thread::spawn(move || {
            thread::sleep(HELD);
            drop(held);
        });
        datapath.attach(Wanted::Exactly(Hook::GenericXdp), &near).expect("it attaches when they have gone");
        assert!(begun.elapsed() >= HELD, "it was in the way of nothing");
        holder.join().expect("it ends");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_probe_that_is_over_leaves_no_entry() {
    as_root(|root| {
        let mut datapath = open(root);
        let steering = datapath.start_probing(&[]).expect("it loads");
        let socket = |port| Tuple {
            source: VIP.into(),
            destination: VIP.into(),
            source_port: Be16::new(port),
            destination_port: Be16::new(443),
        };
        let steer = |port| steering.steer(paths(&socket(port), VIP.into(), VIP.into(), None));
        // More, one after the other, than the map holds at a time.
        for port in 0..=u16::MAX {
            drop(steer(port).expect("there is room"));
        }
        assert_eq!(steering.entries(), 0);
        let _one = steer(1).expect("there is room");
        assert_eq!(steering.entries(), 2);
    });
}
