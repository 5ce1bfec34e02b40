//! Who gets a place and who makes room, as scripts and as properties of any script.

use proptest::prelude::*;

use super::*;

const PATIENCE: Patience =
    Patience { fresh: Duration::from_secs(1), slow: Duration::from_secs(20), pause: Duration::from_secs(2) };

fn source(last: u8) -> Source {
    Source::V4([192, 0, 2, last].into())
}

/// Three for loopback; for others five, of which three for one source.
fn places() -> Places<&'static str> {
    let connections = Room { local: 3, others: 5, source: 3 };
    Places::new(connections, Room { local: 1, others: 2, source: 1 }, PATIENCE)
}

/// Seconds after a moment of its own.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn at(self, seconds: u64) -> Instant {
        self.0 + Duration::from_secs(seconds)
    }
}

fn clock() -> Clock {
    Clock(Instant::now())
}

#[track_caller]
fn admitted(places: &mut Places<&'static str>, from: Source, name: &'static str, now: Instant) -> PlaceId {
    let (id, pushed_out) = places.admit(from, name, now).expect("there is a place");
    assert_eq!(pushed_out, None, "{name} needs nobody's");
    id
}

/// Who had to go for `name`.
#[track_caller]
fn pushed_out_by(
    places: &mut Places<&'static str>,
    from: Source,
    name: &'static str,
    now: Instant,
) -> &'static str {
    let (_, pushed_out) = places.admit(from, name, now).expect("there is a place");
    pushed_out.expect("somebody has to go").handle
}

#[test]
fn a_source_that_has_all_it_may_have_pushes_out_its_own_oldest() {
    let (clock, mut places) = (clock(), places());
    admitted(&mut places, source(2), "another's", clock.at(0));
    for (name, second) in [("first", 1), ("second", 2), ("third", 3)] {
        admitted(&mut places, source(1), name, clock.at(second));
    }
    assert_eq!(pushed_out_by(&mut places, source(1), "fourth", clock.at(4)), "first");
    assert_eq!(pushed_out_by(&mut places, source(1), "fifth", clock.at(5)), "second");
    admitted(&mut places, source(3), "there is one for this source", clock.at(6));
}

#[test]
fn loopback_has_places_that_others_do_not_get() {
    let (clock, mut places) = (clock(), places());
    for (number, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        admitted(&mut places, source(number as u8), name, clock.at(number as u64));
    }
    admitted(&mut places, Source::Local, "local, the oldest", clock.at(0));
    assert_eq!(pushed_out_by(&mut places, source(9), "f", clock.at(6)), "a");
    admitted(&mut places, Source::Local, "local", clock.at(1));
    admitted(&mut places, Source::Local, "local", clock.at(1));
    assert_eq!(pushed_out_by(&mut places, Source::Local, "one more", clock.at(8)), "local, the oldest");
}

#[test]
fn the_order_is_half_sent_then_delayed_then_idle_and_each_by_age() {
    let (clock, mut places) = (clock(), places());
    let phases = [
        ("idle later", Phase::Idle, 5),
        ("idle", Phase::Idle, 1),
        ("delayed", Phase::Delayed, 6),
        ("half sent", Phase::HalfSent, 8),
        ("answering", Phase::Answering, 0),
    ];
    for (number, (name, phase, since)) in phases.into_iter().enumerate() {
        let id = admitted(&mut places, source(number as u8), name, clock.at(8));
        places.enter(id, phase, clock.at(since));
    }
    // Each newcomer is answered at once, so that it is in nobody's way.
    let mut gone = Vec::new();
    for _ in 0..3 {
        let (id, pushed_out) = places.admit(source(9), "newcomer", clock.at(9)).expect("there is a place");
        gone.push(pushed_out.expect("somebody has to go").handle);
        places.enter(id, Phase::Answering, clock.at(9));
    }
    assert_eq!(gone, ["half sent", "delayed", "idle"]);
    assert_eq!(places.admit(source(9), "a fourth", clock.at(9)).err(), Some(Full::Source));
    assert_eq!(pushed_out_by(&mut places, source(8), "of another source", clock.at(9)), "idle later");
}

#[test]
fn an_answer_is_left_in_peace_until_it_has_taken_too_long() {
    let (clock, mut places) = (clock(), places());
    for number in 0..5 {
        let id = admitted(&mut places, source(number), "answering", clock.at(number.into()));
        places.enter(id, Phase::Answering, clock.at(number.into()));
    }
    assert_eq!(places.admit(source(9), "too early", clock.at(19)).err(), Some(Full::Others));
    let (_, pushed_out) = places.admit(source(9), "newcomer", clock.at(20)).expect("there is a place");
    let pushed_out = pushed_out.expect("somebody has to go");
    assert_eq!((pushed_out.source, pushed_out.phase), (source(0), Phase::Answering));
}

/// Three connections of a source: one answer takes until second 10, the next begins `pause` seconds later.
fn two_answers(pause: u64) -> (Clock, Places<&'static str>) {
    let (clock, mut places) = (clock(), places());
    let two = admitted(&mut places, source(1), "two answers", clock.at(0));
    places.enter(two, Phase::Answering, clock.at(0));
    for name in ["second", "third"] {
        let id = admitted(&mut places, source(1), name, clock.at(1));
        places.enter(id, Phase::Answering, clock.at(1));
    }
    places.enter(two, Phase::Idle, clock.at(10));
    places.enter(two, Phase::HalfSent, clock.at(10));
    places.enter(two, Phase::Answering, clock.at(10 + pause));
    (clock, places)
}

#[test]
fn a_moment_between_two_answers_does_not_make_the_second_one_young() {
    let (clock, mut places) = two_answers(1);
    assert_eq!(places.admit(source(1), "too early", clock.at(19)).err(), Some(Full::Source));
    assert_eq!(pushed_out_by(&mut places, source(1), "newcomer", clock.at(20)), "two answers");

    let (clock, mut places) = two_answers(2);
    assert_eq!(places.admit(source(1), "too early", clock.at(20)).err(), Some(Full::Source));
    assert_eq!(pushed_out_by(&mut places, source(1), "newcomer", clock.at(21)), "second");
}

#[test]
fn a_source_that_has_none_gets_a_place_of_the_one_that_has_the_most() {
    let (clock, mut places) = (clock(), places());
    let answering = [
        (source(1), "an only one, the oldest", 0),
        (source(2), "of two", 3),
        (source(2), "of two, older", 2),
        (source(3), "of two others", 4),
        (source(3), "of two others, the youngest", 5),
        (Source::Local, "loopback 1", 0),
        (Source::Local, "loopback 2", 0),
        (Source::Local, "loopback 3", 0),
    ];
    for (from, name, since) in answering {
        let id = admitted(&mut places, from, name, clock.at(since));
        places.enter(id, Phase::Answering, clock.at(since));
    }
    assert_eq!(places.admit(source(1), "it has one", clock.at(6)).err(), Some(Full::Others));
    let (id, pushed_out) = places.admit(source(4), "it has none", clock.at(6)).expect("there is a place");
    let pushed_out = pushed_out.expect("somebody has to go");
    assert_eq!((pushed_out.handle, pushed_out.turn), ("of two, older", Turn::MostPlaces));
    places.enter(id, Phase::Answering, clock.at(6));
    let (id, pushed_out) = places.admit(source(5), "nor this", clock.at(6)).expect("there is a place");
    assert_eq!(pushed_out.expect("somebody has to go").handle, "of two others");
    places.enter(id, Phase::Answering, clock.at(6));
    assert_eq!(places.admit(source(6), "all have one", clock.at(6)).err(), Some(Full::Others));
}

#[test]
fn a_request_keeps_its_place_until_its_answer_is_with_the_kernel() {
    for next in Phase::ALL {
        let (clock, mut places) = (clock(), places());
        let one = admitted(&mut places, source(1), "one", clock.at(0));
        let other = admitted(&mut places, source(1), "other", clock.at(0));
        assert_eq!(places.answer(one, clock.at(1)), Ok(None));
        assert_eq!(places.flushed(one, clock.at(1)), None, "a part of it");
        places.answered(one);
        places.enter(one, next, clock.at(2));
        assert_eq!(places.phase(one), Some(Phase::Answering), "{next:?}");
        assert_eq!(places.answer(other, clock.at(3)), Err(Full::Source), "{next:?}");
        places.enter(other, Phase::Idle, clock.at(3));
        assert_eq!(places.flushed(one, clock.at(4)), Some(next));
        assert_eq!(places.phase(one), Some(next));
        let expected = if next == Phase::Answering { Err(Full::Source) } else { Ok(None) };
        assert_eq!(places.answer(other, clock.at(5)), expected, "{next:?}");
        assert_eq!(places.flushed(one, clock.at(6)), None, "it is flushed already");
    }
}

#[test]
fn one_that_has_just_come_stays_while_another_can_go() {
    let (clock, mut places) = (clock(), places());
    let idle = admitted(&mut places, source(1), "idle", clock.at(0));
    admitted(&mut places, source(1), "half sent", clock.at(1));
    places.enter(idle, Phase::Idle, clock.at(1));
    // A burst: nothing of it has been read yet.
    admitted(&mut places, source(1), "burst 1", clock.at(9));
    assert_eq!(pushed_out_by(&mut places, source(1), "burst 2", clock.at(9)), "half sent");
    assert_eq!(pushed_out_by(&mut places, source(1), "burst 3", clock.at(9)), "idle");
    assert_eq!(pushed_out_by(&mut places, source(1), "burst 4", clock.at(9)), "burst 1");
}

#[test]
fn bytes_that_drip_in_do_not_make_a_half_sent_request_younger() {
    let (clock, mut places) = (clock(), places());
    let first = admitted(&mut places, source(1), "drips", clock.at(0));
    admitted(&mut places, source(1), "second", clock.at(1));
    admitted(&mut places, source(1), "third", clock.at(2));
    places.enter(first, Phase::HalfSent, clock.at(3));
    assert_eq!(pushed_out_by(&mut places, source(1), "fourth", clock.at(4)), "drips");
}

#[test]
fn requests_have_places_of_their_own_until_they_are_answered() {
    let (clock, mut places) = (clock(), places());
    let one = admitted(&mut places, source(1), "one", clock.at(0));
    let same = admitted(&mut places, source(1), "of the same source", clock.at(0));
    assert_eq!(places.answer(one, clock.at(1)), Ok(None));
    assert_eq!(places.answer(same, clock.at(1)), Err(Full::Source));
    places.enter(same, Phase::Idle, clock.at(1));
    let other = admitted(&mut places, source(2), "other", clock.at(0));
    let third = admitted(&mut places, source(3), "third", clock.at(0));
    let local = admitted(&mut places, Source::Local, "local", clock.at(0));
    assert_eq!(places.answer(other, clock.at(2)), Ok(None));
    assert_eq!(places.answer(third, clock.at(2)), Err(Full::Others));
    assert_eq!(places.answer(local, clock.at(2)), Ok(None), "it has one of its own");
    places.enter(one, Phase::Idle, clock.at(3));
    assert_eq!(places.answer(same, clock.at(3)), Ok(None));
    let overdue = places.answer(third, clock.at(22)).expect("one is overdue");
    assert_eq!(overdue.expect("it has to go").handle, "other");
}

#[test]
fn a_connection_that_was_pushed_out_changes_nothing_any_more() {
    let (clock, mut places) = (clock(), places());
    let first = admitted(&mut places, source(1), "first", clock.at(0));
    admitted(&mut places, source(1), "second", clock.at(1));
    admitted(&mut places, source(1), "third", clock.at(2));
    assert_eq!(pushed_out_by(&mut places, source(1), "fourth", clock.at(3)), "first");
    places.enter(first, Phase::Answering, clock.at(4));
    assert_eq!(places.answer(first, clock.at(4)), Ok(None));
    places.leave(first);
    assert_eq!(places.phase(first), None);
    assert_eq!((places.count(Phase::HalfSent), places.count(Phase::Answering)), (3, 0));
}

/// What can happen; numbers choose among those that are open.
#[derive(Clone, Debug)]
enum Event {
    Connect(u8),
    Enter(usize, Phase),
    Answer(usize),
    Answered(usize),
    Flushed(usize),
    Leave(usize),
    Later(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Event::Connect),
        3 => (any::<usize>(), prop::sample::select(&Phase::ALL[..])).prop_map(|(one, phase)| Event::Enter(one, phase)),
        2 => any::<usize>().prop_map(Event::Answer),
        1 => any::<usize>().prop_map(Event::Answered),
        1 => any::<usize>().prop_map(Event::Flushed),
        1 => any::<usize>().prop_map(Event::Leave),
        1 => (1..30_u64).prop_map(Event::Later),
    ]
}

proptest! {
    #[test]
    fn limits_hold_and_none_is_refused_that_could_have_a_half_sent_ones_place(
        events in prop::collection::vec(event(), 1..200),
    ) {
        let (connections, requests) = (Room { local: 3, others: 5, source: 3 }, Room { local: 1, others: 2, source: 1 });
        let mut places = Places::new(connections, requests, PATIENCE);
        let mut now = Instant::now();
        let mut handles = 0_u32;
        for event in events {
            let open: Vec<_> = places.taken.keys().copied().collect();
            let chosen = |one: usize| (!open.is_empty()).then(|| open[one % open.len()]);
            let is_held = |one: &Taken<u32>| one.requests && one.unflushed.is_some();
            let held = places.taken.iter().filter(|(_, one)| is_held(one)).map(|(id, _)| *id);
            let mut held: Vec<_> = held.collect();
            match event {
                Event::Connect(from) => {
                    let from = if from == 0 { Source::Local } else { source(from) };
                    let own = places.taken.values().filter(|one| one.source == from).count();
                    let own_room = if from == Source::Local { connections.local } else { connections.source };
                    let concerned = |other: Source| {
                        if own >= own_room { other == from } else { other != Source::Local }
                    };
                    let taken = places.taken.values().filter(|one| concerned(one.source));
                    let order = |one: &Taken<u32>| {
                        let fresh = one.phase == Phase::HalfSent && one.since + PATIENCE.fresh > now;
                        (fresh, one.phase)
                    };
                    let phases: Vec<_> = taken.clone().map(|one| one.phase).collect();
                    let stays = |one: &Taken<u32>| one.phase == Phase::Answering && one.since + PATIENCE.slow > now;
                    let first = taken.filter(|one| !stays(one)).min_by_key(|one| order(one)).map(|one| one.phase);
                    let mut sizes = BTreeMap::<_, usize>::new();
                    for one in places.taken.values().filter(|one| one.source != Source::Local) {
                        *sizes.entry(one.source.to_string()).or_default() += 1;
                    }
                    let most = sizes.values().copied().max().unwrap_or_default();
                    handles += 1;
                    match places.admit(from, handles, now) {
                        Ok((_, Some(PushedOut { source, phase, turn: Turn::Phase(turn), .. }))) => {
                            prop_assert!(concerned(source));
                            prop_assert_eq!((Some(phase), turn), (first, phase), "the first phase goes first");
                        }
                        Ok((_, Some(PushedOut { source, turn: Turn::MostPlaces, .. }))) => {
                            prop_assert!(concerned(source) && first.is_none() && own == 0 && most > 1);
                            prop_assert_eq!(sizes[&source.to_string()], most);
                        }
                        Ok((_, None)) => prop_assert!(own < own_room),
                        Err(_) => prop_assert!(phases.iter().all(|phase| *phase == Phase::Answering)),
                    }
                }
                Event::Enter(one, phase) => {
                    if let Some(one) = chosen(one) {
                        places.enter(one, phase, now);
                    }
                }
                Event::Answer(one) => {
                    if let Some(one) = chosen(one) {
                        let _ = places.answer(one, now);
                    }
                }
                Event::Answered(one) => {
                    if let Some(one) = chosen(one) {
                        places.answered(one);
                    }
                }
                Event::Flushed(one) => {
                    if let Some(one) = chosen(one) {
                        let _ = places.flushed(one, now);
                        held.retain(|id| *id != one);
                    }
                }
                Event::Leave(one) => {
                    if let Some(one) = chosen(one) {
                        places.leave(one);
                    }
                }
                Event::Later(seconds) => now += Duration::from_secs(seconds),
            }
            let still_held = |id| places.taken.get(id).is_none_or(is_held);
            prop_assert!(held.iter().all(still_held), "an answer is held without a place");
            for (room, only_requests) in [(connections, false), (requests, true)] {
                let taken: Vec<_> = places.taken.values().filter(|one| one.requests || !only_requests).collect();
                let local = taken.iter().filter(|one| one.source == Source::Local).count();
                prop_assert!(local <= room.local && taken.len() - local <= room.others);
                for from in 1..4 {
                    prop_assert!(taken.iter().filter(|one| one.source == source(from)).count() <= room.source);
                }
            }
            prop_assert!(places.taken.values().all(|one| !one.requests || one.phase == Phase::Answering));
        }
    }
}
