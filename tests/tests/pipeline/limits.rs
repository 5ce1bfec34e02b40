//! Limits of time, to the tick: the model's clock stands still between frames, as the kernel's does not.

use std::time::Duration;

use dtr_lb_common::{
    abi::{State, Ticks},
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Connection, Engine as _, Exchange, Host, Plan, Play,
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

/// A FIN, and its acknowledgment.
fn closes(play: &mut Play<'_>, fin: &Exchange, acknowledgment: &Exchange) {
    play.forwards("FIN", fin);
    play.forwards("ACK of the FIN", acknowledgment);
}

fn client_closes(play: &mut Play<'_>, alice: &Connection) {
    closes(play, &alice.client(Kind::Fin), &alice.replica(Kind::Ack));
}

fn replica_closes(play: &mut Play<'_>, alice: &Connection) {
    closes(play, &alice.replica(Kind::Fin), &alice.client(Kind::Ack));
}

/// The states of a connection, how to get there, and how long each may be silent.
const STATES: [(State, Bring, Duration); 9] = [
    (State::SYN_SENT, |_, _| {}, HALF_OPEN),
    (State::SYN_RECEIVED, |play, alice| play.forwards("SYN-ACK", &alice.replica(Kind::SynAck)), HALF_OPEN),
    (State::ESTABLISHED, |play, alice| play.accepts(alice), IDLE),
    (
        State::CLIENT_CLOSED,
        |play, alice| {
            play.accepts(alice);
            client_closes(play, alice);
        },
        HALF_CLOSED,
    ),
    (
        State::REPLICA_CLOSED,
        |play, alice| {
            play.accepts(alice);
            replica_closes(play, alice);
        },
        HALF_CLOSED,
    ),
    (
        State::TIME_WAIT,
        |play, alice| {
            play.accepts(alice);
            replica_closes(play, alice);
            client_closes(play, alice);
        },
        TIME_WAIT,
    ),
    (
        State::CLOSED,
        |play, alice| {
            play.accepts(alice);
            client_closes(play, alice);
            replica_closes(play, alice);
        },
        CLOSED,
    ),
    (
        State::CLIENT_RESET,
        |play, alice| {
            play.accepts(alice);
            play.forwards("RST", &alice.client(Kind::Rst));
        },
        CLOSED,
    ),
    (
        State::REPLICA_RESET,
        |play, alice| {
            play.accepts(alice);
            play.forwards("RST", &alice.replica(Kind::Rst));
        },
        CLOSED,
    ),
];

/// What tells in this state that the connection is alive, and leaves the state alone.
fn sign_of_life(alice: &Connection, state: State) -> Exchange {
    match state {
        State::SYN_SENT => alice.client(Kind::Syn),
        State::SYN_RECEIVED => alice.replica(Kind::SynAck),
        State::CLIENT_RESET => alice.replica(Kind::Ack),
        _ => alice.client(Kind::Ack),
    }
}

fn states(host: &Host) -> Vec<State> {
    host.model.entries().iter().map(dtr_lb_common::abi::Flow::state).collect()
}

#[test]
fn a_connection_lives_for_exactly_the_time_out_of_its_state() {
    for plan in Plan::ALL.iter().copied() {
        for (state, bring, time_out) in STATES {
            let mut host = host(plan);
            let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
            bring(&mut play(plan, &mut host), &alice);
            assert_eq!(states(&host), [state; 2]);
            wait(&host, ticks(time_out));
            play(plan, &mut host).sweep();
            let sign = sign_of_life(&alice, state);
            play(plan, &mut host).forwards(&format!("{state:?}, on the last tick"), &sign);
            assert_eq!(states(&host), [state; 2]);
            wait(&host, ticks(time_out) + 1);
            if state.live() {
                // Both ends still hold it for open, so that it goes on as long as nobody has swept it.
                play(plan, &mut host).forwards(&format!("{state:?}, a tick later"), &sign);
                assert_eq!(states(&host), [state; 2]);
                wait(&host, ticks(time_out) + 1);
                play(plan, &mut host).sweep();
                assert_eq!(states(&host), []);
            }
            play(plan, &mut host).forgets(&format!("{state:?}, a tick later"), &alice);
            assert_eq!(states(&host), []);
        }
    }
}

/// What is sent in one direction alone keeps the entries of both.
#[test]
fn either_direction_keeps_a_connection() {
    for plan in Plan::ALL.iter().copied() {
        for from_client in [true, false] {
            let mut host = host(plan);
            let alice = play(plan, &mut host).establishes(ALICE, HTTPS);
            for _ in 0..3 {
                wait(&host, ticks(IDLE));
                let data = if from_client { alice.client(Kind::Data) } else { alice.replica(Kind::Data) };
                play(plan, &mut host).forwards("data", &data);
                play(plan, &mut host).sweep();
                assert_eq!(states(&host), [State::ESTABLISHED; 2]);
            }
        }
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
