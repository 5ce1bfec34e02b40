//! Connections whose state several processors change.

use super::{
    explore::{Scenario, explore},
    memory::Order,
    packets::{PORT, Peer},
    world::client,
};
use crate::{
    abi::{End, State},
    address::Family,
    flow_table,
    verdict::Verdict,
};

/// Both FINs are acknowledged at once.
#[test]
fn both_sides_close() {
    let scenario = Scenario {
        before: |cpu| {
            let peer = Peer::new(0);
            peer.establish(cpu);
            peer.fin(cpu);
            peer.replica_fin(cpu);
        },
        at_once: &[
            |cpu| {
                Peer::new(0).fin_acked(cpu);
            },
            |cpu| {
                Peer::new(0).replica_fin_acked(cpu);
            },
        ],
        afterwards: |ended| {
            let state = Peer::new(0).state(&ended.cpu);
            assert!(matches!(state, Some(State::CLOSED | State::TIME_WAIT)), "{state:?}");
        },
        order: Order::Weak,
        preemptions: 1,
        ..Scenario::NONE
    };
    explore("both sides close", scenario);
}

/// The client's ACK, and the replica's FIN, which takes the handshake for over as well.
#[test]
fn promoted_from_both_sides() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).syn(cpu);
            Peer::new(0).syn_ack(cpu);
        },
        at_once: &[
            |cpu| {
                Peer::new(0).fin(cpu);
            },
            |cpu| {
                Peer::new(0).replica_fin(cpu);
            },
        ],
        afterwards: |ended| {
            let flow = Peer::new(0).seen(&ended.cpu).expect("the connection");
            assert_eq!(flow.state(), State::ESTABLISHED);
            let fins = (flow.control.fin(true), flow.control.fin(false));
            assert!(fins.0 || fins.1, "whoever promotes it has his FIN noted");
        },
        order: Order::Weak,
        preemptions: 1,
        ..Scenario::NONE
    };
    explore("promoted from both sides", scenario);
}

/// The agent's sweep finds a handshake over that is not.
#[test]
fn swept_and_promoted() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).syn(cpu);
            Peer::new(0).syn_ack(cpu);
        },
        at_once: &[
            |cpu| {
                let memory = cpu.memory();
                for place in cpu.world.table.places() {
                    let mut flow = bytemuck::Zeroable::zeroed();
                    if flow_table::read(&memory, place, &mut flow) && flow.state().handshake() {
                        let _ = flow_table::end(&memory, &flow, End::CLOSED);
                    }
                }
            },
            |cpu| {
                Peer::new(0).ack(cpu);
                Peer::new(0).note_if_live(cpu);
            },
        ],
        afterwards: |ended| {
            let state = Peer::new(0).state(&ended.cpu);
            assert!(matches!(state, None | Some(State::ESTABLISHED)), "{state:?}");
            assert!(!ended.done[1].live || state.is_some(), "a live connection was ended");
        },
        order: Order::Weak,
        preemptions: 1,
        ..Scenario::NONE
    };
    explore("swept and promoted", scenario);
}

/// The client of a connection that stands in TIME_WAIT, on a port that is not the client's own.
fn resting() -> Peer {
    let port = resting_port();
    Peer { client: client(Family::V4, 0, PORT), replica: 1, port }
}

fn resting_port() -> u16 {
    // The first that is drawn after the client's own.
    let random = crate::hash::flow(super::world::SETTINGS.hash_seed, &client(Family::V4, 0, PORT));
    let random = crate::hash::mix(crate::hash::mix(random, 0), 1);
    let settings = super::world::SETTINGS;
    (settings.first_port + crate::hash::scale(random as u32, settings.port_count)) as u16
}

/// A client uses a tuple again whose old connection rests on another port, which is held; and a late packet of the old one.
#[test]
fn replaced_and_late() {
    let scenario = Scenario {
        buckets: 2,
        before: |cpu| {
            let first = Peer { client: client(Family::V4, 1, PORT), replica: 1, port: PORT };
            first.syn(cpu);
            resting().close(cpu);
            first.gives_up(cpu);
            assert_eq!(resting().state(cpu), Some(State::TIME_WAIT));
            cpu.later(1);
        },
        at_once: &[
            |cpu| {
                resting().syn(cpu);
            },
            |cpu| {
                resting().fin_acked(cpu);
            },
        ],
        afterwards: |ended| {
            let new = resting().seen(&ended.cpu).expect("the connection, old or new");
            if ended.done[0].said[0].0 == Verdict::Forwarded {
                assert_eq!(new.state(), State::SYN_SENT);
                assert_eq!(new.to.source_port.get(), PORT);
                let held = ended.entries().into_iter().find(|flow| flow.key == resting().answers());
                assert_eq!(held.map(|held| held.state()), Some(State::TIME_WAIT_HELD), "the port rests");
            }
        },
        ..Scenario::NONE
    };
    explore("replaced and late", scenario);
}
