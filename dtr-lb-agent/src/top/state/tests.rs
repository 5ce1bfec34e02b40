//! Keys, and what follows from them.

use super::*;
use crate::status::tests::plain;

/// Two services with r1 and r2 each.
fn state() -> State {
    let mut status = plain();
    let r2 = ReplicaStatus { name: "r2".into(), flows: 3, ..status.services[0].replicas[0].clone() };
    status.services[0].replicas.push(r2);
    let https = ServiceStatus { name: "https".into(), ..status.services[0].clone() };
    status.services.push(https);
    let mut state = State::default();
    state.take(Instant::now(), Ok(status));
    state
}

fn press(state: &mut State, keys: &str) -> Vec<Next> {
    keys.chars().map(|key| state.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE))).collect()
}

fn question(state: &State) -> Option<&str> {
    state.asking.as_ref().map(|question| question.text.as_str())
}

#[test]
fn an_order_is_about_the_selected_replica_of_its_service_and_only_y_gives_it() {
    let of = || (Replicas(vec!["r2".into()]), Some("https".to_owned()));
    for (key, text, order) in [
        ('d', "drain r2 of https? y/n", {
            let (replica, service) = of();
            ReplicaOrder::Drain { replica, service }
        }),
        ('r', "ready r2 of https? y/n", {
            let (replica, service) = of();
            ReplicaOrder::Ready { replica, service }
        }),
        ('m', "maint r2 of https and reset its 3 connections? y/n", {
            let (replica, service) = of();
            ReplicaOrder::Maint { replica, service }
        }),
    ] {
        let mut state = state();
        press(&mut state, "jjj");
        for other in ['n', 'x', 'd', 'q'] {
            assert_eq!(press(&mut state, &format!("{key}{other}")), [Next::Stay, Next::Stay]);
            assert_eq!(question(&state), None, "{other}");
        }
        press(&mut state, &key.to_string());
        assert_eq!(question(&state), Some(text));
        assert_eq!(press(&mut state, "y"), [Next::Do(Act::Order(order))]);
        assert_eq!(press(&mut state, "y"), [Next::Stay], "it is given once");
    }
}

#[test]
fn undo_names_what_it_would_take_back() {
    let mut state = state();
    press(&mut state, "u");
    assert_eq!(question(&state), None);
    assert!(state.told.as_ref().is_some_and(|told| told.text == "there is no order to take back"));
    if let Some(sample) = &mut state.last {
        let order = "replica drain r1 r2".to_owned();
        sample.status.last_order = Some(LastOrder { order, at: jiff::Timestamp::UNIX_EPOCH });
    }
    press(&mut state, "u");
    assert_eq!(question(&state), Some("take back `replica drain r1 r2`? y/n"));
    assert_eq!(press(&mut state, "y"), [Next::Do(Act::Undo)]);
}

#[test]
fn nothing_is_asked_behind_the_help_or_without_a_replica_and_ctrl_c_always_quits() {
    let mut state = state();
    press(&mut state, "?d");
    assert_eq!(question(&state), None);
    press(&mut state, "?d");
    assert!(question(&state).is_some());
    assert_eq!(state.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Quit);
    let mut empty = State::default();
    press(&mut empty, "d");
    assert!(empty.asking.is_none() && empty.told.is_some());
}
