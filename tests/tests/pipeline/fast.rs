//! The fast path and the stages are one pipeline: random conversations go through both, on two balancers of which one has no
//! fast path. After each frame both have said the same, sent the same, and remember the same.

use std::cell::Cell;

use dtr_lb_common::{
    abi::{Mode, State, Ticks},
    verdict::{Action, Verdict},
};
use dtr_lb_tests::fixtures::{
    Engine as _, Host, Output, Plan,
    extension::Extension,
    frames::{Kind, Macs, Segment, ends},
    host::SECOND,
    plan::End,
    world::{ALICE, Client, ELSEWHERE, HTTPS, INGRESS, REPLICA_1, REPLICA_2, World, hop, two_replicas},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{TestCaseResult, TestRunner},
};

const CLIENTS: [Client; 3] = [ALICE, Client::new(1, 20_001), Client::new(2, 40_000)];
const REPLICAS: [End; 2] = [REPLICA_1, REPLICA_2];
/// Enough for all of them, and few: all entries are compared after each frame.
const BUCKETS: u32 = 64;

/// What is unusual about a segment.
#[derive(Clone, Debug)]
enum Shape {
    Plain,
    Ttl(u8),
    NetworkOptions(usize),
    SegmentOptions(usize),
    Payload(usize),
    FirstFragment,
    MayBeFragmented,
    Padding(usize),
    Class(u8),
    Moved,
    Damaged(Index, u8),
    Cut(Index),
}

#[derive(Clone, Debug)]
enum Event {
    Sends { client: usize, from_client: bool, kind: Kind, sequence: u32, acknowledgment: u32, shape: Shape },
    Handshake(usize),
    Wait(Ticks),
    Sweep,
    Mtu(usize, u32),
    Reset(usize, bool),
    Moves(usize, bool),
    Drains(usize, bool),
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        8 => Just(Shape::Plain),
        1 => select(vec![0, 1, 2, 255]).prop_map(Shape::Ttl),
        1 => (1..4_usize).prop_map(Shape::NetworkOptions),
        2 => (1..=10_usize).prop_map(Shape::SegmentOptions),
        3 => prop_oneof![0..40_usize, 900..1500_usize].prop_map(Shape::Payload),
        1 => Just(Shape::FirstFragment),
        1 => Just(Shape::MayBeFragmented),
        1 => (1..8_usize).prop_map(Shape::Padding),
        1 => any::<u8>().prop_map(Shape::Class),
        1 => Just(Shape::Moved),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Shape::Damaged(at, byte)),
        1 => any::<Index>().prop_map(Shape::Cut),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = [&[Kind::Data; 8][..], &[Kind::Ack; 8], &Kind::ALL].concat();
    let off = || prop_oneof![6 => Just(0), 2 => 0..3000_u32, 1 => any::<u32>()];
    let client = || 0..CLIENTS.len();
    let replica = || 0..REPLICAS.len();
    let seconds = select(vec![1, 9, 11, 29, 31, 59, 61, 119, 121, 299, 301, 3601]);
    let time = prop_oneof![4 => 0..SECOND, 1 => seconds.prop_map(|seconds| seconds * SECOND)];
    prop_oneof![
        24 => (client(), any::<bool>(), select(kinds), off(), off(), shape()).prop_map(
            |(client, from_client, kind, sequence, acknowledgment, shape)| Event::Sends {
                client,
                from_client,
                kind,
                sequence,
                acknowledgment,
                shape,
            }
        ),
        6 => client().prop_map(Event::Handshake),
        3 => time.prop_map(Event::Wait),
        1 => Just(Event::Sweep),
        1 => (replica(), select(vec![0, 600, 1000, 1500])).prop_map(|(at, mtu)| Event::Mtu(at, mtu)),
        1 => (replica(), prop::bool::weighted(0.2)).prop_map(|(at, reset)| Event::Reset(at, reset)),
        1 => (replica(), any::<bool>()).prop_map(|(at, away)| Event::Moves(at, away)),
        1 => (replica(), prop::bool::weighted(0.2)).prop_map(|(at, drained)| Event::Drains(at, drained)),
    ]
}

/// The same balancer twice.
struct Twins<'a> {
    world: World,
    fast: Host,
    staged: Host,
    /// How the replica sees each client's connection: from where, and where.
    sides: [Option<(std::net::SocketAddr, std::net::SocketAddr)>; CLIENTS.len()],
    steady: &'a Cell<usize>,
}

impl<'a> Twins<'a> {
    fn new(plan: Plan, mode: Mode, steady: &'a Cell<usize>) -> Self {
        let world = two_replicas(plan).by(mode);
        let [mut fast, mut staged] = [(); 2].map(|()| Host::with_buckets(BUCKETS));
        staged.model.fast = false;
        fast.apply(&world);
        staged.apply(&world);
        Self { world, fast, staged, sides: [None; CLIENTS.len()], steady }
    }

    fn happens(&mut self, event: &Event) -> TestCaseResult {
        match event {
            Event::Sends { client, from_client, kind, sequence, acknowledgment, shape } => {
                let Some(segment) = self.segment(*client, *from_client, *kind) else { return Ok(()) };
                let segment = Segment {
                    sequence: segment.sequence.wrapping_add(*sequence),
                    acknowledgment: segment.acknowledgment.wrapping_add(*acknowledgment),
                    ..segment
                };
                let output = self.run(&shaped(segment, shape))?;
                if *from_client {
                    self.learns(*client, *kind, &output);
                }
            }
            Event::Handshake(client) => {
                for (from_client, kind) in [(true, Kind::Syn), (false, Kind::SynAck), (true, Kind::Ack)] {
                    if let Some(segment) = self.segment(*client, from_client, kind) {
                        let output = self.run(&segment.bytes())?;
                        self.learns(*client, kind, &output);
                    }
                }
            }
            Event::Wait(ticks) => {
                for host in [&self.fast, &self.staged] {
                    host.model.now.set(host.model.now.get().wrapping_add(*ticks));
                }
            }
            Event::Sweep => {
                self.fast.sweep();
                self.staged.sweep();
            }
            Event::Mtu(at, mtu) => self.world.replica(HTTPS, REPLICAS[*at]).mtu = *mtu,
            Event::Reset(at, reset) => self.world.replica(HTTPS, REPLICAS[*at]).reset = *reset,
            Event::Moves(at, away) => {
                let interface = if *away { ELSEWHERE } else { INGRESS };
                let way = hop(interface, REPLICAS[*at].host, u8::from(*away));
                self.world.replica(HTTPS, REPLICAS[*at]).hop = Some(way);
            }
            Event::Drains(at, drained) => {
                self.world.replica(HTTPS, REPLICAS[*at]).weight = if *drained { 0 } else { 100 };
            }
        }
        if matches!(event, Event::Mtu(..) | Event::Reset(..) | Event::Moves(..) | Event::Drains(..)) {
            self.fast.apply(&self.world);
            self.staged.apply(&self.world);
        }
        Ok(())
    }

    /// What an end sends; nothing if there is no such end.
    fn segment(&self, client: usize, from_client: bool, kind: Kind) -> Option<Segment> {
        let plan = self.world.plan;
        if from_client {
            let Client { macs, .. } = CLIENTS[client];
            return Some(Segment::new(macs, CLIENTS[client].at(plan), HTTPS.at(plan), kind));
        }
        let (nat, replica) = self.sides[client]?;
        let macs = Macs::new([2, 0, 0, 0, 0, 1], [2, 0xde, 0, 0, 0, 0]);
        Some(Segment::new(macs, replica, nat, kind))
    }

    /// Reads off a SYN that left how its replica sees the connection.
    fn learns(&mut self, client: usize, kind: Kind, output: &Output) {
        let steered = matches!(output.verdict, Verdict::Forwarded | Verdict::Redispatched);
        if kind == Kind::Syn && steered && !self.world.service(HTTPS).mode.direct() {
            self.sides[client] = ends(&output.frame);
        }
    }

    fn run(&mut self, frame: &[u8]) -> Result<Output, TestCaseError> {
        let [fast, staged] = [&mut self.fast, &mut self.staged].map(|host| host.run(frame));
        prop_assert_eq!(fast.verdict.name(), staged.verdict.name());
        prop_assert_eq!(&fast.frame, &staged.frame, "{}", fast.verdict.name());
        prop_assert_eq!(fast.exit, staged.exit);
        let entries = self.fast.model.entries();
        prop_assert_eq!(&entries, &self.staged.model.entries(), "{}", fast.verdict.name());
        prop_assert_eq!(&*self.fast.model.counters.borrow(), &*self.staged.model.counters.borrow());
        if fast.verdict.action() == Action::Forward
            && entries.iter().any(|flow| flow.state() == State::ESTABLISHED)
        {
            self.steady.set(self.steady.get() + 1);
        }
        Ok(fast)
    }
}

fn shaped(segment: Segment, shape: &Shape) -> Vec<u8> {
    let segment = match *shape {
        Shape::Plain | Shape::Damaged(..) | Shape::Cut(_) => segment,
        Shape::Ttl(ttl) => Segment { ttl, ..segment },
        Shape::NetworkOptions(words) => Segment {
            ip_options: vec![1; 4 * words],
            extensions: vec![Extension::Destination(8 * words)],
            ..segment
        },
        Shape::SegmentOptions(words) => Segment { tcp_options: vec![1; 4 * words], ..segment },
        Shape::Payload(length) => Segment { payload: vec![0x5a; length], ..segment },
        Shape::FirstFragment => Segment { more_fragments: true, ..segment },
        Shape::MayBeFragmented => Segment { may_fragment: true, ..segment },
        Shape::Padding(length) => Segment { padding: vec![0xee; length], ..segment },
        Shape::Class(tos) => Segment { tos, ..segment },
        Shape::Moved => {
            Segment { macs: Macs { source: [2, 0xc1, 0, 0, 0x22, 0x23], ..segment.macs }, ..segment }
        }
    };
    let mut frame = segment.bytes();
    match shape {
        Shape::Damaged(at, byte) => {
            // Where the headers are.
            let at = at.index(frame.len().min(80));
            frame[at] = *byte;
        }
        Shape::Cut(at) => frame.truncate(at.index(frame.len())),
        _ => {}
    }
    frame
}

#[test]
fn the_fast_path_does_what_the_stages_do() -> TestCaseResult {
    let steady = Cell::new(0);
    let config = ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() };
    let worlds: Vec<_> = [Mode::NAT, Mode::IPIP]
        .into_iter()
        .flat_map(|mode| Plan::ALL.iter().map(move |plan| (*plan, mode)))
        .chain(
            [Mode::DSR, Mode::DNAT]
                .into_iter()
                .flat_map(|mode| Plan::SAME.iter().map(move |plan| (*plan, mode))),
        )
        .collect();
    let outcome =
        TestRunner::new(config).run(&(select(worlds), vec(event(), 1..80)), |((plan, mode), events)| {
            let mut twins = Twins::new(plan, mode, &steady);
            for event in &events {
                twins.happens(event)?;
            }
            Ok(())
        });
    if let Err(error) = outcome {
        return Err(TestCaseError::fail(error.to_string()));
    }
    prop_assert!(steady.get() > 5000, "{} packets beside an open connection", steady.get());
    Ok(())
}
