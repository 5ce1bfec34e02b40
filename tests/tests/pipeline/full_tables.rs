//! Tables that take no entry. A table of the kernel makes room by itself where it can, so only the model shows this.

use dtr_lb_common::verdict::Verdict;
use dtr_lb_tests::fixture::{
    Engine as _, Host, Plan, Play,
    frames::{Kind, Segment},
    world::{ALICE, HTTPS, one_replica},
};

fn host(plan: Plan) -> Host {
    let mut host = Host::default();
    host.apply(&one_replica(plan));
    host
}

fn play(plan: Plan, host: &mut Host) -> Play<'_> {
    Play::new("full tables", plan, host, Some(one_replica(plan)))
}

#[test]
fn without_room_for_a_handshake_a_syn_is_dropped_and_leaves_nothing() {
    for plan in Plan::ALL.iter().copied() {
        for room in 0..2 {
            let mut host = host(plan);
            host.model.half_open.capacity = Some(room);
            let syn = Segment::new(ALICE.macs, ALICE.at(plan), HTTPS.at(plan), Kind::Syn);
            play(plan, &mut host).refuses("SYN", &syn, Verdict::DroppedTableFull);
            assert!(host.model.half_open.entries.borrow().is_empty(), "with room for {room} entries");
            host.model.half_open.capacity = None;
            play(plan, &mut host).establishes(ALICE, HTTPS);
        }
    }
}

#[test]
fn without_room_for_a_connection_the_handshake_stays_and_is_forwarded() {
    for plan in Plan::ALL.iter().copied() {
        for room in 0..2 {
            let mut host = host(plan);
            host.model.flows.capacity = Some(room);
            let alice = play(plan, &mut host).establishes(ALICE, HTTPS);
            play(plan, &mut host).talks("without room", &alice);
            assert!(host.model.flows.entries.borrow().is_empty(), "with room for {room} entries");
            assert_eq!(host.model.half_open.entries.borrow().len(), 2);
            host.model.flows.capacity = None;
            play(plan, &mut host).talks("with room", &alice);
            assert_eq!(host.model.flows.entries.borrow().len(), 2);
            assert!(host.model.half_open.entries.borrow().is_empty());
        }
    }
}
