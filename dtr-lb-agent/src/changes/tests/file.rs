//! The file of the changes: kept, found again, broken, removed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::*;

fn some() -> Changes {
    let mut changes = Changes::default();
    changes.set_admin("https", ip("10.0.0.11"), Admin::Maint);
    changes.set_weight("https", ip("2001:db8::1"), Some(7));
    changes.remove("https", ip("10.0.0.12"));
    changes.add("http", listed("r4", "10.0.0.14"));
    changes.add("http", listed("more", "more.example.com"));
    changes.answered(&names(&[("more.example.com", &["10.0.0.21", "2001:db8::2"])]), Timestamp::UNIX_EPOCH);
    changes
}

fn files(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn it_stands_beside_the_socket() {
    assert_eq!(path(Path::new("/run/dtr-lb/dtr-lb.sock")), PathBuf::from("/run/dtr-lb/dtr-lb.changes.json"));
    assert_eq!(path(Path::new("/run/a")), PathBuf::from("/run/a.changes.json"));
}

#[test]
fn what_is_kept_is_found_again_and_nothing_else_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.changes.json");
    assert!(load(&path).changes.is_empty() && load(&path).problem.is_none(), "no file is no changes");
    // As an agent leaves it that was killed while it wrote.
    fs::write(directory.path().join("a.changes.json.new"), "{\"version\":1,\"serv").unwrap();
    some().store(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let Loaded { changes, problem } = load(&path);
    assert_eq!((changes, problem), (some(), None));

    Changes::default().store(&path).unwrap();
    assert_eq!(files(directory.path()), [""; 0], "no changes are no file");
    some().store(&path).unwrap();
    assert!(remove(&path).unwrap());
    assert!(!remove(&path).unwrap());
}

#[test]
fn what_makes_no_sense_is_told_and_moved_aside() {
    let good = serde_json::to_string(&some()).unwrap();
    let cases = [
        (String::new(), "EOF"),
        ("{\"version\":1,\"services\":{\"s\":".to_owned(), "EOF"),
        ("[]".to_owned(), "expected"),
        (format!("{{\"version\":2,{}", &good[1..]), "version 2"),
        (good.clone(), "version"),
        ("{\"version\":1,\"services\":{\"s\":{\"replicas\":{\"10.0.0.11\":{\"weight\":300}}}}}".to_owned(), "300"),
        (
            "{\"version\":1,\"services\":{\"s\":{\"added\":[{\"name\":\"a\",\"host\":\"0.0.0.0\",\"weight\":1}]}}}".to_owned(),
            "unspecified",
        ),
    ];
    for (text, words) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.changes.json");
        fs::write(&path, &text).unwrap();
        let Loaded { changes, problem } = load(&path);
        assert!(changes.is_empty(), "{text}");
        let problem = problem.unwrap_or_else(|| panic!("nothing is told: {text}"));
        assert!(problem.contains(words) && problem.contains("moved to"), "{words}: {problem}");
        assert_eq!(files(directory.path()), ["a.changes.json.broken"], "{text}");
        assert_eq!(fs::read_to_string(directory.path().join("a.changes.json.broken")).unwrap(), text);
    }
}

#[test]
fn what_cannot_be_read_or_kept_is_told_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.changes.json");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), "").unwrap();
    let Loaded { changes, problem } = load(&path);
    assert!(changes.is_empty() && problem.is_some_and(|problem| problem.contains("a.changes.json")));
    let error = some().store(&path).unwrap_err().to_string();
    assert!(
        error.contains("a.changes.json") && error.contains("are lost when the agent is restarted"),
        "{error}"
    );
    assert_eq!(files(directory.path()), ["a.changes.json"], "no half-written file is left");
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("a.changes.json"), directory.path().join("other"));
    fs::write(&other, "mine").unwrap();
    symlink(&other, &path).unwrap();
    symlink(&other, directory.path().join("a.changes.json.new")).unwrap();
    some().store(&path).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    assert_eq!(load(&path).changes, some());
}
