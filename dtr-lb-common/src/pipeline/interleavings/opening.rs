//! Connections that open at once.

use super::{
    explore::{Ended, Scenario, explore},
    packets::{PORT, Peer},
    world::client,
};
use crate::{
    abi::{Direction, Flow, State},
    address::Family,
    verdict::Verdict,
};

fn clients(ended: &Ended<'_>) -> Vec<Flow> {
    ended.entries().into_iter().filter(|flow| flow.direction().from_client()).collect()
}

/// Of two of the same SYN one enters the connection, and the other finds it or is dropped.
#[test]
fn the_same_syn_twice() {
    let scenario = Scenario {
        at_once: &[
            |cpu| {
                Peer::new(0).syn(cpu);
            },
            |cpu| {
                Peer::new(0).syn(cpu);
            },
        ],
        afterwards: |ended| {
            let entered = clients(ended);
            let said = || ended.done.iter().flat_map(|done| &done.said);
            assert!(said().all(|said| matches!(said.0, Verdict::Forwarded | Verdict::DroppedBusy)));
            // Both may have a port and no room for more: then it is for the client to ask again. And in a bucket as full as this one
            // the one who comes later may take the room of the one who came first: that SYN has left by a port that is free again.
            let forwarded = said().any(|said| said.0 == Verdict::Forwarded);
            let stands = |flow: &Flow| said().any(|said| *said == (Verdict::Forwarded, flow.to));
            assert_eq!((entered.len(), entered.iter().all(stands)), (usize::from(forwarded), true));
            if !forwarded {
                return;
            }
            let peer = Peer { port: entered[0].to.source_port.get(), ..Peer::new(0) };
            peer.establish(&ended.cpu);
            assert_eq!(peer.state(&ended.cpu), Some(State::ESTABLISHED));
        },
        ..Scenario::NONE
    };
    explore("the same SYN twice", scenario);
}

fn same_port(number: usize) -> Peer {
    Peer { client: client(Family::V4, number, PORT), replica: 1, port: PORT }
}

/// Two clients want the same NAT port.
#[test]
fn the_same_port_twice() {
    let scenario = Scenario {
        buckets: 2,
        at_once: &[
            |cpu| {
                same_port(0).syn(cpu);
            },
            |cpu| {
                same_port(1).syn(cpu);
            },
        ],
        afterwards: |ended| {
            let entered = clients(ended);
            for done in ended.done {
                let (verdict, left) = done.said[0];
                if verdict == Verdict::Forwarded {
                    let made_room = !entered.iter().any(|flow| flow.to == left);
                    assert!(!made_room || entered.len() == 1, "it has left by a port that is another's");
                }
            }
            assert!(!entered.is_empty());
        },
        ..Scenario::NONE
    };
    explore("the same port twice", scenario);
}

/// A wide entry takes two neighbours. Both connections want what is left of an old one.
#[test]
fn wide_and_narrow() {
    let scenario = Scenario {
        before: |cpu| {
            Peer::new(2).close(cpu);
            cpu.later(1);
        },
        at_once: &[
            |cpu| {
                Peer::wide(0).syn(cpu);
            },
            |cpu| {
                Peer::new(0).syn(cpu);
            },
        ],
        afterwards: |ended| {
            let (wide, narrow) = (Peer::wide(0).seen(&ended.cpu), Peer::new(0).seen(&ended.cpu));
            assert!(wide.is_none() || narrow.is_none(), "there is room for one");
        },
        ..Scenario::NONE
    };
    explore("wide and narrow", scenario);
}

/// A replica refuses while another processor has the client's SYN once more, which asks another replica, too.
#[test]
fn refused_and_silent() {
    let scenario = Scenario {
        buckets: 2,
        before: |cpu| {
            Peer::new(0).syn(cpu);
            cpu.later(10);
        },
        at_once: &[
            |cpu| {
                Peer::new(0).refusal(cpu);
            },
            |cpu| {
                Peer::new(0).syn(cpu);
            },
        ],
        afterwards: |ended| {
            let entered = clients(ended);
            assert!(entered.len() <= 1);
            let redispatched =
                ended.done.iter().filter(|done| done.said[0].0 == Verdict::Redispatched).count();
            if redispatched != 0 {
                assert_eq!((entered.len(), entered[0].replica), (1, 2));
            }
        },
        ..Scenario::NONE
    };
    explore("refused and silent", scenario);
}

/// The old replica answers while its handshake is given to another one.
#[test]
fn silent_and_late() {
    let scenario = Scenario {
        buckets: 2,
        before: |cpu| {
            Peer::new(0).syn(cpu);
            cpu.later(10);
        },
        at_once: &[
            |cpu| {
                Peer::new(0).syn(cpu);
            },
            |cpu| {
                Peer::new(0).syn_ack(cpu);
            },
        ],
        afterwards: |ended| {
            let entered = clients(ended);
            assert_eq!(entered.len(), 1);
            if ended.done[0].said[0].0 == Verdict::Redispatched {
                assert_eq!((entered[0].replica, entered[0].state()), (2, State::SYN_SENT));
                let peer = Peer { replica: 2, port: entered[0].to.source_port.get(), ..Peer::new(0) };
                peer.syn_ack(&ended.cpu);
                peer.ack(&ended.cpu);
                assert_eq!(peer.state(&ended.cpu), Some(State::ESTABLISHED), "{:#?}", ended.entries());
            }
            assert!(ended.entries().iter().all(|flow| flow.direction() != Direction::Direct));
        },
        ..Scenario::NONE
    };
    explore("silent and late", scenario);
}
