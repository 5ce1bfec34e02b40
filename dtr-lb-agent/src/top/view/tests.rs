//! Pictures as text: what an operator reads at which size.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::*;
use crate::{
    api::Ordered,
    latency::{Latency, Slow},
    status::tests::plain,
    top::state::Next,
};

/// Three replicas of `http`, of which the last is down, and two answers a second apart.
fn state() -> State {
    let mut status = plain();
    let service = &mut status.services[0];
    let named = |name: &str, last: u8| ReplicaStatus {
        name: name.into(),
        address: [10, 0, 0, last].into(),
        ..service.replicas[0].clone()
    };
    let mut down = named("r3", 13);
    down.state = "down".into();
    down.reason = Some("no answer within 2s (connecting)".into());
    down.last_probe = down.last_probe.map(|probe| crate::status::ProbeStatus {
        ok: false,
        error: Some("connection refused".into()),
        ..probe
    });
    service.replicas = vec![named("r1", 11), named("r2", 12), down];
    status.datapath.flows = 1234;
    status.verdicts = BTreeMap::from([("forwarded".into(), 0), ("answered_no_port".into(), 0)]);
    let mut later = status.clone();
    for (replica, count) in later.services[0].replicas.iter_mut().zip([10, 2500, 0]) {
        replica.new_flows += count;
        replica.flows = count;
        replica.bytes_to_client += count * 1000;
    }
    later.services[0].replicas[0].refused += 7;
    later.verdicts = BTreeMap::from([("forwarded".into(), 25_000), ("answered_no_port".into(), 3)]);
    let at = Instant::now();
    let mut state = State { host: "lb1".into(), ..State::default() };
    state.take(at, Ok(status));
    state.take(at + Duration::from_secs(1), Ok(later));
    state
}

fn picture(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory");
    terminal.draw(|frame| draw(frame, state)).expect("it cannot fail");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

/// Words of a line, whatever is between them.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn press(state: &mut State, keys: &[KeyCode]) {
    for key in keys {
        assert_eq!(state.key(KeyEvent::new(*key, KeyModifiers::NONE)), Next::Stay, "{key:?}");
    }
}

#[test]
fn at_80_by_24_all_that_matters_is_there() {
    let lines = picture(&state(), 80, 24);
    assert_eq!(lines[0], "dtr-lb 0 on lb1  eth0 xdp  flows 1234 of 1024");
    assert_eq!(lines[1], "new 2510/s  failed 7/s  packets 0/s  to replicas 0B/s  to clients 2.5MB/s");
    assert_eq!(words(&lines[2]), "replica state weight flows new/s fail/s to repl to cli probe");
    assert_eq!(lines[3], "http 10.0.0.10:80 nat UP");
    assert_eq!(words(&lines[4]), "r1 up 100 10 10 7 0 10.0k 2.0 ms");
    assert_eq!(words(&lines[5]), "r2 up 100 2500 2500 0 0 2.5M 2.0 ms");
    assert_eq!(words(&lines[6]), "r3 down 100 0 0 0 0 0 failed");
    assert_eq!(lines[7], "    no answer within 2s (connecting); connection refused");
    assert_eq!(lines[21], "r1 10.0.0.11:80: up since 1970-01-01 00:00:00Z; status 200");
    assert_eq!(lines[22], "packets/s: forwarded 25.0k answered_no_port 3");
    assert_eq!(lines[23], "q quit  ? help  s sort: config  j/k select  d drain  r ready  m maint  u undo");
}

#[test]
fn a_slow_replica_is_named_below_it() {
    let mut state = state();
    let service = &mut state.last.as_mut().expect("an answer").status.services[0];
    let text = "r1 takes 5 times as long as its peers to accept a connection (12 ms; theirs 2.4 ms)";
    service.slow = vec![Slow { replica: "r1".into(), times: 5.0, text: text.into() }];
    service.replicas[0].connect_ms = Some(Latency { p50: 12.3, p99: 80.0, mean: 20.0 });
    let lines = picture(&state, 100, 24);
    assert_eq!(lines[5], format!("    {text}"));
    let of_the_selected =
        "r1 10.0.0.11:80: up since 1970-01-01 00:00:00Z; accepts in 12/80 ms (p50/p99); status 200";
    assert_eq!(lines[21], of_the_selected);
}

#[test]
fn a_wide_one_has_addresses() {
    let lines = picture(&state(), 120, 20);
    assert_eq!(words(&lines[2]), "replica address state weight flows new/s fail/s to repl to cli probe");
    assert_eq!(words(&lines[4]), "r1 10.0.0.11:80 up 100 10 10 7 0 10.0k 2.0 ms");
}

#[test]
fn any_size_is_drawn() {
    let mut state = state();
    for help in [false, true] {
        state.help = help;
        for (width, height) in [(1, 1), (3, 2), (10, 5), (40, 8), (500, 200)] {
            assert_eq!(picture(&state, width, height).len(), usize::from(height));
        }
    }
}

#[test]
fn s_sorts_by_the_next_column() {
    let mut state = state();
    let order = |state: &State| {
        let rows = state.rows();
        let name = |row: &Row<'_>| match row {
            Row::Replica { replica, .. } => Some(replica.name.clone()),
            Row::Service(_) | Row::Why(..) | Row::Slow(_) => None,
        };
        rows.iter().filter_map(name).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push((state.order.name(), order(&state).concat()));
        press(&mut state, &[KeyCode::Char('s')]);
    }
    let want = [
        ("config", "r1r2r3"),
        ("new/s", "r2r1r3"),
        ("flows", "r2r1r3"),
        ("bytes/s", "r2r1r3"),
        ("failed/s", "r1r2r3"),
        ("trouble", "r3r1r2"),
    ];
    assert_eq!(seen, want.map(|(name, order)| (name, order.to_owned())));
    assert_eq!(state.order.name(), "config", "and round again");
}

#[test]
fn the_selected_replica_is_described_and_stays_in_the_table() {
    let mut state = state();
    press(&mut state, &[KeyCode::Down, KeyCode::Down, KeyCode::Down, KeyCode::PageDown]);
    let detail = &picture(&state, 120, 24)[21];
    assert_eq!(
        detail,
        "r3 10.0.0.13:80: down since 1970-01-01 00:00:00Z; no answer within 2s (connecting); connection refused"
    );
    // Only a part of the table fits; the part with the selected one is shown.
    let small = picture(&state, 80, 8);
    assert!(small.iter().any(|line| line.starts_with("  r3")), "{small:#?}");
    press(&mut state, &[KeyCode::Up, KeyCode::Home]);
    let small = picture(&state, 80, 8);
    assert!(small.iter().any(|line| line.starts_with("http")), "{small:#?}");
    // The replica is gone in the next status.
    press(&mut state, &[KeyCode::End]);
    let mut status = plain();
    status.services[0].replicas.truncate(1);
    state.take(Instant::now(), Ok(status));
    assert_eq!(state.selected, 0);
}

#[test]
fn an_agent_that_is_gone_is_told_and_the_last_answer_stays() {
    let mut state = state();
    let at = Instant::now() + Duration::from_secs(5);
    state.take(at, Err("no agent answers on `/run/x.sock`".into()));
    let lines = picture(&state, 80, 24);
    assert_eq!(lines[1], "no answer, retrying every second: no agent answers on `/run/x.sock`");
    assert_eq!(words(&lines[5]), "r2 up 100 2500 - - - - 2.0 ms");
    // A rate across the gap would be none of now.
    state.take(at + Duration::from_secs(60), Ok(plain()));
    assert_eq!(picture(&state, 80, 24)[1], "rates: from the second answer on");
    state.take(at + Duration::from_secs(61), Ok(plain()));
    assert!(picture(&state, 80, 24)[1].starts_with("new 0/s"));
}

#[test]
fn trouble_of_the_datapath_is_in_the_first_line() {
    let mut state = state();
    let mut status = plain();
    status.datapath.attach[0].present = false;
    status.datapath.up_to_date = false;
    state.take(Instant::now(), Ok(status.clone()));
    assert_eq!(
        picture(&state, 80, 24)[0],
        "dtr-lb 0 on lb1  eth0 xdp MISSING  flows 0 of 1024  TABLES NOT UP TO DATE"
    );
    status.datapath.attach.clear();
    state.take(Instant::now(), Ok(status));
    assert!(picture(&state, 80, 24)[0].contains("not attached"));
}

#[test]
fn help_comes_and_goes() {
    let mut state = state();
    press(&mut state, &[KeyCode::Char('?')]);
    let help = picture(&state, 80, 24);
    for line in HELP {
        assert!(help.iter().any(|shown| shown.contains(line)), "`{line}` is cut off: {help:#?}");
    }
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(picture(&state, 80, 24)[3], "http 10.0.0.10:80 nat UP");
    for key in [
        KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE),
        KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE),
        KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
    ] {
        assert_eq!(state.key(key), Next::Quit, "{key:?}");
    }
}

#[test]
fn numbers_have_five_letters_at_most() {
    for (number, text) in [
        (0.0, "0"),
        (0.25, "0.2"),
        (9.94, "9.9"),
        (9.96, "10"),
        (9999.0, "9999"),
        (9999.6, "10.0k"),
        (99_949.0, "99.9k"),
        (99_951.0, "100k"),
        (999_400.0, "999k"),
        (999_600.0, "1.0M"),
        (1_048_576.0, "1.0M"),
        (123_456_789.0, "123M"),
        (1e9, "1.0G"),
        (4e12, "4000G"),
    ] {
        assert_eq!(count(number), text, "{number}");
    }
}

#[test]
fn what_is_asked_and_what_became_of_it_is_shown() {
    let mut state = state();
    press(&mut state, &[KeyCode::Down, KeyCode::Char('d')]);
    assert_eq!(picture(&state, 80, 24)[23], "drain r2 of http? y/n");
    press(&mut state, &[KeyCode::Char('n')]);
    assert!(picture(&state, 80, 24)[23].starts_with("q quit"));
    let done = vec![
        "service `http`: replica r2 (10.0.0.12) gets no new connections; it has 2500 connections left"
            .to_owned(),
    ];
    state.done(Ok(Ordered { done, notes: Vec::new() }));
    let lines = picture(&state, 80, 24);
    assert_eq!(
        [lines[21].as_str(), lines[22].as_str()],
        ["service `http`: replica r2 (10.0.0.12) gets no new connections; it has 2500", "connections left"]
    );
    assert!(lines[20].starts_with("packets/s:"), "{lines:#?}");
    state.done(Err("not permitted to use `/run/dtr-lb/dtr-lb.sock`".into()));
    assert_eq!(picture(&state, 80, 24)[22], "not done: not permitted to use `/run/dtr-lb/dtr-lb.sock`");
    // Until the next key.
    press(&mut state, &[KeyCode::Up]);
    assert!(picture(&state, 80, 24)[22].starts_with("packets/s:"));
}
