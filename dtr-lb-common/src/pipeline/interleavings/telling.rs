//! Ends that are told: once each, whoever else is at the same connection.
//!
//! Whoever gives a connection the state of an end marks it as told, and then reads its words, without a lock. Another may take the
//! entry between both: then what is told has words of the one that stands there by then. So where something makes room in a scenario,
//! ends are numbered, and not held against the client.

use super::{
    explore::{Ended, Scenario, explore},
    packets::Peer,
    world::{Cpu, FIRST_DIRECT},
};
use crate::{
    abi::{End, State},
    pipeline::sweep::Request,
};

fn established(cpu: &Cpu<'_>) {
    Peer::new(0).establish(cpu);
    cpu.later(1);
}

/// How often a connection's end was told; and no other end was counted or told.
fn told(ended: &Ended<'_>, peer: Peer) -> Vec<End> {
    let world = ended.cpu.world;
    let (told, counted) = world.ends();
    assert_eq!(told, counted, "ends are told that are not counted, or the other way");
    world.told(&peer.client).into_iter().map(|(end, _)| end).collect()
}

/// Both ends reset it.
#[test]
fn reset_from_both_sides() {
    let scenario = Scenario {
        before: established,
        at_once: &[|cpu| Peer::new(0).resets(cpu), |cpu| Peer::new(0).replica_resets(cpu)],
        afterwards: |ended| {
            let ends = told(ended, Peer::new(0));
            let state = Peer::new(0).state(&ended.cpu);
            let wanted = match state {
                Some(State::CLIENT_RESET) => End::CLIENT_RESET,
                _ => End::REPLICA_RESET,
            };
            assert_eq!((ends, state.is_some_and(State::ended)), (vec![wanted], true));
        },
        ..Scenario::NONE
    };
    explore("reset from both sides", scenario);
}

/// The last ACK of a connection, and a SYN that wants its place.
#[test]
fn closed_and_evicted() {
    let scenario = Scenario {
        before: |cpu| {
            let direct = Peer::direct(0, FIRST_DIRECT);
            direct.establish(cpu);
            cpu.later(1);
            for number in [2, 3] {
                Peer::direct(number, FIRST_DIRECT).establish(cpu);
                cpu.later(1);
            }
            Peer::direct(4, FIRST_DIRECT).establish(cpu);
        },
        at_once: &[
            |cpu| Peer::direct(0, FIRST_DIRECT).resets(cpu),
            |cpu| Peer::direct(1, FIRST_DIRECT).syn(cpu),
        ],
        afterwards: |ended| {
            let _ = told(ended, Peer::direct(0, FIRST_DIRECT));
            let evicted = Peer::direct(0, FIRST_DIRECT).state(&ended.cpu).is_none();
            // Another one makes room where this one is found to have ended when that is chosen.
            let others = [2, 3, 4].map(|number| Peer::direct(number, FIRST_DIRECT).state(&ended.cpu));
            let left = others.iter().filter(|state| state.is_none()).count() as u32;
            assert_eq!(ended.cpu.world.ends().0, left + 1, "{evicted}, {others:?}");
        },
        ..Scenario::NONE
    };
    explore("closed and evicted", scenario);
}

/// The same of a NAT connection: the last ACK, and a handshake that takes what has ended.
#[test]
fn closed_and_replaced() {
    let scenario = Scenario {
        before: |cpu| {
            let peer = Peer::new(0);
            peer.establish(cpu);
            peer.fin(cpu);
            peer.fin_acked(cpu);
            peer.replica_fin(cpu);
            Peer::new(2).establish(cpu);
        },
        at_once: &[|cpu| Peer::new(0).replica_fin_acked(cpu), |cpu| Peer::new(1).syn(cpu)],
        afterwards: |ended| {
            let _ = told(ended, Peer::new(0));
            assert_eq!(ended.cpu.world.ends().0, 1, "{:#?}", ended.entries());
        },
        ..Scenario::NONE
    };
    explore("closed and replaced", scenario);
}

/// The sweep finds that it is idle while its client speaks.
#[test]
fn swept_and_heard() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).establish(cpu);
            cpu.later(4000);
        },
        at_once: &[|cpu| cpu.asks(Request::end), |cpu| Peer::new(0).resets(cpu)],
        afterwards: |ended| {
            let ends = told(ended, Peer::new(0));
            assert_eq!(ends.len(), 1, "{ends:?}, and it is {:?}", Peer::new(0).state(&ended.cpu));
        },
        ..Scenario::NONE
    };
    explore("swept and heard", scenario);
}

/// The sweep tells what there was no room for, while the client uses its ports again.
#[test]
fn told_late_and_replaced() {
    let scenario = Scenario {
        buckets: 2,
        before: |cpu| {
            established(cpu);
            cpu.world.leave_no_room(1);
            Peer::new(0).resets(cpu);
            cpu.later(1);
        },
        at_once: &[|cpu| cpu.asks(Request::tell), |cpu| Peer::new(0).syn_anew(cpu)],
        afterwards: |ended| assert_eq!(told(ended, Peer::new(0)), [End::CLIENT_RESET]),
        ..Scenario::NONE
    };
    explore("told late and replaced", scenario);
}

/// One end's reset finds no room to be told, while the other end's comes.
#[test]
fn reset_from_both_sides_without_room() {
    let scenario = Scenario {
        before: |cpu| {
            established(cpu);
            cpu.world.leave_no_room(1);
        },
        at_once: &[|cpu| Peer::new(0).resets(cpu), |cpu| Peer::new(0).replica_resets(cpu)],
        afterwards: |ended| {
            ended.cpu.asks(Request::tell);
            assert_eq!(told(ended, Peer::new(0)).len(), 1);
        },
        ..Scenario::NONE
    };
    explore("reset from both sides without room", scenario);
}

/// A wide entry does not take the place of one by itself of which something was seen a moment ago: a packet under way stores words into
/// it.
#[test]
fn a_packet_and_a_wide_entry_that_has_to_wait() {
    let scenario = Scenario {
        before: |cpu| {
            for number in [0, 2] {
                let peer = Peer::new(number);
                peer.establish(cpu);
                // Now it makes room; but its client may talk on.
                peer.resets(cpu);
            }
        },
        at_once: &[|cpu| Peer::wide(1).syn(cpu), |cpu| Peer::new(0).ack(cpu)],
        afterwards: |ended| {
            let wide = Peer::wide(1).seen(&ended.cpu);
            assert!(wide.is_none(), "it took a place that has not rested: {wide:?}");
        },
        ..Scenario::NONE
    };
    explore("a packet and a wide entry that has to wait", scenario);
}
