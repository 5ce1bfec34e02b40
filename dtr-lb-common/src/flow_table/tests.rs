//! The table against a plain model of connections, and figures of where entries stand.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use bytemuck::Zeroable as _;
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _};

use super::{
    insert::{Replace, withdraw},
    room, *,
};
use crate::{
    abi::Tuple,
    address::{Address, Be16},
    hash,
    model::SharedTable,
};

const KEYS: [u64; crate::abi::FLOW_KEYS] =
    [3, 0x9e37_79b9_7f4a_7c15, 5, 0xbf58_476d_1ce4_e5b9, 7, 11, 13, 17, 19, 23];

fn settings(buckets: u32) -> Settings {
    Settings {
        flow_keys: KEYS,
        flow_buckets: buckets,
        first_port: 10_000,
        port_count: 20_000,
        second: 10,
        established: 3000,
        half_closed: 600,
        time_wait: 600,
        closed: 100,
        half_open: 50,
        ..Settings::zeroed()
    }
}

/// Both keys of a connection.
fn tuples(number: u16, wide: bool) -> (Tuple, Tuple) {
    let address = |v4: [u8; 4], v6: u16| -> Address {
        if wide {
            IpAddr::from([0x2001, 0xdb8, 0, v6, 0, 0, 0, number]).into()
        } else {
            IpAddr::from(v4).into()
        }
    };
    let client = Tuple {
        source: address([10, 0, 1, 1], 1),
        destination: address([10, 0, 0, 100], 2),
        source_port: Be16::new(number),
        destination_port: Be16::new(443),
    };
    let answer = Tuple {
        source: address([10, 0, 2, 1], 3),
        destination: address([10, 0, 0, 1], 4),
        source_port: Be16::new(8443),
        destination_port: Be16::new(number),
    };
    (client, answer)
}

struct Table {
    memory: SharedTable,
    settings: Settings,
    now: Ticks,
}

impl Table {
    fn new(buckets: u32) -> Self {
        Self { memory: SharedTable::new(buckets), settings: settings(buckets), now: 100_000 }
    }

    fn buckets(&self, key: &Tuple) -> Buckets {
        buckets(hash::flow_table(&KEYS, key), self.settings.flow_buckets)
    }

    fn find(&self, key: &Tuple) -> Option<Flow> {
        let mut flow = Flow::zeroed();
        find(&&self.memory, key, self.buckets(key), &mut flow).then_some(flow)
    }

    fn insert(&self, flow: &mut Flow, replace: Replace) -> Insertion {
        let clock = Clock { settings: &self.settings, now: self.now };
        insert(&&self.memory, self.buckets(&flow.key), flow, &mut Flow::zeroed(), &clock, |_| replace)
    }

    fn flow(&self, key: Tuple, to: Tuple, state: State, direction: Direction) -> Flow {
        let control = Control::new(state, direction, false);
        let (last_seen, opened) = (self.now, self.now);
        Flow { key, to, control, partner: Place::NONE, last_seen, opened, ..Flow::zeroed() }
    }

    /// Enters both entries of a connection, as the pipeline does.
    fn enter(&self, number: u16, wide: bool, state: State, replace: Replace) -> Insertion {
        let (client, answer) = tuples(number, wide);
        let mut port = self.flow(answer, client.reversed(), state, Direction::ToClient);
        let claimed = self.insert(&mut port, Replace::No);
        if claimed != Insertion::Done {
            return claimed;
        }
        let mut flow = self.flow(client, answer.reversed(), state, Direction::ToReplica);
        flow.partner = port.place;
        let entered = self.insert(&mut flow, replace);
        if entered != Insertion::Done {
            withdraw(&&self.memory, &port);
            return entered;
        }
        port.partner = flow.place;
        publish(&&self.memory, &mut port);
        publish(&&self.memory, &mut flow);
        Insertion::Done
    }

    fn change(&self, number: u16, wide: bool, state: State) -> bool {
        let Some(flow) = self.find(&tuples(number, wide).0) else { return false };
        let mut other = Flow::zeroed();
        assert!(partner(&&self.memory, &flow, &mut other), "{flow:#?} has no partner");
        let version = flow.control.version();
        let changed = transition(&&self.memory, flow.place, version, |control| control.with_state(state));
        copy_state(&&self.memory, flow.place, version, &other);
        changed.is_some()
    }

    /// Both directions stand there and name each other.
    fn is_whole(&self, number: u16, wide: bool) -> bool {
        let (client, answer) = tuples(number, wide);
        let (Some(flow), Some(port)) = (self.find(&client), self.find(&answer)) else { return false };
        let mut other = Flow::zeroed();
        partner(&&self.memory, &flow, &mut other)
            && other == port
            && partner(&&self.memory, &port, &mut other)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter { number: u16, wide: bool, state: State },
    Change { number: u16, wide: bool, state: State },
    End { number: u16, wide: bool, by_port: bool },
    Later(Ticks),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..12u16;
    let state = || prop::sample::select(&State::ALL[..7]);
    prop_oneof![
        4 => (number.clone(), any::<bool>(), state())
            .prop_map(|(number, wide, state)| Step::Enter { number, wide, state }),
        2 => (number.clone(), any::<bool>(), state())
            .prop_map(|(number, wide, state)| Step::Change { number, wide, state }),
        1 => (number, any::<bool>(), any::<bool>())
            .prop_map(|(number, wide, by_port)| Step::End { number, wide, by_port }),
        1 => (1..40u32).prop_map(Step::Later),
    ]
}

proptest! {
    /// Whatever is entered, changed and ended, of whatever width: connections that are live stand there until they end, both halves
    /// of each are there or none, and no key is there twice.
    #[test]
    fn is_a_map_of_connections(count in 1..5u32, steps in prop::collection::vec(step(), 0..80)) {
        let mut table = Table::new(count);
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Enter { number, wide, state } => {
                    let known = model.contains_key(&(number, wide));
                    let entered = table.enter(number, wide, state, Replace::No);
                    match entered {
                        Insertion::Done => { model.insert((number, wide), state); }
                        Insertion::Exists => prop_assert!(known),
                        Insertion::Full | Insertion::Cleared => {}
                        Insertion::Busy => prop_assert!(wide || model.keys().any(|(_, wide)| *wide), "nobody else is here"),
                    }
                }
                Step::Change { number, wide, state } => {
                    let changed = table.change(number, wide, state);
                    prop_assert_eq!(changed, model.contains_key(&(number, wide)));
                    if changed {
                        model.insert((number, wide), state);
                    }
                }
                Step::End { number, wide, by_port } => {
                    let (client, answer) = tuples(number, wide);
                    let flow = table.find(if by_port { &answer } else { &client });
                    prop_assert_eq!(flow.is_some(), model.remove(&(number, wide)).is_some());
                    if let Some(flow) = flow {
                        prop_assert!(end(&&table.memory, &flow, End::CLOSED));
                    }
                }
                Step::Later(ticks) => table.now += ticks,
            }
            let entries = table.memory.entries();
            let keys: HashSet<_> = entries.iter().map(|flow| flow.key).collect();
            prop_assert_eq!(keys.len(), entries.len(), "a key is there twice");
            // What is not live may have made room.
            for ((number, wide), state) in &model {
                let whole = table.is_whole(*number, *wide);
                prop_assert!(whole || !state.live() || table.now > 100_600, "{} {} {:?} is gone", number, wide, state);
            }
            model.retain(|(number, wide), _| table.is_whole(*number, *wide));
            prop_assert_eq!(entries.len(), 2 * model.len(), "half of a connection is left: {:#?}", entries);
        }
    }
}

#[test]
fn a_replaced_connection_holds_its_port_or_leaves_it() {
    for (replace, left) in [(Replace::Own, None), (Replace::OwnAndHold, Some(State::TIME_WAIT_HELD))] {
        let table = Table::new(2);
        assert_eq!(table.enter(1, false, State::TIME_WAIT, Replace::No), Insertion::Done);
        let old = tuples(1, false);
        // The same client by another port.
        let mut port = table.flow(tuples(2, false).1, old.0.reversed(), State::SYN_SENT, Direction::ToClient);
        assert_eq!(table.insert(&mut port, Replace::No), Insertion::Done);
        let mut flow = table.flow(old.0, port.key.reversed(), State::SYN_SENT, Direction::ToReplica);
        flow.partner = port.place;
        assert_eq!(table.insert(&mut flow, replace), Insertion::Done);
        port.partner = flow.place;
        publish(&&table.memory, &mut port);
        publish(&&table.memory, &mut flow);
        assert_eq!(table.find(&old.1).map(|held| held.state()), left);
        assert_eq!(table.find(&old.0), Some(flow));
    }
}

#[test]
fn who_makes_room_first() {
    let table = Table::new(1);
    let clock = Clock { settings: &table.settings, now: table.now };
    let rank = |state: State, direction, age: Ticks| {
        let table = SharedTable::new(1);
        let line = (&table).line(Place(0)).expect("a table has a place");
        line.store(entry::word::LAST_SEEN, clock.now.wrapping_sub(age));
        line.store(entry::word::PARTNER, Place::NONE.0);
        room::rank(line, Control::new(state, direction, false), &clock)
    };
    let order = [
        rank(State::FREE, Direction::ToReplica, 0),
        rank(State::TIME_WAIT, Direction::ToReplica, 601),
        rank(State::TIME_WAIT, Direction::ToReplica, 10),
        rank(State::CLOSED, Direction::ToClient, 9),
        rank(State::SYN_SENT, Direction::ToReplica, 8),
        rank(State::SYN_RECEIVED, Direction::ToClient, 7),
        rank(State::ESTABLISHED, Direction::Direct, 2),
        rank(State::ESTABLISHED, Direction::Direct, 1),
        rank(State::ESTABLISHED, Direction::ToReplica, 2999),
    ];
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    assert_eq!(order[8], room::NEVER);
    let outlived = rank(State::ESTABLISHED, Direction::ToReplica, 3001);
    assert!(
        order[7] < outlived && outlived < room::NEVER,
        "it has outlived the idle time-out, as far as this direction tells"
    );
    // Another processor's clock is a tick ahead.
    assert!(rank(State::SYN_SENT, Direction::ToReplica, 1u32.wrapping_neg()) >= order[4]);
}

#[test]
fn handshakes_leave_half_of_a_bucket() {
    let table = Table::new(1);
    for number in 0..50 {
        assert_eq!(table.enter(number, false, State::SYN_SENT, Replace::No), Insertion::Done);
        assert_eq!(table.memory.entries().len(), 2);
    }
    assert_eq!(table.enter(60, false, State::ESTABLISHED, Replace::No), Insertion::Done);
    assert!(table.is_whole(49, false) && table.is_whole(60, false));
}

/// `cargo test -p dtr-lb-common --release -- --ignored --nocapture where_a_bucket_is_full`
#[test]
#[ignore = "figures, not a test"]
fn where_a_bucket_is_full() {
    println!("load   two buckets: in the second, refused   one bucket: does not fit");
    for load in [0.25, 0.43, 0.5, 0.6, 0.7, 0.8] {
        let two = fill(load, |buckets| buckets);
        let one = fill(load, |buckets| Buckets { second: buckets.first, ..buckets });
        println!("{load:.2}   {:>10.2} % {:>12.4} % {:>22.3} %", two.0, two.1, one.1);
    }
}

/// Fills a table to this load with connections that make no room, replaces each of them four times, one at a time at random, and
/// says which share of those that are there stands in the second bucket, and which share of insertions found no place.
fn fill(load: f64, choose: impl Fn(Buckets) -> Buckets) -> (f64, f64) {
    const BUCKETS: u32 = 65_536;
    let table = Table::new(BUCKETS);
    let clock = Clock { settings: &table.settings, now: table.now };
    let mut random = rand::rngs::SmallRng::seed_from_u64(2026);
    let live = (f64::from(BUCKETS * WAYS) * load) as usize;
    let mut places: Vec<Option<(Flow, bool)>> = Vec::new();
    let (mut refused, mut tried) = (0, 0);
    for number in 0..5 * live {
        let hash: u32 = random.random();
        let mut key = tuples(0, false).1;
        key.source = Address::v4(bytemuck::cast(random.random::<u32>()));
        let mut flow = table.flow(key, key.reversed(), State::ESTABLISHED, Direction::ToClient);
        let slot = if number < live { None } else { Some(random.random_range(0..live)) };
        if let Some((flow, _)) = slot.and_then(|slot| places[slot]) {
            assert!(end(&&table.memory, &flow, End::CLOSED));
        }
        let buckets = choose(buckets(hash, BUCKETS));
        let inserted =
            insert(&&table.memory, buckets, &mut flow, &mut Flow::zeroed(), &clock, |_| Replace::No);
        let place = (inserted == Insertion::Done).then(|| {
            publish(&&table.memory, &mut flow);
            (flow, flow.place.bucket() != buckets.first)
        });
        if number >= live {
            tried += 1;
            refused += usize::from(place.is_none());
        }
        match slot {
            Some(slot) => places[slot] = place,
            None => places.push(place),
        }
    }
    let second = places.iter().flatten().filter(|(_, second)| *second).count();
    (100.0 * second as f64 / live as f64, 100.0 * refused as f64 / tried as f64)
}
