//! Connections that make room for others, while packets of theirs come.

use super::{
    explore::{Ended, Scenario, explore},
    memory::Order,
    packets::Peer,
    world::FIRST_DIRECT,
};
use crate::{
    abi::{End, State},
    flow_table,
    verdict::Verdict,
};

/// Two entries are a bucket's share of handshakes, so that another handshake takes their place.
fn one_of_both(ended: &Ended<'_>) {
    let (old, new) = (Peer::new(0).state(&ended.cpu), Peer::new(1).state(&ended.cpu));
    assert!(old.is_none_or(State::live) || new.is_none(), "{old:?}, {new:?}");
    if ended.done[1].live {
        assert_eq!(old, Some(State::ESTABLISHED), "a live connection was evicted");
    }
}

/// A handshake is evicted by its client's entry while its client proves that it exists.
#[test]
fn promoted_and_evicted_by_the_client_s_entry() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).syn(cpu);
            cpu.later(1);
            Peer::new(0).syn_ack(cpu);
            cpu.later(1);
        },
        at_once: &[
            |cpu| {
                Peer::new(1).syn(cpu);
            },
            |cpu| {
                Peer::new(0).ack(cpu);
                Peer::new(0).note_if_live(cpu);
            },
        ],
        afterwards: one_of_both,
        ..Scenario::NONE
    };
    explore("promoted and evicted by the client's entry", scenario);
}

/// The same by its replica's.
#[test]
fn promoted_and_evicted_by_the_replica_s_entry() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).syn(cpu);
            Peer::new(0).syn_ack(cpu);
            cpu.later(1);
            // Once more: the client's entry is the younger one.
            Peer::new(0).syn(cpu);
            cpu.later(1);
        },
        at_once: &[
            |cpu| {
                Peer::new(1).syn(cpu);
            },
            |cpu| {
                Peer::new(0).ack(cpu);
                Peer::new(0).note_if_live(cpu);
            },
        ],
        afterwards: one_of_both,
        ..Scenario::NONE
    };
    explore("promoted and evicted by the replica's entry", scenario);
}

fn idle(cpu: &super::world::Cpu<'_>) {
    for number in [0, 2] {
        Peer::new(number).establish(cpu);
    }
    cpu.later(4000);
    Peer::new(2).ack(cpu);
    Peer::new(2).data(cpu);
}

fn reader_is_right(ended: &Ended<'_>) {
    let old = Peer::new(0);
    let (verdict, left) = ended.done[1].said[0];
    if verdict == Verdict::Forwarded {
        let right = [old.answers().reversed(), old.client.reversed()];
        assert!(right.contains(&left), "a packet left as another connection's: {left:?}");
    }
    assert_eq!(Peer::new(2).state(&ended.cpu), Some(State::ESTABLISHED));
    if let Some(new) = Peer::new(1).seen(&ended.cpu) {
        let new = Peer { port: new.to.source_port.get(), ..Peer::new(1) };
        new.syn_ack(&ended.cpu);
        new.ack(&ended.cpu);
        let state = new.state(&ended.cpu);
        assert_eq!(state, Some(State::ESTABLISHED), "it cannot be opened: {:#?}", ended.entries());
    }
}

/// A packet of a connection that has been idle for too long, and makes room. What is stored late changes nothing that the
/// new one decides by.
#[test]
fn a_client_s_packet_and_an_eviction() {
    let scenario = Scenario {
        before: idle,
        at_once: &[
            |cpu| {
                Peer::new(1).syn(cpu);
            },
            |cpu| {
                Peer::new(0).ack(cpu);
            },
        ],
        afterwards: reader_is_right,
        order: Order::Weak,
        preemptions: 1,
        ..Scenario::NONE
    };
    explore("a client's packet and an eviction", scenario);
}

#[test]
fn a_replica_s_packet_and_an_eviction() {
    let scenario = Scenario {
        before: idle,
        at_once: &[
            |cpu| {
                Peer::new(1).syn(cpu);
            },
            |cpu| {
                Peer::new(0).data(cpu);
            },
        ],
        afterwards: reader_is_right,
        order: Order::Weak,
        preemptions: 1,
        ..Scenario::NONE
    };
    explore("a replica's packet and an eviction", scenario);
}

/// The same, where the new connection is established by the time that the packet goes on: a packet that has found its key there must
/// not take what follows for its own.
#[test]
fn a_client_s_packet_and_a_whole_handshake() {
    let scenario = Scenario {
        before: idle,
        at_once: &[
            |cpu| {
                Peer::new(1).establish(cpu);
            },
            |cpu| {
                Peer::new(0).ack(cpu);
            },
        ],
        afterwards: reader_is_right,
        ..Scenario::NONE
    };
    explore("a client's packet and a whole handshake", scenario);
}

#[test]
fn a_replica_s_packet_and_a_whole_handshake() {
    let scenario = Scenario {
        before: idle,
        at_once: &[
            |cpu| {
                Peer::new(1).establish(cpu);
            },
            |cpu| {
                Peer::new(0).data(cpu);
            },
        ],
        afterwards: reader_is_right,
        ..Scenario::NONE
    };
    explore("a replica's packet and a whole handshake", scenario);
}

/// A connection whose replica answers directly makes room for any other. Its packets go to its own replica, as if by themselves when
/// its entry is gone.
#[test]
fn a_direct_packet_and_an_eviction() {
    let scenario = Scenario {
        before: |cpu| {
            for peer in [Peer::direct(0, FIRST_DIRECT), Peer::new(2), Peer::direct(3, FIRST_DIRECT)] {
                peer.establish(cpu);
                cpu.later(1);
            }
        },
        at_once: &[
            |cpu| {
                Peer::direct(1, FIRST_DIRECT + 1).syn(cpu);
                Peer::direct(1, FIRST_DIRECT + 1).ack(cpu);
            },
            |cpu| {
                Peer::direct(0, FIRST_DIRECT).ack(cpu);
            },
        ],
        afterwards: |ended| {
            let old = &ended.done[1];
            if old.said[0].0 == Verdict::Forwarded {
                assert_eq!(old.left_by, [u32::from(FIRST_DIRECT)], "it went to another one's replica");
            }
        },
        ..Scenario::NONE
    };
    explore("a direct packet and an eviction", scenario);
}

/// A packet of an idle connection, in whose places a wide entry is written: what is stored late must not be a part of that one's
/// addresses.
#[test]
fn a_client_s_packet_and_a_wide_entry() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).establish(cpu);
            cpu.later(4000);
        },
        at_once: &[
            |cpu| {
                Peer::wide(1).syn(cpu);
            },
            |cpu| {
                Peer::new(0).ack(cpu);
            },
        ],
        afterwards: |ended| {
            let said = ended.done[0].said[0].0;
            let wide = Peer::wide(1);
            assert!(said != Verdict::Forwarded || wide.seen(&ended.cpu).is_some(), "its key is another one");
            if said == Verdict::Forwarded {
                wide.syn_ack(&ended.cpu);
                wide.ack(&ended.cpu);
                let state = wide.state(&ended.cpu);
                assert_eq!(state, Some(State::ESTABLISHED), "it cannot be opened: {:#?}", ended.entries());
            }
        },
        ..Scenario::NONE
    };
    explore("a client's packet and a wide entry", scenario);
}

/// A SYN-ACK for a handshake that makes room meanwhile: what it says of that handshake is not said of the one that takes its place.
#[test]
fn a_syn_ack_and_an_eviction() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(0).syn(cpu);
            cpu.later(1);
        },
        at_once: &[
            |cpu| {
                Peer::new(1).syn(cpu);
            },
            |cpu| {
                Peer::new(0).syn_ack(cpu);
            },
        ],
        afterwards: |ended| {
            if Peer::new(1).seen(&ended.cpu).is_some() {
                Peer::new(1).syn_ack(&ended.cpu);
                Peer::new(1).ack(&ended.cpu);
                let state = Peer::new(1).state(&ended.cpu);
                assert_eq!(state, Some(State::ESTABLISHED), "it cannot be opened: {:#?}", ended.entries());
            }
        },
        ..Scenario::NONE
    };
    explore("a SYN-ACK and an eviction", scenario);
}

/// Who wants to evict a connection is held up, until another one stands in its place.
#[test]
fn an_eviction_that_comes_too_late() {
    let scenario = Scenario {
        before: idle,
        at_once: &[
            |cpu| {
                Peer::new(1).syn(cpu);
            },
            |cpu| {
                if let Some(flow) = Peer::new(0).seen(cpu) {
                    let _ = flow_table::end(&cpu.memory(), &flow, End::CLOSED);
                }
                Peer::new(0).establish(cpu);
                Peer::new(0).note_if_live(cpu);
            },
        ],
        afterwards: one_of_both,
        ..Scenario::NONE
    };
    explore("an eviction that comes too late", scenario);
}

/// A wide entry takes two neighbours: one has ended, and the other is of a handshake whose client proves meanwhile that it exists.
#[test]
fn promoted_and_evicted_as_a_neighbour() {
    let scenario = Scenario {
        before: |cpu| {
            // Of both pairs of places one is the old connection's, and one the handshake's.
            Peer::new(2).close(cpu);
            cpu.later(1);
            Peer::new(0).syn(cpu);
            Peer::new(0).syn_ack(cpu);
            let pair = |peer: Peer| peer.seen(cpu).map(|flow| [flow.place.0 / 2, flow.partner.0 / 2]);
            assert!(pair(Peer::new(2)).is_some_and(|[one, other]| one != other));
        },
        at_once: &[
            |cpu| {
                Peer::new(0).ack(cpu);
                Peer::new(0).note_if_live(cpu);
            },
            |cpu| {
                Peer::wide(1).syn(cpu);
            },
        ],
        afterwards: |ended| {
            let state = Peer::new(0).state(&ended.cpu);
            assert!(
                state == Some(State::ESTABLISHED) || !ended.done[0].live,
                "a live connection was evicted"
            );
        },
        ..Scenario::NONE
    };
    explore("promoted and evicted as a neighbour", scenario);
}
