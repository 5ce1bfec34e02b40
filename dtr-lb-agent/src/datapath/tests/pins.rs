use std::{
    fs,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use dtr_lb_common::abi::{LAYOUT_VERSION, map};

use super::{as_root, interface, ip, open, options, refused, tree};
use crate::datapath::{Datapath, DatapathError, Hook, Options, Wanted, detach};

fn own() -> String {
    format!("v{LAYOUT_VERSION}")
}

/// A root that is there already. The kernel puts things of its own into the file system's.
fn shared(bpffs: &Path) -> PathBuf {
    let root = bpffs.join("shared");
    fs::create_dir(&root).expect("a directory");
    root
}

/// Pins a map as another program might.
fn pin_foreign(from: &Path, to: &Path) {
    MapData::from_pin(from).expect("a pinned map").pin(to).expect("a second pin");
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_root_that_others_use_keeps_what_is_theirs() {
    as_root(|bpffs| {
        let root = &shared(bpffs);
        let datapath = open(root);
        let settings = root.join(own()).join("maps").join(map::SETTINGS);
        fs::create_dir_all(root.join("other/v1/maps")).expect("a directory");
        fs::create_dir(root.join("vpn")).expect("a directory");
        fs::create_dir(root.join("v98")).expect("a directory");
        fs::create_dir(root.join("v98/theirs")).expect("a directory");
        for place in ["theirs", "other/v1/maps/THEIRS", "v98/theirs/DEEP", "v1x"] {
            pin_foreign(&settings, &root.join(place));
        }
        drop(datapath);

        assert!(detach(root).expect("it is removed"));
        let left: Vec<_> = tree(root).iter().map(|path| path.display().to_string()).collect();
        let theirs = [
            "other",
            "other/v1",
            "other/v1/maps",
            "other/v1/maps/THEIRS",
            "theirs",
            "v1x",
            "v98",
            "v98/theirs",
            "v98/theirs/DEEP",
            "vpn",
        ];
        assert_eq!(left, theirs);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_detach_leaves_nothing_of_ours_and_says_whether_there_was_something() {
    as_root(|bpffs| {
        let root = bpffs.join("dtr-lb");
        assert!(!detach(&root).expect("nothing is there"));
        drop(open(&root));
        let settings = root.join(own()).join("maps").join(map::SETTINGS);
        fs::create_dir_all(root.join("v99/maps")).expect("a directory");
        pin_foreign(&settings, &root.join("v99/maps/OLD"));

        assert!(detach(&root).expect("it is removed"));
        assert!(!root.exists(), "{:?}", tree(&root));
        assert!(!detach(bpffs).expect("nothing is there, and a mount point stays"));
        assert!(bpffs.exists());
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_only_other_layouts_stand_in_the_way() {
    as_root(|bpffs| {
        let root = &shared(bpffs);
        for name in ["cilium", "vpn", "v1x"] {
            fs::create_dir(root.join(name)).expect("a directory");
        }
        open(root).abandon();
        assert_eq!(tree(root).len(), 3);

        fs::create_dir(root.join("v99")).expect("a directory");
        let error = refused(Datapath::open(&options(root)));
        assert!(
            matches!(&error, DatapathError::Layout { differences, .. } if differences.len() == 1),
            "{error}"
        );
        assert_eq!(tree(root).len(), 4, "{:?}", tree(root));
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_all_differences_are_listed() {
    as_root(|bpffs| {
        let root = bpffs.join("dtr-lb");
        drop(open(&root));
        let maps = root.join(own()).join("maps");
        let replace = |name: &str, from: &str| {
            fs::remove_file(maps.join(name)).expect("it can go");
            pin_foreign(&maps.join(from), &maps.join(name));
        };
        // A hash in place of an array, with another key, value and number of entries.
        replace(map::SETTINGS, map::VIPS);
        replace(map::VERDICT_STATS, map::REPLICA_STATS);
        fs::remove_file(maps.join(map::EVENTS)).expect("it can go");
        fs::create_dir(maps.join(map::EVENTS)).expect("a directory");
        fs::create_dir(root.join("v99")).expect("a directory");
        let before = tree(&root);
        let error = refused(Datapath::open(&Options { max_flows: 4096, ..options(&root) }));
        let DatapathError::Layout { differences, .. } = &error else { panic!("{error}") };
        let wanted = [
            "v99` is of another layout",
            "map FLOWS: 1024 entries",
            "map SETTINGS: it is a Hash map",
            "map SETTINGS: 16 key bytes",
            "map SETTINGS: 4 value bytes",
            "map SETTINGS: 128 entries",
            "map VERDICT_STATS: ",
            "map VERDICT_STATS: ",
            "EVENTS` is a directory, not a map",
        ];
        assert_eq!(differences.len(), wanted.len(), "{error}");
        for (difference, words) in differences.iter().zip(wanted) {
            assert!(difference.contains(words), "{words}: {difference}");
        }
        assert_eq!(tree(&root), before);
    });
}

/// More entries than the kernel makes a table for.
fn impossible(root: &Path) -> Options {
    Options { max_flows: u32::MAX / 2, ..options(root) }
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_opening_that_fails_leaves_nothing_pinned() {
    as_root(|bpffs| {
        let root = bpffs.join("dtr-lb");
        // Maps are made in an order of their own; the table is not always the first.
        for _ in 0..5 {
            let error = refused(Datapath::open(&impossible(&root)));
            assert!(matches!(error, DatapathError::Object { .. }), "{error}");
            assert!(!root.exists(), "{:?}", tree(&root));
        }
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_opening_that_fails_keeps_what_was_pinned_before() {
    as_root(|bpffs| {
        let root = bpffs.join("dtr-lb");
        drop(open(&root));
        let before = tree(&root);
        let error = refused(Datapath::open(&impossible(&root)));
        assert!(matches!(error, DatapathError::Layout { .. }), "{error}");
        assert_eq!(tree(&root), before);

        let datapath = open(&root);
        assert!(datapath.adopted());
        datapath.abandon();
        assert_eq!(tree(&root), before);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_links_alone_are_a_datapath_too() {
    as_root(|root| {
        ip("link add near0 type veth peer name far0");
        let mut datapath = open(root);
        datapath.attach(Wanted::Exactly(Hook::NativeXdp), &[interface("near0")]).expect("it attaches");
        drop(datapath);
        fs::remove_dir_all(root.join(own()).join("maps")).expect("the maps' pins can go");
        assert!(open(root).adopted());
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_place_outside_a_bpf_file_system_is_refused_and_left_as_it_is() {
    as_root(|bpffs| {
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        let missing = elsewhere.path().join("missing");
        for path in [elsewhere.path(), &missing, &missing.join("below")] {
            let error = refused(Datapath::open(&options(path)));
            assert!(matches!(error, DatapathError::NoBpffs { .. }), "{error}");
        }
        assert!(elsewhere.path().exists() && !missing.exists());
        let error = refused(Datapath::open(&options(&bpffs.join("missing/below"))));
        assert!(matches!(error, DatapathError::NoBpffs { .. }), "{error}");
    });
}
