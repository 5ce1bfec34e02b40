//! `--save`: files before and after, what is refused, and what becomes of the file on disk.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use crate::config::{Config, Edit, EditError, Host, HostFacts, Listed, Saved, put_back};

const FILE: &str = r#"# Balancer 1 of 2.
vip = "10.0.0.10"   # everyone's
interfaces = ["eth0"]

# Rack 4.

# The first one.
[[replica]]
name = "r1"         # as in the inventory
address = "10.0.0.11"
weight = 10 # slow

[[replica]]
address = "10.0.0.12"

# Elsewhere.
[[replica]]
name = "names"
address = "DTR.example.com"

[[service]]
name = "all"
port = 80

[[service]]
name = "some"
port = 443
replicas = [
    "r1", # first
    "10.0.0.12", # last
]

[service.probe]
path = "/x"
# The end.
"#;

const TIGHT: &str = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\nreplica = [{ address = \"10.0.0.11\" }, { address = \
                     \"10.0.0.12\", weight = 5 }]\n[agent]\nsocket = \"/s\"\n";

fn weight(replica: &str, weight: u16) -> Edit {
    Edit::Weight { replica: replica.into(), weight }
}

fn add(name: &str, host: &str, services: &[&str]) -> Edit {
    let host = Host::parse(host).unwrap();
    let replica = Listed { name: name.into(), host, weight: 100, slow_start: Duration::ZERO, backup: false };
    Edit::Add { replica, services: services.iter().map(ToString::to_string).collect() }
}

fn remove(replica: &str, services: &[&str]) -> Edit {
    Edit::Remove { replica: replica.into(), services: services.iter().map(ToString::to_string).collect() }
}

/// A file of this text. Its ports go with the host that runs the test.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dtr-lb.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

/// Leaves the host's own ports alone, whichever they are.
fn ports() -> String {
    let taken = HostFacts::read().unwrap().ephemeral_ports;
    let free = if *taken.start() > 1024 { taken.start() - 1 } else { taken.end() + 1 };
    format!("datapath.nat_ports={free}-{free}")
}

fn save(text: &str, edit: &Edit) -> Result<String, EditError> {
    let (_directory, path) = file(text);
    let Saved { config, before, after } = edit.save(&path, &[ports()])?;
    assert_eq!(config, Config::load(&path, &[ports()]).unwrap(), "what is told is what the file says");
    let edited = fs::read_to_string(&path).unwrap();
    assert_eq!((before.as_str(), after.as_str()), (text, edited.as_str()));
    // It can be taken back, and what somebody has written since cannot.
    fs::write(&path, format!("{edited}# more\n")).unwrap();
    let error = put_back(&path, &[ports()], &before, &after).expect_err("it was changed").to_string();
    assert!(error.contains("was changed after") && error.contains("dtr-lb reload"), "{error}");
    fs::write(&path, &edited).unwrap();
    let config = put_back(&path, &[ports()], &before, &after).expect("it is as it was left");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(config, Config::load(&path, &[ports()]).unwrap());
    Ok(edited)
}

/// A text in which each of `parts` is replaced.
fn with(text: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} in:\n{text}");
        text.replace(from, to)
    })
}

#[test]
fn what_is_asked_for_changes_and_nothing_else() {
    let cases = [
        (FILE, weight("r1", 20), with(FILE, &[("weight = 10 # slow", "weight = 20 # slow")])),
        (FILE, weight("r1", 10), FILE.to_owned()),
        (
            FILE,
            weight("10.0.0.12", 0),
            with(FILE, &[("address = \"10.0.0.12\"\n", "address = \"10.0.0.12\"\nweight = 0\n")]),
        ),
        (
            FILE,
            weight("names", 256),
            with(
                FILE,
                &[("address = \"DTR.example.com\"\n", "address = \"DTR.example.com\"\nweight = 256\n")],
            ),
        ),
        (
            FILE,
            add("r4", "10.0.0.14", &["all", "some"]),
            with(
                FILE,
                &[
                    (
                        "address = \"DTR.example.com\"\n",
                        "address = \"DTR.example.com\"\n\n[[replica]]\nname = \"r4\"\naddress = \"10.0.0.14\"\n",
                    ),
                    ("    \"10.0.0.12\", # last\n", "    \"10.0.0.12\", # last\n    \"r4\",\n"),
                ],
            ),
        ),
        (
            FILE,
            add("2001:db8::1", "2001:db8::1", &["all"]),
            with(
                FILE,
                &[(
                    "address = \"DTR.example.com\"\n",
                    "address = \"DTR.example.com\"\n\n[[replica]]\naddress = \"2001:db8::1\"\n",
                )],
            ),
        ),
        (
            FILE,
            remove("r1", &["all", "some"]),
            with(
                FILE,
                &[
                    (
                        "# The first one.\n[[replica]]\nname = \"r1\"         # as in the inventory\n\
                         address = \"10.0.0.11\"\nweight = 10 # slow\n\n",
                        "",
                    ),
                    ("    \"r1\", # first\n", ""),
                ],
            ),
        ),
        (
            FILE,
            remove("names", &["all"]),
            with(
                FILE,
                &[("# Elsewhere.\n[[replica]]\nname = \"names\"\naddress = \"DTR.example.com\"\n\n", "")],
            ),
        ),
        (FILE, remove("10.0.0.12", &["some"]), with(FILE, &[("    \"10.0.0.12\", # last\n", "")])),
        (TIGHT, weight("10.0.0.12", 7), with(TIGHT, &[("weight = 5", "weight = 7")])),
        (TIGHT, weight("10.0.0.11", 7), with(TIGHT, &[("\"10.0.0.11\" }", "\"10.0.0.11\", weight = 7 }")])),
        (
            TIGHT,
            add("r3", "r3.example.com", &["http", "https"]),
            with(
                TIGHT,
                &[("weight = 5 }]", "weight = 5 }, { name = \"r3\", address = \"r3.example.com\" }]")],
            ),
        ),
        (
            TIGHT,
            remove("10.0.0.12", &["http", "https"]),
            with(TIGHT, &[(", { address = \"10.0.0.12\", weight = 5 }", "")]),
        ),
    ];
    for (text, edit, expected) in cases {
        let found = save(text, &edit).unwrap_or_else(|error| panic!("{edit:?}: {error}"));
        assert_eq!(found, expected, "{edit:?}");
        // Line ends stay as they are, too.
        let dos = save(&text.replace('\n', "\r\n"), &edit).unwrap();
        assert_eq!(dos, expected.replace('\n', "\r\n"), "{edit:?}");
    }
}

#[test]
fn what_goes_with_a_new_replica_is_written_where_it_is_not_the_default() {
    let Edit::Add { replica, services } = add("10.0.0.14", "10.0.0.14", &["http", "https"]) else {
        unreachable!()
    };
    let edit =
        Edit::Add { replica: Listed { weight: 0, slow_start: Duration::from_secs(90), ..replica }, services };
    let text = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"";
    let expected =
        format!("{text}\n[[replica]]\naddress = \"10.0.0.14\"\nweight = 0\nslow_start = \"1m 30s\"\n");
    assert_eq!(save(text, &edit).unwrap(), expected);
}

#[test]
fn what_the_file_cannot_say_is_refused_and_changes_nothing() {
    let one = "vip = \"10.0.0.10\"\ninterfaces = [\"eth0\"]\n[[replica]]\naddress = \"10.0.0.11\"\n";
    let cases = [
        (FILE, weight("r9", 1), &["no replica `r9`", "r1, 10.0.0.12, names"][..]),
        (FILE, weight("names/10.0.0.21", 1), &["one of the addresses of `names`", "leave out --save"]),
        (FILE, weight("r1", 257), &["not be valid", "dtr-lb.toml:11:", "between 0 and 256"]),
        (FILE, add("r4", "10.0.0.14", &["some"]), &["service `all` has no list", "leave out --service"]),
        (FILE, add("r4", "10.0.0.12", &["all"]), &["not be valid", "the address of replica[1]"]),
        (FILE, add("r1", "10.0.0.14", &["all"]), &["not be valid", "the name of replica[0]"]),
        (FILE, add("vip", "10.0.0.10", &["all"]), &["not be valid", "is a VIP as well"]),
        (FILE, remove("r1", &["all"]), &["service `all` has no list"]),
        (FILE, remove("r9", &["all"]), &["no replica `r9`"]),
        (one, remove("10.0.0.11", &["http", "https"]), &["not be valid", "no replica to forward to"]),
        ("vip = 5\n", weight("r1", 1), &["not changed", "dtr-lb.toml:1:"]),
    ];
    for (text, edit, words) in cases {
        let (directory, path) = file(text);
        let error = edit.save(&path, &[ports()]).expect_err("the file cannot say it").to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{edit:?}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{edit:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{edit:?} left something behind");
    }
}

#[test]
fn what_a_set_of_the_command_line_says_otherwise_is_not_saved() {
    let (_directory, path) = file(FILE);
    let set = [ports(), "replica.0.weight=3".to_owned()];
    let error = weight("r1", 20).save(&path, &set).unwrap_err();
    assert!(matches!(error, EditError::Overridden), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
}

#[test]
fn links_owner_and_permissions_stay() {
    let (directory, real) = file(FILE);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&real, Some(12), Some(34)).unwrap();
    }
    let link = directory.path().join("link.toml");
    symlink("dtr-lb.toml", &link).unwrap();
    weight("r1", 20).save(&link, &[ports()]).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("weight = 20 # slow"));
    let found = fs::metadata(&real).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    if root {
        assert_eq!((found.uid(), found.gid()), (12, 34));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something is left behind");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever is changed one after the other, the file stays valid or as it was, and its comments stay.
    #[test]
    fn any_changes_leave_a_valid_file(edits in proptest::collection::vec((0..4u8, 11..15u8, 0..=256u16), 1..8)) {
        let (_directory, path) = file(FILE);
        for (what, last, number) in edits {
            let address = format!("10.0.0.{last}");
            let replica = if last == 11 { "r1" } else { &address };
            let edit = match what {
                0 => weight(replica, number),
                1 => add(&address, &address, &["all", "some"]),
                2 => remove(replica, &["some"]),
                _ => remove(replica, &["all", "some"]),
            };
            let before = fs::read_to_string(&path).unwrap();
            let saved = edit.save(&path, &[ports()]);
            let after = fs::read_to_string(&path).unwrap();
            prop_assert!(saved.is_ok() || before == after);
            prop_assert!(Config::load(&path, &[ports()]).is_ok());
            for comment in ["# Balancer 1 of 2.", "# everyone's", "# Rack 4.", "# Elsewhere.", "# The end."] {
                prop_assert!(after.contains(comment), "{} is gone:\n{}", comment, after);
            }
        }
    }
}
