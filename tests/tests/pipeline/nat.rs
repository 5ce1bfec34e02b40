//! Random conversations of several clients with a service, as their ends see them: with time passing, entries evicted and
//! replicas drained. A plain [`oracle`] says what network address translation must do whatever the order of events.

use std::{cell::RefCell, net::SocketAddr};

use dtr_lb_common::{
    abi::Ticks,
    verdict::{Action, Verdict},
};
use dtr_lb_tests::fixture::{
    Engine as _, Host, Output, Plan,
    frames::{Kind, Macs, Segment, ends},
    host::SECOND,
    plan::End,
    world::{ALICE, Client, HTTPS, REPLICA_1, REPLICA_2, REPLICA_3, World, three_replicas},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{TestCaseResult, TestRunner},
};

#[path = "nat/oracle.rs"]
mod oracle;

use oracle::{Oracle, Side};

/// Three hosts with two ports each: one of the NAT range, and one outside it.
const CLIENTS: [Client; 6] = [
    ALICE,
    Client::new(1, 20_001),
    Client::new(2, 40_000),
    Client::new(2, 20_001),
    Client::new(3, 40_000),
    Client::new(3, 20_002),
];

const REPLICAS: [End; 3] = [REPLICA_1, REPLICA_2, REPLICA_3];

#[derive(Clone, Debug)]
enum Event {
    /// A client sends.
    Client(usize, Kind),
    /// A replica sends on one of the last connections.
    Replica(Index, Kind),
    /// SYN, SYN-ACK and ACK of a client.
    Handshake(usize),
    /// Both ends of a client's connection close it, the replica first if so.
    Close(usize, bool),
    Wait(Ticks),
    Evict(Index),
    /// The weights of the replicas.
    Weigh([u16; 3]),
}

fn event() -> impl Strategy<Value = Event> {
    let client = 0..CLIENTS.len();
    let of_client = prop::sample::select(vec![Kind::Syn, Kind::Ack, Kind::Data, Kind::Fin, Kind::Rst]);
    let of_replica =
        prop::sample::select(vec![Kind::SynAck, Kind::Ack, Kind::Data, Kind::Fin, Kind::Rst, Kind::Refusal]);
    let seconds = prop::sample::select(vec![1, 2, 9, 11, 29, 31, 59, 61, 299, 301, 3599, 3601]);
    let time = prop_oneof![
        3 => 0..SECOND * 2,
        4 => seconds.prop_map(|seconds| seconds * SECOND),
        1 => 0..100 * SECOND,
    ];
    let weights =
        prop::sample::select(vec![[100; 3], [100, 100, 0], [100, 0, 0], [0, 100, 100], [0, 0, 100]]);
    prop_oneof![
        8 => (client.clone(), of_client).prop_map(|(client, kind)| Event::Client(client, kind)),
        8 => (any::<Index>(), of_replica).prop_map(|(nth, kind)| Event::Replica(nth, kind)),
        6 => client.clone().prop_map(Event::Handshake),
        3 => (client, any::<bool>()).prop_map(|(client, replica_first)| Event::Close(client, replica_first)),
        6 => time.prop_map(Event::Wait),
        2 => any::<Index>().prop_map(Event::Evict),
        1 => weights.prop_map(Event::Weigh),
    ]
}

/// What was seen, of all runs: that the random events reach what they are to test.
#[derive(Debug, Default)]
struct Seen {
    opened: usize,
    forwarded: usize,
    late: usize,
    no_port: usize,
    evicted: usize,
    refused: usize,
    silent: usize,
}

/// The conversations of one run.
struct Conversations<'a> {
    host: Host,
    world: World,
    oracle: Oracle,
    seen: &'a RefCell<Seen>,
}

impl<'a> Conversations<'a> {
    fn new(plan: Plan, seen: &'a RefCell<Seen>) -> Self {
        let mut world = three_replicas(plan);
        world.settings.nat_ports = 20_000..=20_003;
        let mut host = Host::default();
        host.apply(&world);
        Self { host, world, oracle: Oracle::new(SECOND, HTTPS.at(plan)), seen }
    }

    fn happens(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Client(client, kind) => self.client_sends(*client, *kind),
            Event::Replica(nth, kind) => {
                let recent = self.oracle.recent(8);
                if recent.is_empty() { Ok(()) } else { self.replica_sends(*nth.get(&recent), *kind) }
            }
            Event::Handshake(client) => {
                self.client_sends(*client, Kind::Syn)?;
                self.answer(*client, Kind::SynAck)?;
                self.client_sends(*client, Kind::Ack)
            }
            Event::Close(client, true) => {
                self.answer(*client, Kind::Fin)?;
                self.client_sends(*client, Kind::Fin)
            }
            Event::Close(client, false) => {
                self.client_sends(*client, Kind::Fin)?;
                self.answer(*client, Kind::Fin)
            }
            Event::Wait(ticks) => {
                let now = &self.host.model.now;
                now.set(now.get().wrapping_add(*ticks));
                self.oracle.waits(*ticks);
                Ok(())
            }
            Event::Evict(nth) => {
                self.evict(*nth);
                Ok(())
            }
            Event::Weigh(weights) => {
                for (replica, weight) in REPLICAS.into_iter().zip(weights) {
                    self.world.replica(HTTPS, replica).weight = *weight;
                }
                self.host.apply(&self.world);
                Ok(())
            }
        }
    }

    /// The replica's end of a client's last connection sends.
    fn answer(&mut self, client: usize, kind: Kind) -> Result<(), String> {
        self.oracle
            .current(CLIENTS[client].at(self.world.plan))
            .map_or(Ok(()), |connection| self.replica_sends(connection, kind))
    }

    fn client_sends(&mut self, client: usize, kind: Kind) -> Result<(), String> {
        let Client { end, macs } = CLIENTS[client];
        let end = end.at(self.world.plan);
        let before = self.new_flows();
        let output = self.run(&Segment::new(macs, end, HTTPS.at(self.world.plan), kind));
        let opened = self.new_flows() - before;
        if output.verdict.action() != Action::Forward {
            return self.oracle.client_was_refused(end, kind, output.verdict);
        }
        let left = ends(&output.frame).ok_or("what left is no TCP")?;
        let current = self.oracle.current(end);
        if output.verdict == Verdict::Redispatched {
            self.seen.borrow_mut().silent += 1;
            self.steered(kind, opened, left.1)?;
            return self.oracle.redispatched(current.ok_or("of no connection")?, kind, left);
        }
        if let Some(current) = current.filter(|current| self.must_redispatch(*current, kind, true)) {
            return Err(format!("{:?} does not answer and was asked again", self.oracle.side(current)));
        }
        if opened == 0 {
            return self.oracle.client_was_forwarded(end, kind, left);
        }
        self.seen.borrow_mut().opened += 1;
        if kind != Kind::Syn {
            return Err(format!("{kind:?} of {end} opened a connection to {}", left.1));
        }
        self.steered(kind, opened, left.1)?;
        self.oracle.client_opened(end, left)
    }

    /// One connection was opened, to a replica that takes some.
    fn steered(&self, kind: Kind, opened: u64, replica: SocketAddr) -> Result<(), String> {
        if opened == 1 && self.takes_new().contains(&replica) {
            return Ok(());
        }
        Err(format!("{kind:?} opened {opened} connections to {replica}"))
    }

    /// Replicas that are not drained.
    fn takes_new(&self) -> Vec<SocketAddr> {
        let replicas = self
            .world
            .services
            .values()
            .flat_map(|service| &service.replicas)
            .filter(|replica| replica.weight > 0);
        replicas.map(|replica| SocketAddr::new(replica.address, replica.port)).collect()
    }

    fn must_redispatch(&self, connection: usize, kind: Kind, from_client: bool) -> bool {
        self.oracle.must_redispatch(connection, kind, from_client, &self.takes_new())
    }

    fn replica_sends(&mut self, connection: usize, kind: Kind) -> Result<(), String> {
        let Side { nat, replica } = self.oracle.side(connection);
        let macs = Macs { destination: [2, 0, 0, 0, 0, 1], source: [2, 0xde, 0, 0, 0, 0] };
        let before = self.new_flows();
        let output = self.run(&Segment::new(macs, replica, nat, kind));
        if output.verdict.action() != Action::Forward {
            return self.oracle.replica_was_refused(connection, kind, output.verdict);
        }
        let (from, to) = ends(&output.frame).ok_or("what left is no TCP")?;
        if output.verdict == Verdict::Redispatched {
            self.seen.borrow_mut().refused += 1;
            self.steered(kind, self.new_flows() - before, to)?;
            return self.oracle.redispatched(self.oracle.owner(connection), kind, (from, to));
        }
        if self.must_redispatch(connection, kind, false) {
            return Err(format!("{replica} refused, and {to} was told"));
        }
        if from != HTTPS.at(self.world.plan) {
            return Err(format!("{to} gets an answer from {from}"));
        }
        self.oracle.replica_was_forwarded(connection, kind, to)
    }

    fn run(&mut self, segment: &Segment) -> Output {
        let output = self.host.run(&segment.bytes());
        let mut seen = self.seen.borrow_mut();
        match output.verdict {
            Verdict::Forwarded => seen.forwarded += 1,
            Verdict::DroppedLate => seen.late += 1,
            Verdict::DroppedNoPort => seen.no_port += 1,
            _ => {}
        }
        drop(seen);
        output
    }

    fn new_flows(&self) -> u64 {
        self.host.model.counters.borrow().values().map(|counters| counters.new_flows).sum()
    }

    fn evict(&mut self, nth: Index) {
        let model = &self.host.model;
        let mut flows = model.flows.entries.borrow_mut();
        let mut half_open = model.half_open.entries.borrow_mut();
        let mut keys: Vec<_> = flows.keys().chain(half_open.keys()).copied().collect();
        if keys.is_empty() {
            return;
        }
        // The tables' own order is another in each process.
        keys.sort_by_key(|key| (key.source, key.destination, key.source_port, key.destination_port));
        let key = nth.get(&keys);
        flows.remove(key);
        half_open.remove(key);
        self.seen.borrow_mut().evicted += 1;
        self.oracle.evicted(key);
    }
}

#[test]
fn no_packet_reaches_a_wrong_end() -> TestCaseResult {
    let seen = RefCell::new(Seen::default());
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(
        &(prop::sample::select(Plan::ALL), vec(event(), 1..80usize)),
        |(plan, events)| {
            let mut conversations = Conversations::new(plan, &seen);
            for event in &events {
                conversations
                    .happens(event)
                    .map_err(|why| TestCaseError::fail(format!("{event:?}: {why}")))?;
            }
            Ok(())
        },
    );
    if let Err(error) = outcome {
        return Err(TestCaseError::fail(error.to_string()));
    }
    let Seen { opened, forwarded, late, no_port, evicted, refused, silent } = seen.into_inner();
    prop_assert!(
        [opened, forwarded, late, no_port, evicted, refused, silent].iter().all(|count| *count > 20),
        "too little was seen"
    );
    Ok(())
}
