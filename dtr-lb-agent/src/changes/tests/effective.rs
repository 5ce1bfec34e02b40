//! The effective config, by tables: what goes in, which replicas come out, what is said and what is kept.

use proptest::prelude::*;

use super::*;

/// What is looked at: replicas of the first service, notes as words, and the rest of the changes.
struct Case<'a> {
    about: &'a str,
    config: &'a str,
    names: &'a [(&'a str, &'a [&'a str])],
    change: fn(&mut Changes),
    replicas: &'a [&'a str],
    notes: &'a [&'a [&'a str]],
    /// Whether all changes are kept; otherwise none is.
    kept: bool,
}

fn none(_: &mut Changes) {}

#[test]
fn file_names_and_changes_make_one_config() {
    let cases = [
        Case {
            about: "nothing is changed",
            config: FIXED,
            names: &[],
            change: none,
            replicas: &["r1 10.0.0.11:80 100 ready", "10.0.0.12 10.0.0.12:80 100 ready"],
            notes: &[],
            kept: true,
        },
        Case {
            about: "orders and weights",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.set_admin("http", ip("10.0.0.11"), Admin::Drain);
                changes.set_weight("http", ip("10.0.0.12"), Some(0));
                changes.set_admin("https", ip("10.0.0.12"), Admin::Maint);
            },
            replicas: &["r1 10.0.0.11:80 100 drain", "10.0.0.12 10.0.0.12:80 0 ready"],
            notes: &[],
            kept: true,
        },
        Case {
            about: "one is removed, one is added",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.remove("http", ip("10.0.0.11"));
                changes.add("http", listed("r4", "10.0.0.14"));
                changes.set_weight("http", ip("10.0.0.14"), Some(9));
            },
            replicas: &["10.0.0.12 10.0.0.12:80 100 ready", "r4 10.0.0.14:80 9 ready"],
            notes: &[],
            kept: true,
        },
        Case {
            about: "one that was removed is added again, with another weight",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.remove("http", ip("10.0.0.11"));
                changes.add("http", Listed { weight: 5, ..listed("any", "10.0.0.11") });
            },
            replicas: &["r1 10.0.0.11:80 5 ready", "10.0.0.12 10.0.0.12:80 100 ready"],
            notes: &[],
            kept: true,
        },
        Case {
            about: "all are removed",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.remove("http", ip("10.0.0.11"));
                changes.remove("http", ip("10.0.0.12"));
            },
            replicas: &[],
            notes: &[],
            kept: true,
        },
        Case {
            about: "the file says the same by now",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.set_weight("http", ip("10.0.0.11"), Some(100));
                changes.remove("http", ip("10.0.0.99"));
            },
            replicas: &["r1 10.0.0.11:80 100 ready", "10.0.0.12 10.0.0.12:80 100 ready"],
            notes: &[],
            kept: false,
        },
        Case {
            about: "the file has what was added by now",
            config: FIXED,
            names: &[],
            change: |changes| changes.add("http", listed("other", "10.0.0.12")),
            replicas: &["r1 10.0.0.11:80 100 ready", "10.0.0.12 10.0.0.12:80 100 ready"],
            notes: &[&["service `http`", "`10.0.0.12` was added", "the config has it by itself"]],
            kept: false,
        },
        Case {
            about: "what was changed is not in the file any more",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.set_admin("http", ip("10.0.0.13"), Admin::Drain);
                changes.set_weight("http", ip("10.0.0.14"), Some(3));
                changes.set_admin("gone", ip("10.0.0.11"), Admin::Drain);
            },
            replicas: &["r1 10.0.0.11:80 100 ready", "10.0.0.12 10.0.0.12:80 100 ready"],
            notes: &[
                &["replica 10.0.0.13 was set to drain", "no such replica"],
                &["replica 10.0.0.14 was given weight 3", "no such replica"],
                &["service `gone`", "no such service"],
            ],
            kept: false,
        },
        Case {
            about: "what was added does not fit",
            config: FIXED,
            names: &[],
            change: |changes| {
                changes.add("http", listed("vip", "10.0.0.10"));
                changes.add("http", listed("r1", "10.0.0.14"));
            },
            replicas: &["r1 10.0.0.11:80 100 ready", "10.0.0.12 10.0.0.12:80 100 ready"],
            notes: &[
                &["replica `vip`", "is a VIP of service `http`"],
                &["replica `r1`", "the replica at 10.0.0.11 has this name already"],
            ],
            kept: true,
        },
        Case {
            about: "a name without an answer",
            config: NAMED,
            names: &[],
            change: none,
            replicas: &["r1 10.0.0.11:4443 100 ready"],
            notes: &[],
            kept: true,
        },
        Case {
            about: "a name's addresses in their order, at its place",
            config: NAMED,
            names: &[
                ("dtr.example.com", &["2001:db8::1", "10.0.0.22", "10.0.0.3"]),
                ("other", &["10.0.0.4"]),
            ],
            change: none,
            replicas: &[
                "dtr.example.com/10.0.0.3 10.0.0.3:4443 50 ready",
                "dtr.example.com/10.0.0.22 10.0.0.22:4443 50 ready",
                "dtr.example.com/2001:db8::1 2001:db8::1:4443 50 ready",
                "r1 10.0.0.11:4443 100 ready",
            ],
            notes: &[],
            kept: true,
        },
        Case {
            about: "a name stands for what cannot be a replica",
            config: NAMED,
            names: &[(
                "dtr.example.com",
                &["10.0.0.10", "10.0.0.11", "10.0.0.12", "127.0.0.1", "::ffff:10.0.0.13"],
            )],
            change: none,
            replicas: &["dtr.example.com/10.0.0.12 10.0.0.12:4443 50 ready", "r1 10.0.0.11:4443 100 ready"],
            notes: &[
                &["`dtr.example.com/10.0.0.10`", "VIP of service `s`"],
                &["`dtr.example.com/10.0.0.11`", "replica `r1` has this address already"],
                &["`dtr.example.com/127.0.0.1`", "loopback"],
                &["/::ffff:10.0.0.13`", "write 10.0.0.13"],
            ],
            kept: true,
        },
        Case {
            about: "changes to addresses of a name stay while the answer is another",
            config: NAMED,
            names: &[("dtr.example.com", &["10.0.0.12", "10.0.0.14"])],
            change: |changes| {
                changes.set_admin("s", ip("10.0.0.12"), Admin::Drain);
                changes.set_admin("s", ip("10.0.0.13"), Admin::Maint);
                changes.remove("s", ip("10.0.0.14"));
                changes.remove("s", ip("10.0.0.15"));
            },
            replicas: &["dtr.example.com/10.0.0.12 10.0.0.12:4443 50 drain", "r1 10.0.0.11:4443 100 ready"],
            notes: &[],
            kept: true,
        },
        Case {
            about: "a name is added",
            config: FIXED,
            names: &[("more.example.com", &["10.0.0.14"])],
            change: |changes| changes.add("http", listed("more", "more.example.com")),
            replicas: &[
                "r1 10.0.0.11:80 100 ready",
                "10.0.0.12 10.0.0.12:80 100 ready",
                "more/10.0.0.14 10.0.0.14:80 100 ready",
            ],
            notes: &[],
            kept: true,
        },
    ];
    for Case { about, config: text, names: answers, change, replicas, notes, kept } in cases {
        let mut changes = Changes::default();
        change(&mut changes);
        let file = config(text);
        let found = effective(&file, &names(answers), &changes);
        assert_eq!(shown(&found.config), replicas, "{about}");
        assert_eq!(found.notes.len(), notes.len(), "{about}: {:?}", found.notes);
        for (note, words) in found.notes.iter().zip(notes) {
            let note = note.to_string();
            assert!(words.iter().all(|word| note.contains(word)), "{about}: {note}");
        }
        let expected = if kept { changes } else { Changes::default() };
        assert_eq!(found.changes, expected, "{about}");
        // Only what it has of the file counts.
        assert_eq!(effective(&found.config, &names(answers), &found.changes).config, found.config, "{about}");
    }
}

#[test]
fn modes_that_keep_addresses_take_those_of_the_right_family() {
    let cases = [
        ("dsr", "10.0.0.10", "2001:db8::1"),
        ("dsr", "2001:db8::10", "10.0.0.21"),
        ("ipip", "2001:db8::10", "10.0.0.21"),
    ];
    for (mode, vip, refused) in cases {
        let file = config(&format!(
            "[[replica]]\naddress = \"dtr.example.com\"\n\
             [[service]]\nname = \"s\"\nport = 443\nmode = \"{mode}\"\nvip = \"{vip}\"\n"
        ));
        let answers = names(&[("dtr.example.com", &["10.0.0.21", "2001:db8::1"])]);
        let found = effective(&file, &answers, &Changes::default());
        assert_eq!(found.config.services[0].replicas.len(), 1, "{mode} {vip}");
        let [note] = &found.notes[..] else { panic!("{mode} {vip}: {:?}", found.notes) };
        let note = note.to_string();
        assert!(note.contains(&format!("/{refused}`")) && note.contains("in this mode"), "{note}");
    }
}

#[test]
fn an_answer_of_any_length_is_taken_up_to_a_limit() {
    let all: BTreeSet<IpAddr> = (0..1000u32).map(|n| IpAddr::V4((0x0a01_0000 + n).into())).collect();
    let answers = Names::from([("dtr.example.com".to_owned(), all)]);
    let found = effective(&config(NAMED), &answers, &Changes::default());
    assert_eq!(found.config.services[0].replicas.len(), MOST_OF_A_NAME + 1);
    assert!(found.notes[0].to_string().contains("1000 addresses"), "{:?}", found.notes);
}

#[test]
fn names_are_wanted_as_long_as_somebody_lists_them_and_so_are_their_answers() {
    let mut changes = Changes::default();
    changes.add("s", listed("more", "more.example.com"));
    changes.add("no-service", listed("x", "x.example.com"));
    let file = config(NAMED);
    let wanted: Vec<_> = wanted_names(&file, &changes).into_iter().collect();
    assert_eq!(wanted, ["dtr.example.com", "more.example.com"]);

    let answers = names(&[("dtr.example.com", &["10.0.0.21"]), ("old.example.com", &["10.0.0.22"])]);
    changes.answered(&answers, Timestamp::UNIX_EPOCH);
    let kept = effective(&file, &answers, &changes).changes;
    assert_eq!(kept.names(), names(&[("dtr.example.com", &["10.0.0.21"])]));
}

#[test]
fn a_replica_knows_where_it_is_from() {
    let mut changes = Changes::default();
    changes.add("s", listed("r4", "10.0.0.14"));
    changes.set_weight("s", ip("10.0.0.11"), Some(1));
    let found = effective(&config(NAMED), &names(&[("dtr.example.com", &["10.0.0.21"])]), &changes);
    let from: Vec<_> = found.config.services[0]
        .replicas
        .iter()
        .map(|replica| (replica.host_name.as_deref(), replica.file_weight))
        .collect();
    assert_eq!(from, [(Some("dtr.example.com"), Some(50)), (None, Some(100)), (None, None)]);
}

#[test]
fn only_new_notes_are_told() {
    let file = config(NAMED);
    let with =
        |answers: &[&str]| effective(&file, &names(&[("dtr.example.com", answers)]), &Changes::default());
    let first = with(&["10.0.0.10", "10.0.0.12"]);
    let second = with(&["10.0.0.10", "10.0.0.11"]);
    assert_eq!(first.news(&[]).count(), 1);
    let news: Vec<_> = second.news(&first.notes).map(ToString::to_string).collect();
    assert!(matches!(&news[..], [news] if news.contains("10.0.0.11")), "{news:?}");
}

/// A change at random to one of few replicas.
fn change() -> impl Strategy<Value = (u8, u8, u16)> {
    (0..7u8, 10..16u8, 0..=256u16)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is said: no two replicas alike, no VIP, and doing it again changes nothing.
    #[test]
    fn what_comes_out_is_a_config_as_the_file_could_say(
        asked in proptest::collection::vec(change(), 0..12),
        answer in proptest::collection::btree_set(9..16u8, 0..6),
    ) {
        let file = config(NAMED);
        let answers = Names::from([("dtr.example.com".to_owned(), answer.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect())]);
        let mut changes = Changes::default();
        for (what, last, weight) in asked {
            let address = IpAddr::from([10, 0, 0, last]);
            match what {
                0 => changes.set_admin("s", address, Admin::Drain),
                1 => changes.set_admin("s", address, Admin::Ready),
                2 => changes.set_admin("s", address, Admin::Maint),
                3 => changes.set_weight("s", address, Some(weight)),
                4 => changes.remove("s", address),
                5 => changes.add("s", listed("dtr.example.com", "dtr2.example.com")),
                _ => changes.add("s", Listed { weight, ..listed("added", &address.to_string()) }),
            }
        }
        let found = effective(&file, &answers, &changes);
        let replicas = &found.config.services[0].replicas;
        let addresses: BTreeSet<_> = replicas.iter().map(|replica| replica.address).collect();
        let called: BTreeSet<_> = replicas.iter().map(|replica| &replica.name).collect();
        prop_assert_eq!(addresses.len(), replicas.len());
        prop_assert_eq!(called.len(), replicas.len());
        prop_assert!(!addresses.contains(&ip("10.0.0.10")));
        prop_assert!(replicas.iter().all(|replica| replica.weight <= 256 && replica.port == 4443));
        let again = effective(&found.config, &answers, &found.changes);
        prop_assert_eq!(&again.config, &found.config);
        prop_assert_eq!(&again.changes, &found.changes);
        // And so does keeping them.
        let stored = serde_json::to_string(&found.changes).unwrap();
        prop_assert_eq!(serde_json::from_str::<Changes>(&stored).unwrap(), found.changes);
    }
}
