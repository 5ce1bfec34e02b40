//! Handshakes of which one direction was evicted, as a flood of SYNs may do. The kernel's tables cannot be made to evict
//! a chosen handshake, so the model's are.

use dtr_lb_common::{
    abi::{State, Tuple},
    verdict::Verdict,
};
use dtr_lb_tests::fixture::{
    Engine as _, Host, Plan, Play,
    frames::Kind,
    world::{ALICE, BOB, HTTPS, ports, two_replicas},
};

/// A host with one NAT port.
fn host(plan: Plan) -> Host {
    let mut host = Host::default();
    host.apply(&ports(plan, 1));
    host
}

fn play(plan: Plan, host: &mut Host) -> Play<'_> {
    Play::new("handshakes", plan, host, Some(ports(plan, 1)))
}

fn evict(host: &Host, key: &Tuple) {
    assert!(host.model.half_open.entries.borrow_mut().remove(key).is_some(), "{key:?}");
}

#[test]
fn a_client_whose_port_was_lost_begins_anew_with_it() {
    for plan in Plan::ALL.iter().copied() {
        let mut host = host(plan);
        let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
        evict(&host, &alice.replica_key());
        let again = play(plan, &mut host).opens("SYN, again", ALICE, HTTPS);
        assert_eq!(again, alice);
        play(plan, &mut host).accepts(&again);
        assert!(host.model.half_open.entries.borrow().is_empty(), "nothing is left over");
    }
}

#[test]
fn a_client_whose_own_entry_was_lost_gets_its_port_back() {
    for plan in Plan::ALL.iter().copied() {
        let mut host = host(plan);
        let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
        evict(&host, &alice.client_key());
        let again = play(plan, &mut host).opens("SYN, again", ALICE, HTTPS);
        assert_eq!(again, alice);
        play(plan, &mut host).accepts(&again);
        assert!(host.model.half_open.entries.borrow().is_empty(), "nothing is left over");
    }
}

#[test]
fn half_a_handshake_forwards_no_answer() {
    for plan in Plan::ALL.iter().copied() {
        for kind in [Kind::SynAck, Kind::Ack, Kind::Fin, Kind::Rst, Kind::Refusal] {
            let mut host = host(plan);
            let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
            evict(&host, &alice.client_key());
            let answer = alice.replica(kind).sent;
            play(plan, &mut host).refuses(&format!("{kind:?}"), &answer, Verdict::PassedNotService);
        }
    }
}

#[test]
fn half_a_handshake_establishes_nothing() {
    for plan in Plan::ALL.iter().copied() {
        for kind in [Kind::Ack, Kind::Data, Kind::Fin, Kind::Rst] {
            let mut host = host(plan);
            let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
            play(plan, &mut host).forwards("SYN-ACK", &alice.replica(Kind::SynAck));
            evict(&host, &alice.replica_key());
            let answer = alice.client(kind).sent;
            play(plan, &mut host).refuses(&format!("{kind:?}"), &answer, Verdict::PassedNoFlow);
            assert!(host.model.flows.entries.borrow().is_empty());
        }
    }
}

/// The port of a lost handshake is another client's by now: what the first one sends must not reach the replica as if it
/// came from the other.
#[test]
fn a_lost_handshake_does_not_speak_for_the_next_owner_of_its_port() {
    for plan in Plan::ALL.iter().copied() {
        for kind in [Kind::Syn, Kind::Ack, Kind::Data, Kind::Fin, Kind::Rst] {
            let mut host = host(plan);
            let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
            evict(&host, &alice.replica_key());
            let bob = play(plan, &mut host).establishes(BOB, HTTPS);
            assert_eq!(bob.nat, alice.nat, "there is one port");
            let verdict = if kind == Kind::Syn { Verdict::DroppedNoPort } else { Verdict::PassedNoFlow };
            let late = alice.client(kind).sent;
            play(plan, &mut host).refuses(&format!("{kind:?} of the first"), &late, verdict);
            play(plan, &mut host).talks("the next owner", &bob);
            let states: Vec<_> = host.entries().flows.iter().map(|flow| flow.state()).collect();
            assert_eq!(states, [State::ESTABLISHED; 2]);
        }
    }
}

/// The same while the next owner's handshake is under way.
#[test]
fn a_lost_handshake_does_not_go_on_with_the_next_owners() {
    for plan in Plan::ALL.iter().copied() {
        for kind in [Kind::Ack, Kind::Data, Kind::Fin, Kind::Rst] {
            let mut host = host(plan);
            let alice = play(plan, &mut host).opens("SYN", ALICE, HTTPS);
            play(plan, &mut host).forwards("SYN-ACK", &alice.replica(Kind::SynAck));
            evict(&host, &alice.replica_key());
            let bob = play(plan, &mut host).opens("SYN of the next", BOB, HTTPS);
            play(plan, &mut host).forwards("SYN-ACK to the next", &bob.replica(Kind::SynAck));
            let late = alice.client(kind).sent;
            play(plan, &mut host).refuses(&format!("{kind:?} of the first"), &late, Verdict::PassedNoFlow);
            assert!(host.model.flows.entries.borrow().is_empty(), "nothing is established by it");
            play(plan, &mut host).forwards("ACK of the next", &bob.client(Kind::Ack));
            play(plan, &mut host).talks("the next", &bob);
        }
    }
}

/// A client whose SYN was steered anew, to another replica, hears nothing of the one that it was steered to first.
#[test]
fn a_lost_handshake_does_not_answer_for_the_next_one() {
    for plan in Plan::ALL.iter().copied() {
        for kind in [Kind::SynAck, Kind::Refusal] {
            let mut desired = two_replicas(plan);
            let mut host = Host::default();
            host.apply(&desired);
            let first = Play::new("SYN", plan, &mut host, Some(desired.clone())).opens("SYN", ALICE, HTTPS);
            evict(&host, &first.client_key());
            desired.replica(HTTPS, first.replica).weight = 0;
            host.apply(&desired);
            let mut play = Play::new("SYN, again", plan, &mut host, Some(desired));
            let second = play.opens("SYN, again", ALICE, HTTPS);
            assert_ne!(second.replica, first.replica);
            let late = first.replica(kind).sent;
            play.refuses(&format!("{kind:?} of the first"), &late, Verdict::PassedNotService);
            play.accepts(&second);
            play.talks("the second", &second);
        }
    }
}
