//! What is told and measured of connections: when they begin, how long each end took to answer, what they carried, how they ended.

use dtr_lb_common::{
    abi::{DURATION_BOUNDS, End, FlowStats, HANDSHAKE_BOUNDS, Mode, Traffic, flow_wanted},
    flow_table::told::{News, Told},
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Connection, Engine as _, Host, Plan, Play, accounts,
    frames::{Kind, Segment},
    host::SECOND,
    world::{ALICE, BOB, HALF_OPEN, HTTPS, IDLE, one_replica, two_replicas},
};

fn host(plan: Plan) -> Host {
    let mut host = Host::default();
    host.apply(&one_replica(plan));
    host
}

fn play(plan: Plan, host: &mut Host) -> Play<'_> {
    Play::new("milestones", plan, host, Some(one_replica(plan)))
}

/// What was told so far.
fn told(host: &Host) -> Vec<(News, Told)> {
    accounts::balance(&host.model).expect("no packet is missing");
    host.model.flow_events.borrow().iter().map(|event| Told::of(event).expect("it says something")).collect()
}

fn ends(host: &Host) -> Vec<News> {
    told(host).into_iter().map(|(news, _)| news).collect()
}

fn stats(host: &Host) -> FlowStats {
    host.model.flow_stats.borrow().get(&1).copied().unwrap_or_default()
}

fn wait(host: &Host, micros: u32) {
    host.model.micros.set(host.model.micros.get().wrapping_add(micros));
}

/// A handshake in which the replica takes so long to answer, and then the client; in microseconds.
fn shakes_hands(plan: Plan, host: &mut Host, replica: u32, client: u32) -> Connection {
    let alice = play(plan, host).opens("SYN", ALICE, HTTPS);
    wait(host, replica);
    play(plan, host).forwards("SYN-ACK", &alice.replica(Kind::SynAck));
    wait(host, client);
    play(plan, host).forwards("ACK", &alice.client(Kind::Ack));
    alice
}

#[test]
fn a_connection_is_measured_in_its_handshake_and_told_at_both_ends() {
    for plan in Plan::ALL {
        let mut host = host(*plan);
        host.model.micros.set(u32::MAX - 100);
        let alice = shakes_hands(*plan, &mut host, 1_500, 30_000);
        assert_eq!(ends(&host), [News::Started]);
        let mut play = play(*plan, &mut host);
        play.talks("data", &alice);
        play.elapse(std::time::Duration::from_secs(7));
        play.forwards("FIN", &alice.client(Kind::Fin));
        play.forwards("FIN, too", &alice.replica(Kind::Fin));
        play.forwards("ACK", &alice.client(Kind::Ack));
        let all = told(&host);
        let [(News::Started, _), (News::Ended(End::CLOSED), end)] = &all[..] else { panic!("{all:?}") };
        assert_eq!((end.client, end.to.reversed()), (alice.client_key(), alice.replica_key()));
        assert_eq!((end.to_replica.packets, end.to_client.packets), (5, 3), "{plan:?}");
        let counters = host.model.replica_counters(1);
        assert_eq!([end.to_replica, end.to_client], [counters.to_replica, counters.to_client]);
        let off =
            |micros: Option<u32>, wanted: u32| micros.expect("measured").abs_diff(wanted) * 500 <= wanted;
        assert!(off(end.connect, 1_500) && off(end.client_rtt, 30_000), "{end:?}");
        assert_eq!(end.attempts, Some(1));
        let now = host.model.flow_events.borrow()[1].now;
        assert_eq!(now.wrapping_sub(end.opened) / SECOND, 7);
        let stats = stats(&host);
        assert_eq!(stats.ends[End::CLOSED.0 as usize], 1);
        let bucket =
            |bounds: &[u32], value| bounds.iter().position(|bound| value <= *bound).expect("a bound");
        for (histogram, bounds, value) in [
            (stats.connect, HANDSHAKE_BOUNDS, 1_500),
            (stats.client_rtt, HANDSHAKE_BOUNDS, 30_000),
            (stats.duration, DURATION_BOUNDS, 7_000),
        ] {
            assert_eq!((histogram.buckets[bucket(&bounds, value)], histogram.buckets.iter().sum()), (1, 1));
            assert!(histogram.sum.abs_diff(value.into()) <= 8, "{} is not {value}", histogram.sum);
        }
    }
}

/// What each end sends, and how the connection ended by that.
#[test]
fn an_end_has_its_reason() {
    type Ends = fn(&mut Play<'_>, &Connection);
    let cases: [(Ends, End); 5] = [
        (|play, alice| play.forwards("RST", &alice.client(Kind::Rst)), End::CLIENT_RESET),
        (|play, alice| play.forwards("RST", &alice.replica(Kind::Rst)), End::REPLICA_RESET),
        (
            |play, _| {
                play.elapse(IDLE + std::time::Duration::from_secs(1));
                play.sweep();
            },
            End::IDLE,
        ),
        (
            |play, alice| {
                play.change(|world| world.replicas(HTTPS)[0].reset = true);
                play.resets(
                    "data of a dead replica's",
                    &alice.client(Kind::Data).sent,
                    Verdict::AnsweredReset,
                );
            },
            End::REPLICA_DOWN,
        ),
        (
            |play, alice| {
                play.forwards("FIN", &alice.replica(Kind::Fin));
                play.forwards("FIN, too", &alice.client(Kind::Fin));
                play.forwards("ACK", &alice.replica(Kind::Ack));
            },
            End::CLOSED,
        ),
    ];
    for plan in Plan::ALL {
        for (number, (ends_it, end)) in cases.iter().enumerate() {
            let mut host = host(*plan);
            let alice = play(*plan, &mut host).establishes(ALICE, HTTPS);
            ends_it(&mut play(*plan, &mut host), &alice);
            assert_eq!(ends(&host), [News::Started, News::Ended(*end)], "{plan:?}, case {number}");
            // Once, whatever becomes of what is left.
            host.elapse(IDLE);
            host.sweep();
            assert_eq!(ends(&host).len(), 2, "{plan:?}, case {number}");
            assert_eq!(stats(&host).ends.iter().sum::<u64>(), 1);
        }
    }
}

#[test]
fn what_never_began_says_why() {
    for plan in Plan::ALL {
        let silent = |play: &mut Play<'_>| {
            let _ = play.opens("SYN", ALICE, HTTPS);
        };
        let unfinished = |play: &mut Play<'_>| {
            let alice = play.opens("SYN", ALICE, HTTPS);
            play.forwards("SYN-ACK", &alice.replica(Kind::SynAck));
        };
        for (begins, end) in
            [(&silent as &dyn Fn(&mut Play<'_>), End::UNANSWERED), (&unfinished, End::ABANDONED)]
        {
            let mut host = host(*plan);
            begins(&mut play(*plan, &mut host));
            host.elapse(HALF_OPEN + std::time::Duration::from_secs(1));
            host.sweep();
            assert_eq!(ends(&host), [News::Ended(end)], "{plan:?}");
            assert!(end.fails());
        }
        let mut host = host(*plan);
        let alice = play(*plan, &mut host).opens("SYN", ALICE, HTTPS);
        play(*plan, &mut host).forwards("refusal", &alice.replica(Kind::Refusal));
        assert_eq!(ends(&host), [News::Ended(End::REFUSED)], "{plan:?}");
        // No replica at all.
        let mut none = play(*plan, &mut host);
        none.change(|world| world.replicas(HTTPS).iter_mut().for_each(|replica| replica.weight = 0));
        let syn = none.segment(BOB, HTTPS, Kind::Syn);
        none.resets("SYN", &syn, Verdict::AnsweredRefused);
        let last = *told(&host).last().expect("it was told");
        assert_eq!(last.0, News::Failed(Verdict::AnsweredRefused));
        assert_eq!((last.1.client.source_port.get(), last.1.replica), (40_001, 0));
    }
}

#[test]
fn one_that_a_second_replica_takes_is_one_connection_of_two_attempts() {
    for plan in Plan::ALL {
        let mut host = Host::default();
        host.model.micros.set(1);
        host.apply(&two_replicas(*plan));
        let mut play = Play::new("milestones", *plan, &mut host, Some(two_replicas(*plan)));
        let first = play.opens("SYN", ALICE, HTTPS);
        let syn = first.client(Kind::Syn).sent;
        let second = play.replays("refusal", ALICE, &first.replica(Kind::Refusal).sent.bytes(), &syn);
        play.accepts(&second);
        play.forwards("RST", &second.client(Kind::Rst));
        let all = told(&host);
        let [(News::Started, _), (News::Ended(End::CLIENT_RESET), end)] = &all[..] else { panic!("{all:?}") };
        assert_eq!((end.attempts, end.to.reversed()), (Some(2), second.replica_key()));
    }
}

/// Its first handshake has not failed, and nobody has crowded it out: it has the same port.
#[test]
fn a_client_that_asks_anew_has_ended_nothing() {
    for plan in Plan::ALL {
        let mut host = host(*plan);
        let first = play(*plan, &mut host).opens("SYN", ALICE, HTTPS);
        let mut play = play(*plan, &mut host);
        let syn = play.segment(ALICE, HTTPS, Kind::Syn);
        let syn = Segment { sequence: syn.sequence.wrapping_add(1_000_000), ..syn };
        let second = play.opens_with("another SYN", ALICE, &syn);
        assert_eq!(second.replica_key(), first.replica_key());
        assert_eq!((ends(&host), stats(&host).ends), (vec![], Default::default()), "{plan:?}");
    }
}

/// Of a replica that answers directly nobody sees more of the end than the client's FIN.
#[test]
fn a_client_that_closes_and_opens_another_has_closed_one_of_a_direct_mode() {
    for plan in Plan::ALL {
        let mut host = Host::default();
        host.apply(&one_replica(*plan).by(Mode::DSR));
        let mut play = Play::new("milestones", *plan, &mut host, Some(one_replica(*plan).by(Mode::DSR)));
        let alice = play.establishes(ALICE, HTTPS);
        play.forwards("FIN", &alice.client(Kind::Fin));
        let _ = play.opens("SYN", ALICE, HTTPS);
        assert_eq!(ends(&host), [News::Started, News::Ended(End::CLOSED)], "{plan:?}");
        assert_eq!(stats(&host).ends.iter().sum::<u64>(), 1);
    }
}

#[test]
fn a_reset_that_was_none_leaves_the_connection_another_account() {
    let mut host = host(Plan::V4);
    let alice = play(Plan::V4, &mut host).establishes(ALICE, HTTPS);
    let mut play = play(Plan::V4, &mut host);
    play.forwards("RST", &alice.client(Kind::Rst));
    play.talks("data", &alice);
    play.talks("more data", &alice);
    play.forwards("RST", &alice.replica(Kind::Rst));
    let reset = |news: &News| matches!(news, News::Ended(_));
    assert_eq!(ends(&host).iter().filter(|news| reset(news)).count(), 2);
}

/// One of a direct mode has no entry but its client's: nobody else's account begins anew with its own.
#[test]
fn a_reset_that_was_none_in_a_direct_mode_leaves_other_connections_their_accounts() {
    for plan in Plan::ALL {
        let mut host = host(*plan);
        let bob = play(*plan, &mut host).establishes(BOB, HTTPS);
        play(*plan, &mut host).forwards("FIN", &bob.client(Kind::Fin));
        let direct = one_replica(*plan).by(Mode::DSR);
        host.apply(&direct);
        let mut play = Play::new("milestones", *plan, &mut host, Some(direct));
        let alice = play.establishes(ALICE, HTTPS);
        play.forwards("RST", &alice.client(Kind::Rst));
        play.forwards("data", &alice.client(Kind::Data));
        let all = ends(&host);
        assert_eq!(all, [News::Started, News::Started, News::Ended(End::CLIENT_RESET)], "{plan:?}");
    }
}

/// The ring is full: the end is told when there is room, and what could not be told is counted.
#[test]
fn what_nobody_could_be_told_is_told_by_the_sweep_or_counted() {
    let mut host = host(Plan::V4);
    let alice = play(Plan::V4, &mut host).establishes(ALICE, HTTPS);
    host.model.room_for_events.set(1);
    play(Plan::V4, &mut host).forwards("RST", &alice.client(Kind::Rst));
    assert_eq!(ends(&host), [News::Started]);
    host.sweep();
    assert_eq!((ends(&host).len(), stats(&host).untold), (1, 0), "there is no room yet");
    host.model.room_for_events.set(2);
    host.sweep();
    assert_eq!(ends(&host), [News::Started, News::Ended(End::CLIENT_RESET)]);
    let bob = play(Plan::V4, &mut host).opens("SYN", BOB, HTTPS);
    play(Plan::V4, &mut host).forwards("refusal", &bob.replica(Kind::Refusal));
    let stats = stats(&host);
    assert_eq!((ends(&host).len(), stats.untold, stats.ends.iter().sum::<u64>()), (2, 1, 2));
    assert_ne!(stats.aside[0], Traffic::default());
}

#[test]
fn nobody_is_told_who_does_not_want_to_know_and_all_is_counted() {
    let mut host = host(Plan::V4);
    host.model.flow_wanted.set(flow_wanted::NOTHING);
    let alice = play(Plan::V4, &mut host).establishes(ALICE, HTTPS);
    play(Plan::V4, &mut host).forwards("RST", &alice.client(Kind::Rst));
    assert!(host.model.flow_events.borrow().is_empty());
    let stats = stats(&host);
    assert_eq!(
        (stats.ends[End::CLIENT_RESET.0 as usize], stats.untold, stats.aside),
        (1, 0, Default::default())
    );
}
