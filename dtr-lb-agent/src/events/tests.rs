//! The store as agents use it, one after the other; and the sentences.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tracing::{debug, info, warn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        Events::path(&self.0.path().join("dtr-lb.sock"))
    }

    /// An agent that lives and ends by itself.
    fn agent(&self, names: &[&str]) -> (Events, Previous) {
        let events = Events::default();
        let previous = events.open(&self.path());
        names.iter().for_each(|name| events.record(event(name)));
        events.close();
        (events, previous)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("the file is there")
    }

    fn read(&self) -> (Vec<u64>, Vec<String>) {
        let (listing, notes) = Events::read(&self.path(), &Query::default()).expect("it can be read");
        (ids(&listing), notes)
    }

    /// What else is there.
    fn others(&self) -> Vec<String> {
        let all = fs::read_dir(self.0.path()).expect("it is there");
        let names = all.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut others: Vec<_> = names.filter(|name| name != "dtr-lb.events.jsonl").collect();
        others.sort();
        others
    }
}

fn event(name: &str) -> Event {
    recorder::event(name.to_owned(), "it has happened", Map::new())
}

fn ids<E: Borrow<Event>>(listing: &Listing<E>) -> Vec<u64> {
    listing.events.iter().map(|event| event.borrow().id).collect()
}

fn all(events: &Events) -> Vec<u64> {
    ids(&events.list(&Query::default()))
}

#[test]
fn numbers_go_on_from_one_agent_to_the_next_and_what_came_before_the_file_was_read_is_written_too() {
    let place = Place::new();
    let (first, previous) = place.agent(&[STARTED, "replica_up", ENDED]);
    assert_eq!((all(&first), previous), (vec![1, 2, 3], Previous::None));
    let mode = fs::metadata(place.path()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let second = Events::default();
    second.record(event("early"));
    assert_eq!(second.open(&place.path()), Previous::Ended);
    second.record(event(STARTED));
    assert_eq!(all(&second), [1, 2, 3, 4, 5]);
    second.close();
    second.record(event("after the end"));
    assert_eq!(place.read(), (vec![1, 2, 3, 4, 5], vec![]));

    // It was killed.
    let (third, previous) = place.agent(&[]);
    assert_eq!((all(&third), previous), (vec![1, 2, 3, 4, 5], Previous::Killed));
    let early = &third.list(&Query::default()).events[3];
    assert_eq!((early.event.as_str(), early.text.as_str()), ("early", "it has happened"));
    assert_eq!(place.others(), [""; 0]);
}

#[test]
fn a_line_that_was_cut_off_is_skipped_and_the_next_one_is_whole() {
    let place = Place::new();
    place.agent(&["a", "b"]);
    let text = place.text();
    fs::write(place.path(), &text[..text.len() - 7]).expect("it is written");
    let (read, notes) = place.read();
    assert_eq!(read, [1]);
    assert!(notes[0].contains("cut off"), "{notes:?}");
    place.agent(&["c"]);
    assert_eq!(place.read(), (vec![1, 2], vec![]));
    assert_eq!(place.others(), [""; 0], "that is to be expected of an agent that was killed");
}

#[test]
fn what_makes_no_sense_is_moved_aside_and_the_others_stay() {
    let place = Place::new();
    place.agent(&["a", "b", "c"]);
    let text = place.text();
    let lines: Vec<_> = text.lines().collect();
    for broken in [
        format!("{}\nno JSON\n{}\n{}\n", lines[0], lines[1], lines[2]),
        // Numbers that do not rise.
        format!("{}\n{}\n{}\n{}\n", lines[0], lines[1], lines[1], lines[2]),
    ] {
        fs::write(place.path(), &broken).expect("it is written");
        assert!(place.read().1[0].contains("1 lines"), "{:?}", place.read());
        let (events, _) = place.agent(&["d"]);
        assert_eq!(all(&events), [1, 2, 3, 4]);
        assert_eq!(place.read(), (vec![1, 2, 3, 4], vec![]));
        assert_eq!(place.others(), ["dtr-lb.events.jsonl.broken"]);
        let aside = fs::read_to_string(place.0.path().join("dtr-lb.events.jsonl.broken"));
        assert_eq!(aside.expect("it is there"), broken);
    }
    // All of it.
    fs::write(place.path(), [0xff, b'\n', 0, b'\n']).expect("it is written");
    let (events, previous) = place.agent(&["a"]);
    assert_eq!((all(&events), previous), (vec![1], Previous::None));
}

#[test]
fn what_cannot_be_read_is_moved_aside() {
    let place = Place::new();
    fs::create_dir(place.path()).expect("a directory in its place");
    place.agent(&["a"]);
    assert_eq!(place.read().0, [1]);
    assert_eq!(place.others(), ["dtr-lb.events.jsonl.broken"]);
    fs::remove_dir(place.0.path().join("dtr-lb.events.jsonl.broken")).expect("it is empty");

    let place = Place::new();
    std::os::unix::fs::symlink("/dev/full", place.path()).expect("a link in its place");
    place.agent(&["a"]);
    assert_eq!(place.read().0, [1]);
}

#[test]
fn the_file_is_bounded_and_the_newest_stay() {
    let place = Place::new();
    let events = Events::default();
    events.open(&place.path());
    let count = 4000;
    for _ in 0..count {
        events.record(Event { text: "x".repeat(1000), ..event("large") });
        // The thread is to keep up: what finds no room in its queue is not in the file.
        while events.lock().writer.as_ref().is_some_and(Writer::is_busy) {
            std::thread::yield_now();
        }
    }
    events.close();
    let size = |suffix: &str| {
        let path = place.0.path().join(format!("dtr-lb.events.jsonl{suffix}"));
        usize::try_from(fs::metadata(path).expect("it is there").len()).expect("small")
    };
    assert!(size("") <= file::SEGMENT && size(".1") <= file::SEGMENT, "{} {}", size(""), size(".1"));
    assert!(size(".1") > file::SEGMENT * 9 / 10 && 2 * file::SEGMENT < 4 << 20);
    assert_eq!(place.others(), ["dtr-lb.events.jsonl.1"]);

    let kept = events.list(&Query { limit: Some(MOST), ..Query::default() });
    assert!(kept.oldest > 1 && kept.newest == count && !kept.left_out, "{} {}", kept.oldest, kept.newest);
    assert!(events.lock().bytes <= MOST_BYTES);
    let again = Events::default();
    again.open(&place.path());
    let read = again.list(&Query { limit: Some(MOST), ..Query::default() });
    assert!(read.oldest >= kept.oldest && read.newest == count);
    assert_eq!(ids(&read), (read.oldest..=count).collect::<Vec<_>>(), "none is missing in between");
}

#[test]
fn without_a_place_they_are_in_memory_and_written_once_there_is_one() {
    let place = Place::new();
    let directory = place.0.path().join("later");
    let path = directory.join("dtr-lb.events.jsonl");
    let events = Events::default();
    events.open(&path);
    events.record(event("a"));
    assert_eq!(all(&events), [1]);
    fs::create_dir(&directory).expect("a directory");
    events.record(event("b"));
    events.close();
    let (listing, _) = Events::read(&path, &Query::default()).expect("it is there");
    assert_eq!(ids(&listing), [1, 2]);
}

#[test]
fn a_file_that_somebody_removes_is_made_anew() {
    let place = Place::new();
    let events = Events::default();
    events.open(&place.path());
    fs::remove_file(place.path()).expect("it is there");
    events.record(event("a"));
    events.close();
    assert_eq!(place.read().0, [1]);
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_full_disk_keeps_no_half_of_an_event_and_what_waits_is_written_later() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            umount2(&self.0, MntFlags::MNT_DETACH).expect("it was mounted");
        }
    }
    let place = Place::new();
    let options = Some("size=32k");
    mount(Some("none"), place.0.path(), Some("tmpfs"), MsFlags::empty(), options).expect("a small disk");
    let _mounted = Mounted(place.0.path().to_owned());
    let filler = place.0.path().join("filler");
    let events = Events::default();
    events.open(&place.path());
    // All but one page, of which an event takes more than half.
    fs::write(&filler, [0; 7 << 12]).expect("there is room for that");
    let large = || Event { text: "x".repeat(3000), ..event("large") };
    events.record(large());
    events.record(large());
    events.record(large());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while events.lock().writer.as_ref().is_some_and(Writer::is_busy) {
        assert!(std::time::Instant::now() < until, "the thread does not try");
        std::thread::yield_now();
    }
    let whole = |text: &str| text.lines().all(|line| serde_json::from_str::<Event>(line).is_ok());
    let text = place.text();
    assert!(whole(&text) && text.len() <= 4096, "{} bytes", text.len());
    fs::remove_file(&filler).expect("it is there");
    events.record(event("small"));
    events.close();
    assert_eq!(place.read(), (vec![1, 2, 3, 4], vec![]));
}

#[test]
fn what_is_asked_for_is_chosen_and_what_is_left_out_is_told() {
    let of = |service: &str, replica: &str| Event {
        service: Some(service.to_owned()),
        replica: Some(replica.to_owned()),
        details: Map::from_iter([("address".to_owned(), Value::from(format!("10.0.0.{replica}")))]),
        ..event("replica_up")
    };
    let events = Events::default();
    for (service, replica) in [("http", "1"), ("https", "1"), ("http", "2"), ("https", "2"), ("http", "1")] {
        events.record(of(service, replica));
    }
    let asked = |query: Query| {
        let listing = events.list(&query);
        assert_eq!((listing.oldest, listing.newest), (1, 5));
        (ids(&listing), listing.left_out)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(asked(Query::default()), (vec![1, 2, 3, 4, 5], false));
    assert_eq!(asked(Query { limit: Some(2), ..Query::default() }), (vec![4, 5], true));
    assert_eq!(asked(Query { limit: Some(0), ..Query::default() }), (vec![], true));
    assert_eq!(asked(Query { since: Some(3), ..Query::default() }), (vec![4, 5], false));
    assert_eq!(asked(Query { since: Some(5), ..Query::default() }), (vec![], false));
    assert_eq!(asked(Query { since: Some(u64::MAX), ..Query::default() }), (vec![], false));
    assert_eq!(asked(Query { service: some("http"), ..Query::default() }), (vec![1, 3, 5], false));
    assert_eq!(asked(Query { replica: some("2"), ..Query::default() }), (vec![3, 4], false));
    assert_eq!(asked(Query { replica: some("10.0.0.1"), ..Query::default() }), (vec![1, 2, 5], false));
    // What only names them.
    let text = "the config has changed: service `http`: replica `r9` (10.0.0.9): weight: 100 → 50";
    let changed = Events::default();
    changed.record(Event { text: text.to_owned(), ..event("config_changed") });
    let found = |service: Option<&str>, replica: Option<&str>| {
        let query = Query {
            service: service.map(str::to_owned),
            replica: replica.map(str::to_owned),
            ..Query::default()
        };
        !changed.list(&query).events.is_empty()
    };
    assert!(found(Some("http"), None) && found(None, Some("r9")) && found(Some("http"), Some("10.0.0.9")));
    assert!(
        !found(Some("https"), None) && !found(None, Some("r")) && !found(Some("http"), Some("10.0.0.90"))
    );
    let both = Query { service: some("http"), replica: some("1"), limit: Some(1), since: None };
    assert_eq!(asked(both), (vec![5], true));
    let none = Listing { events: Vec::new(), oldest: 0, newest: 0, left_out: false };
    assert_eq!(Events::default().list(&Query::default()), none);
    let json = events.list_as_json(&Query { since: Some(4), ..Query::default() }).expect("JSON");
    let read: Listing = serde_json::from_slice(&json).expect("it is one");
    assert_eq!((ids(&read), read.oldest, read.newest, read.left_out), (vec![5], 1, 5, false));
    // Some that came after `since` are kept no more.
    let mut kept = events.lock();
    kept.events.drain(..3);
    drop(kept);
    let later = |since| events.list(&Query { since: Some(since), ..Query::default() }).left_out;
    assert_eq!([later(1), later(2), later(3)], [true, true, false]);
}

/// What is recorded of these lines.
fn recorded(log: impl FnOnce()) -> Vec<Event> {
    let events = Events::default();
    let subscriber = tracing_subscriber::registry().with(events.recorder());
    tracing::subscriber::with_default(subscriber, log);
    events.list(&Query::default()).events.into_iter().map(Arc::unwrap_or_clone).collect()
}

#[test]
fn an_event_is_a_line_with_a_name_and_its_fields_are_the_details() {
    let by: Option<u32> = Some(0);
    let none: Option<&str> = None;
    let events = recorded(|| {
        info!(service = "http", "a line without a name");
        info!(event = "next_hop", "no change that anybody looks for later");
        debug!(event = "agent_check", "what the log leaves out");
        debug!(event = "order_done", done = "r1 is ready", uid = by, user = "root", "but for this");
        warn!(
            event = "replica_down",
            service = "http",
            replica = "r1",
            port = 80,
            reset = true,
            reason = "it is gone",
            token = none,
            "replica is down"
        );
    });
    let [order, down] = &events[..] else { panic!("{events:#?}") };
    assert_eq!((order.id, order.event.as_str()), (1, "order_done"));
    assert_eq!(order.by, Some(By::User { uid: 0, user: Some("root".into()) }));
    assert_eq!(
        serde_json::to_value(&order.details).expect("JSON"),
        serde_json::json!({"done": "r1 is ready"})
    );
    let json = serde_json::to_value(down).expect("JSON");
    let details = serde_json::json!({"port": 80, "reset": true, "reason": "it is gone"});
    assert_eq!(json["details"], details);
    assert_eq!((&json["service"], &json["replica"]), (&"http".into(), &"r1".into()));
    assert_eq!(json["text"], "replica r1 of service http is down: it is gone");
    assert_eq!(json["by"], Value::Null);
    let time = json["time"].as_str().expect("text");
    assert!(time.ends_with('Z') && time.len() <= "2026-01-31T03:00:00.123Z".len(), "{time}");
}

#[test]
fn who_it_was_is_a_user_or_a_name_and_an_address() {
    let by = [
        By::User { uid: 0, user: Some("root".into()) },
        By::User { uid: 1234, user: None },
        By::Http { token: "admin token".into(), address: ([192, 0, 2, 1], 4711).into() },
    ];
    let events = recorded(|| {
        for by in by.iter().map(Some).chain([None]) {
            let ByFields { uid, user, token, peer } = By::fields(by);
            info!(event = "config_reloaded", uid, user, token, peer, "reloaded the config");
        }
    });
    let found: Vec<_> = events.iter().map(|event| event.by.clone()).collect();
    assert_eq!(found, by.iter().cloned().map(Some).chain([None]).collect::<Vec<_>>());
    let words: Vec<_> = by.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["root", "uid 1234", "admin token from 192.0.2.1"]);
    let json: Vec<_> = by.iter().map(|by| serde_json::to_string(by).expect("JSON")).collect();
    assert_eq!(
        json,
        [
            r#"{"uid":0,"user":"root"}"#,
            r#"{"uid":1234,"user":null}"#,
            r#"{"token":"admin token","address":"192.0.2.1:4711"}"#
        ]
    );
    for (by, json) in by.iter().zip(json) {
        assert_eq!(serde_json::from_str::<By>(&json).expect("it is one"), *by);
    }
}

#[test]
fn long_text_is_cut() {
    let events = recorded(|| info!(event = "config_refused", error = "ä".repeat(9000), "no"));
    let error = events[0].details["error"].as_str().expect("text");
    assert!(error.len() < 4200 && error.ends_with('…'), "{}", error.len());
}

#[test]
fn a_start_says_what_it_found() {
    let started = |adopted: bool, previous: Option<&str>| {
        let events = recorded(|| {
            info!(
                event = STARTED,
                version = "1.2.3",
                config = "/c",
                adopted,
                previous,
                "the agent has started"
            );
        });
        events[0].text.clone()
    };
    assert_eq!(started(false, None), "the agent has started (version 1.2.3): with a new datapath");
    assert_eq!(
        started(true, Some("killed")),
        "the agent has started (version 1.2.3): it adopted the datapath that it found; the agent before it did not end by itself"
    );
}
