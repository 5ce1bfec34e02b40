//! Limits of time, to the tick: the model's clock stands still between frames, as the kernel's does not.

use dtr_lb_common::{abi::Ticks, verdict::Verdict};
use dtr_lb_tests::fixture::{
    Connection, Engine as _, Host, Plan, Play,
    frames::{Kind, Segment},
    host::{SECOND, ticks},
    world::{
        ALICE, BOB, CLOSED, HALF_CLOSED, HALF_OPEN, HTTPS, IDLE, TIME_WAIT, World, one_replica, ports,
        two_replicas,
    },
};

fn one_port(plan: Plan) -> World {
    ports(plan, 1)
}

fn host(plan: Plan) -> Host {
    let mut host = Host::default();
    host.apply(&one_replica(plan));
    host
}

fn play(plan: Plan, host: &mut Host) -> Play<'_> {
    play_in(plan, one_replica, host)
}

fn play_in(plan: Plan, world: fn(Plan) -> World, host: &mut Host) -> Play<'_> {
    Play::new("limits", plan, host, Some(world(plan)))
}

fn wait(host: &Host, ticks: Ticks) {
    host.model.now.set(host.model.now.get().wrapping_add(ticks));
}

/// Brings a connection into a state.
type Bring = fn(&mut Play<'_>, &Connection);

#[test]
fn an_entry_lives_for_exactly_the_time_out_of_its_state() {
    for plan in Plan::ALL.iter().copied() {
        let establish: Bring = |play, alice| play.accepts(alice);
        let table: [(&str, Bring, Ticks); 7] = [
            ("handshake", |play, alice| play.forwards("SYN", &alice.client(Kind::Syn)), ticks(HALF_OPEN)),
            ("open", establish, ticks(IDLE)),
            (
                "closed by the client",
                |play, alice| {
                    play.accepts(alice);
                    play.forwards("FIN", &alice.client(Kind::Fin));
                },
                ticks(HALF_CLOSED),
            ),
            (
                "closed by the replica",
                |play, alice| {
                    play.accepts(alice);
                    play.forwards("FIN", &alice.replica(Kind::Fin));
                },
                ticks(HALF_CLOSED),
            ),
            (
                "closed by the replica first",
                |play, alice| {
                    play.accepts(alice);
                    play.forwards("FIN", &alice.replica(Kind::Fin));
                    play.forwards("FIN", &alice.client(Kind::Fin));
                },
                ticks(TIME_WAIT),
            ),
            (
                "closed by the client first",
                |play, alice| {
                    play.accepts(alice);
                    play.forwards("FIN", &alice.client(Kind::Fin));
                    play.forwards("FIN", &alice.replica(Kind::Fin));
                },
                ticks(CLOSED),
            ),
            (
                "reset",
                |play, alice| {
                    play.accepts(alice);
                    play.forwards("RST", &alice.replica(Kind::Rst));
                },
                ticks(TIME_WAIT),
            ),
        ];
        for (state, bring, time_out) in table {
            for kind in [Kind::Ack, Kind::Data] {
                let mut host = host(plan);
                let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
                bring(&mut play(plan, &mut host), &alice);
                wait(&host, time_out);
                play(plan, &mut host).forwards(&format!("{state}, on the last tick"), &alice.client(kind));
                wait(&host, time_out + 1);
                let late = alice.client(kind).sent;
                play(plan, &mut host).refuses(
                    &format!("{state}, a tick later"),
                    &late,
                    Verdict::PassedNoFlow,
                );
            }
        }
    }
}

/// An established connection costs one look-up a packet: an entry looks for its other direction once a second, not more
/// often and not less.
#[test]
fn an_entry_looks_for_its_other_direction_once_a_second() {
    for plan in Plan::ALL.iter().copied() {
        let mut host = host(plan);
        let alice = play(plan, &mut host).establishes(ALICE, HTTPS);
        wait(&host, 10 * SECOND);
        play(plan, &mut host).forwards("data that looks", &alice.client(Kind::Data));
        play(plan, &mut host).evict(&alice.replica_key());
        wait(&host, SECOND);
        play(plan, &mut host).forwards("data within the second", &alice.client(Kind::Data));
        wait(&host, 1);
        play(plan, &mut host).refuses("data after it", &alice.client(Kind::Data).sent, Verdict::PassedNoFlow);
    }
}

/// A SYN that comes again is sent to another replica after half a second, and not before.
#[test]
fn a_silent_replica_has_half_a_second() {
    for plan in Plan::ALL.iter().copied() {
        let mut host = Host::default();
        host.apply(&two_replicas(plan));
        let alice = play_in(plan, two_replicas, &mut host).opens("SYN", ALICE, HTTPS);
        wait(&host, SECOND / 2);
        play_in(plan, two_replicas, &mut host).forwards("SYN after half a second", &alice.client(Kind::Syn));
        wait(&host, 1);
        play_in(plan, two_replicas, &mut host).moves("SYN a tick later", &alice);
    }
}

/// A handshake gives its port up to another client after 300 ms, if there is no other, and not before.
#[test]
fn a_handshake_has_its_port_for_the_longest_round_trip() {
    for plan in Plan::ALL.iter().copied() {
        let mut host = Host::default();
        host.apply(&one_port(plan));
        play_in(plan, one_port, &mut host).opens("SYN", ALICE, HTTPS);
        wait(&host, SECOND * 3 / 10);
        let syn = Segment::new(BOB.macs, BOB.at(plan), HTTPS.at(plan), Kind::Syn);
        play_in(plan, one_port, &mut host).refuses(
            "another client's after 300 ms",
            &syn,
            Verdict::DroppedNoPort,
        );
        wait(&host, 1);
        play_in(plan, one_port, &mut host).opens("another client's, a tick later", BOB, HTTPS);
    }
}
