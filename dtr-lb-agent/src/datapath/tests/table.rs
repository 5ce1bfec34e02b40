//! The walk through the flow table: what it counts, what it ends, and what it leaves alone.

use std::{collections::BTreeMap, net::IpAddr};

use aya::maps::{Array, MapData};
use bytemuck::Zeroable as _;
use dtr_lb_common::{
    abi::{Bucket, Flow, State, Ticks, map},
    address::Be16,
    flow_table::{BUCKET_BYTES, Line as _, Memory as _, WAYS},
    pipeline::sweep::Request,
};

use super::{
    REPLICA, VIP, as_root,
    connections::{CLIENT, CLIENT6, Connection, Connections, PORT, VIP6, opens, tuple},
    desired, fresh, of_size, open, replica, sweep_all,
};
use crate::datapath::{Datapath, DesiredReplica, sweep};

/// A datapath with one service of one replica.
fn served(mut datapath: Datapath) -> (Datapath, Connections, Ticks) {
    datapath.apply(&desired([(443, vec![replica(REPLICA, 1)])])).expect("it fits");
    let (connections, now) = (Connections::of(&datapath), datapath.now().expect("the clock"));
    (datapath, connections, now)
}

fn connection(state: State, replica: u16, seen: [Ticks; 2]) -> Connection {
    Connection { client: CLIENT, state, replica, hop: 0, seen, acknowledged: [0; 2] }
}

/// How long the state lasts.
fn lasts(datapath: &Datapath, state: State) -> Ticks {
    let settings = datapath.settings.expect("settings were applied");
    let expires = |age: Ticks| settings.expired(state, 0, age);
    // The limits are far below half of the clock's range.
    (0..31).rev().fold(0, |age, bit| if expires(age | 1 << bit) { age } else { age | 1 << bit })
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_census_counts_connections_of_every_state() {
    as_root(|_| {
        let (mut datapath, connections, now) = served(fresh());
        for (number, state) in (1..).zip(State::ALL) {
            connections.nat(number, &connection(state, number, [now; 2]));
        }
        connections.direct(40, &connection(State::ESTABLISHED, 40, [now; 2]));
        let wide = Connection { client: CLIENT6, ..connection(State::ESTABLISHED, 60, [now; 2]) };
        connections.nat(60, &wide);
        let census = sweep_all(&mut datapath);
        let (mut flows, mut held) = (BTreeMap::from([(40, 1), (60, 1)]), BTreeMap::from([(40, 1), (60, 2)]));
        for (number, state) in (1..).zip(State::ALL) {
            if state.live() {
                flows.insert(number, 1);
            }
            held.insert(number, if state == State::TIME_WAIT_HELD { 1 } else { 2 });
        }
        assert_eq!((census.flows, census.held), (flows, held));
        // One that is held has one entry, and an entry with an IPv6 address in it takes two places.
        assert_eq!((census.entries, census.removed), (2 * 10 - 1 + 1 + 4, 0));
    });
}

/// By state all entries, and by NAT address those of replicas: a plain count of what was entered says the same.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_the_census_counts_entries_by_state_and_nat_ports_by_address() {
    as_root(|_| {
        let mut datapath = fresh();
        let other: IpAddr = [10, 0, 0, 77].into();
        let two = DesiredReplica { nat: vec![VIP, other], ..replica(REPLICA, 1) };
        // The same end by two services: its ports are shared.
        // Addresses that differ in their first half only.
        let six = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let [replica6, nat6, other6] = ["2001:db8::11", "2001:db8:1::1", "2001:db8:2::1"].map(six);
        let third = DesiredReplica { address: replica6, nat: vec![nat6, other6], ..two.clone() };
        let wish = desired([(443, vec![two.clone()]), (80, vec![two]), (8443, vec![third])]);
        datapath.apply(&wish).expect("it fits");
        let of = |address: IpAddr| {
            let replicas = datapath.writer.replicas().iter();
            let found = replicas.filter(|(_, replica)| replica.address == address.into());
            found.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let (ids, ids6) = (of(REPLICA), of(replica6));
        let (&[one, another], &[third]) = (&ids[..], &ids6[..]) else { panic!("{ids:?}, {ids6:?}") };
        let (connections, now) = (Connections::of(&datapath), datapath.now().expect("the clock"));
        let replica_end = |nat: IpAddr, number| tuple((REPLICA, PORT), (nat, number));
        let enter = |number, nat, id, state, client: IpAddr| {
            let asks = tuple((client, number), (if client.is_ipv4() { VIP } else { VIP6 }, PORT));
            let connection = Connection { client, ..connection(state, id, [now; 2]) };
            connections.both(asks, replica_end(nat, number), &connection)
        };
        let mut states: BTreeMap<&str, u64> = State::ALL.map(|state| (state.name(), 0)).into();
        for (number, state) in (1..).zip(State::ALL) {
            enter(number, VIP, one, state, CLIENT);
            *states.entry(state.name()).or_default() += if state == State::TIME_WAIT_HELD { 1 } else { 2 };
        }
        enter(100, other, one, State::ESTABLISHED, CLIENT);
        enter(101, other, another, State::ESTABLISHED, CLIENT);
        enter(102, other, another, State::ESTABLISHED, CLIENT6);
        // No NAT address of it, any more; a connection that is directed; and an id that the tables do not have.
        enter(103, [10, 0, 0, 78].into(), one, State::ESTABLISHED, CLIENT);
        connections.direct(104, &connection(State::ESTABLISHED, one, [now; 2]));
        enter(105, VIP, 4000, State::ESTABLISHED, CLIENT);
        // Long over: it is ended, and has no port.
        let long_ago = now.wrapping_sub(lasts(&datapath, State::CLOSED) + datapath.ticks_per_second);
        connections.both(
            tuple((CLIENT, 106), (VIP, PORT)),
            replica_end(VIP, 106),
            &connection(State::CLOSED, one, [long_ago; 2]),
        );
        let asks = tuple((CLIENT6, 107), (VIP6, PORT));
        let answers = tuple((replica6, PORT), (other6, 107));
        connections.both(asks, answers, &connection(State::ESTABLISHED, third, [now; 2]));
        *states.entry("established").or_default() += 2 + 2 + 4 + 2 + 1 + 2 + 4;
        *states.entry("closed").or_default() += 2;
        let census = sweep_all(&mut datapath);
        assert_eq!((census.states.values().sum::<u64>(), census.states), (census.entries, states));
        let range = |nat: IpAddr| (REPLICA.into(), Be16::new(PORT), nat.into());
        let range6 = |nat: IpAddr| (replica6.into(), Be16::new(PORT), nat.into());
        let ports = [(range(VIP), 10), (range(other), 3), (range6(nat6), 0), (range6(other6), 1)];
        assert_eq!(census.nat_ports, ports.into());
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_walk_ends_what_both_directions_have_outlived_and_nothing_else() {
    as_root(|_| {
        let (mut datapath, connections, now) = served(fresh());
        let second = datapath.ticks_per_second;
        let (mut old, mut young, mut number) = (Vec::new(), Vec::new(), 0);
        for state in State::ALL {
            let lasts = lasts(&datapath, state);
            let (before, still) =
                (now.wrapping_sub(lasts + second), now.wrapping_sub(lasts.saturating_sub(2 * second)));
            let mut add = |seen| {
                number += 1;
                connections.nat(number, &connection(state, 1, seen))
            };
            old.extend(add([before; 2]));
            young.extend(add([still; 2]));
            // One direction talks on. What is held has no other.
            if state != State::TIME_WAIT_HELD {
                young.extend(add([before, still]));
                young.extend(add([still, before]));
            }
        }
        let expired = connections.direct(999, &connection(State::ESTABLISHED, 1, [old[4].last_seen; 2]));
        let census = sweep_all(&mut datapath);
        assert_eq!(census.removed, State::ALL.len() as u64 + 1);
        let there = |flow: &&Flow| connections.is_there(flow);
        assert_eq!(old.iter().chain([&expired]).find(there), None, "outlived its state, and is there");
        assert_eq!(young.iter().find(|flow| !there(flow)), None, "is gone before its time");
        assert_eq!(sweep_all(&mut datapath).removed, 0);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_a_packet_revived_before_the_kernel_looked_stays() {
    as_root(|_| {
        let (mut datapath, connections, now) = served(fresh());
        let lasts = lasts(&datapath, State::CLOSED) + 9;
        let old = now.wrapping_sub(lasts);
        let mut ends = |flow: &Flow| {
            let done =
                sweep::carry_out(&mut datapath.ebpf, &[*flow], Request::end).expect("the program runs");
            done[0]
        };
        let [client, replica] = connections.nat(1, &connection(State::CLOSED, 1, [old; 2]));
        for revived in [&client, &replica] {
            connections.see(revived, now);
            assert!(!ends(&client) && !ends(&replica), "{:?} was seen", revived.direction());
            assert!(connections.is_there(&client) && connections.is_there(&replica));
            connections.see(revived, old);
        }
        // Another state, or another connection: the control word is another one.
        let other = Flow { control: client.control.with_state(State::ESTABLISHED), ..client };
        assert!(!ends(&other) && connections.is_there(&client));
        assert!(ends(&client) && !connections.is_there(&client) && !connections.is_there(&replica));
        assert!(!ends(&client), "gone already");
    });
}

/// The agent takes the connection for over, and the kernel does not: it is counted like any other.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_what_the_kernel_did_not_end_is_counted() {
    as_root(|_| {
        let (mut datapath, connections, now) = served(fresh());
        let hop = connections.assign_hop(1, now.wrapping_sub(99));
        let seen = [now.wrapping_sub(50); 2];
        connections.nat(1, &Connection { hop, ..connection(State::ESTABLISHED, 3, seen) });
        // What the kernel has says an hour.
        datapath.settings.as_mut().expect("settings were applied").established = 10;
        for _ in 0..4 {
            let census = sweep_all(&mut datapath);
            assert_eq!(census.flows, BTreeMap::from([(3, 1)]));
            assert_eq!(census.held, BTreeMap::from([(3, 2)]));
            assert_eq!(census.removed, 0);
        }
        assert!(connections.hop(hop).is_some(), "it is named");
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_next_hops_are_freed_after_two_walks_without_a_name() {
    as_root(|_| {
        let (mut datapath, connections, now) = served(fresh());
        let before = now.wrapping_sub(2 * datapath.ticks_per_second);
        let [named, unnamed, by_client] = [1, 2, 3].map(|number| connections.assign_hop(number, before));
        connections.nat(1, &Connection { hop: named, ..connection(State::ESTABLISHED, 1, [now; 2]) });
        let gone_soon = Connection { hop: by_client, ..connection(State::CLOSED, 1, [now; 2]) };
        let [client, _] = connections.nat(2, &gone_soon);
        let there = || [named, unnamed, by_client].map(|index| connections.hop(index).is_some());
        sweep_all(&mut datapath);
        assert_eq!(there(), [true; 3], "one walk is not enough");
        sweep_all(&mut datapath);
        assert_eq!(there(), [true, false, true]);
        datapath.age_flows(lasts(&datapath, State::CLOSED) + 9).expect("the table");
        connections.see(&client, now.wrapping_sub(lasts(&datapath, State::CLOSED) + 9));
        assert_eq!(sweep_all(&mut datapath).removed, 1);
        // It was named when the last walk began, and is not named in this one nor in the next.
        assert_eq!(there(), [true, false, true]);
        sweep_all(&mut datapath);
        assert_eq!(there(), [true, false, false]);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_a_next_hop_that_was_just_assigned_stays() {
    as_root(|_| {
        let (mut datapath, connections, _) = served(fresh());
        let mut index = 0;
        for _ in 0..5 {
            // A packet has its next hop before its entry stands in the table: each walk finds it without a name. The clock has gone on
            // since.
            let now = datapath.now().expect("the clock").wrapping_sub(1);
            index = connections.assign_hop(9, now);
            sweep_all(&mut datapath);
            assert!(connections.hop(index).is_some());
        }
        let old = sweep::carry_out(&mut datapath.ebpf, &[index], |&index| Request::free_hop(index, 0));
        assert_eq!(old.expect("the program runs"), [false]);
    });
}

#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_mapped_memory_is_what_the_kernel_wrote() {
    as_root(|_| {
        // So large that no bucket gets more handshakes than it may have.
        let (mut datapath, connections, _) = served(of_size(16_384));
        for port in 20_000..20_200 {
            assert!(opens(&mut datapath, port));
        }
        let reader = datapath.reader();
        let words = reader.table_words();
        let map: Array<&MapData, Bucket> =
            Array::try_from(datapath.ebpf.map(map::FLOWS).expect("the object has the map"))
                .expect("an array");
        assert_eq!(map.len(), words.buckets());
        for number in 0..map.len() {
            let bucket = map.get(&number, 0).expect("the bucket");
            let mapped = words.bucket(number).expect("the bucket");
            let line = |way| (0..16).map(move |word| words.way(mapped, way).load(word));
            let seen: Vec<u8> = (0..WAYS).flat_map(line).flat_map(u32::to_ne_bytes).collect();
            assert_eq!(seen, bucket, "bucket {number}");
        }
        assert_eq!(words.line(dtr_lb_common::abi::Place(map.len() * WAYS)).map(|_| ()), None);
        let entries = datapath.flow_entries();
        assert_eq!(entries.len(), 400);
        let hop = connections.hop(entries[0].hop).expect("the client's next hop");
        assert!(entries.iter().all(|entry| entry.hop == entries[0].hop));
        // The frame's addresses, the other way round; it came in by the loopback interface.
        assert_eq!((hop.interface, hop.destination, hop.source), (1, [0x0202; 3], [0x0202; 3]));
        assert_eq!(size_of::<Bucket>(), BUCKET_BYTES);
    });
}

/// The keys choose the buckets: with others, the next agent's programs would find none of the connections.
#[test]
#[ignore = "needs root: cargo xtask test runs it"]
fn as_root_an_adopted_table_keeps_its_keys() {
    as_root(|root| {
        let (mut datapath, _, _) = served(open(root));
        for port in 20_000..20_010 {
            assert!(opens(&mut datapath, port), "{port} {:?}", datapath.meter().verdicts());
        }
        let (keys, before) = (datapath.flow_keys, datapath.flow_entries());
        assert_eq!(before.len(), 20);
        drop(datapath);
        let (mut datapath, _, _) = served(open(root));
        assert!(datapath.adopted());
        assert_eq!(datapath.flow_keys, keys);
        // The same SYNs once more, as clients send them that have no answer yet: each finds its entry.
        for port in 20_000..20_010 {
            assert!(opens(&mut datapath, port));
        }
        let after = datapath.flow_entries();
        let identity = |flow: &Flow| (flow.place, flow.key.source_port, flow.control.version(), flow.opened);
        assert_eq!(
            after.iter().map(identity).collect::<Vec<_>>(),
            before.iter().map(identity).collect::<Vec<_>>()
        );
        // A table of its own has keys of its own.
        assert_ne!(fresh().flow_keys, keys);
        assert_ne!(keys, <[u64; dtr_lb_common::abi::FLOW_KEYS]>::zeroed());
    });
}
