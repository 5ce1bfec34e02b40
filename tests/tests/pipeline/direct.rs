//! Random conversations of several clients with replicas that answer them directly: with time passing, entries that end, the
//! agent's sweeps, and replicas drained. The oracle knows what the clients have sent, and where it went.
//!
//! It demands:
//! - what a client sends leaves as it came, to a replica, whatever the datapath knows of it; but for a reset that
//!   nothing is known of;
//! - while a connection is known, each of its packets goes to its own replica. Only a SYN that comes again
//!   after half a second goes to another, and to none that it went to before, as long as no ACK followed;
//! - a connection that lasts is known until it is swept, and a SYN changes nothing about it;
//! - what nothing is known of goes to a replica that takes new connections.

use std::{cell::RefCell, collections::BTreeMap};

use dtr_lb_common::{
    abi::{self, Mode, Ticks, Tuple},
    flow_table,
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Engine as _, Host, Plan,
    frames::{Kind, Segment, tuple},
    host::{SECOND, ticks},
    plan::End,
    world::{
        ALICE, CLOSED, Client, HALF_CLOSED, HALF_OPEN, HTTPS, IDLE, INGRESS, REPLICA_1, REPLICA_2, REPLICA_3,
        World, hop, macs, three_replicas,
    },
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{TestCaseResult, TestRunner},
};

const CLIENTS: [Client; 4] = [ALICE, Client::new(1, 20_001), Client::new(2, 40_000), Client::new(3, 40_000)];
const REPLICAS: [End; 3] = [REPLICA_1, REPLICA_2, REPLICA_3];

#[derive(Clone, Debug)]
enum Event {
    Sends(usize, Kind),
    Wait(Ticks),
    /// An entry makes room.
    End(Index),
    Sweep,
    Weigh([u16; 3]),
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = [Kind::Syn, Kind::Syn, Kind::Ack, Kind::Data, Kind::Fin, Kind::Rst];
    let seconds = prop::sample::select(vec![1, 2, 29, 31, 59, 61, 119, 121, 299, 301, 3599, 3601]);
    let time = prop_oneof![3 => 0..SECOND * 2, 2 => seconds.prop_map(|seconds| seconds * SECOND)];
    let weights = prop::sample::select(vec![[100; 3], [100, 100, 0], [100, 0, 0], [0, 100, 100]]);
    prop_oneof![
        12 => (0..CLIENTS.len(), prop::sample::select(kinds.to_vec()))
            .prop_map(|(client, kind)| Event::Sends(client, kind)),
        5 => time.prop_map(Event::Wait),
        1 => any::<Index>().prop_map(Event::End),
        1 => Just(Event::Sweep),
        1 => weights.prop_map(Event::Weigh),
    ]
}

/// What is known of a client's connection.
#[derive(Clone, Debug)]
struct Known {
    replica: End,
    /// Replicas that its SYN went to before.
    before: Vec<End>,
    handshake: bool,
    /// It began with a SYN, which may be sent to another replica.
    by_syn: bool,
    /// The client has closed or reset it.
    over: bool,
    /// When the SYN was sent to this replica, and when the last packet was.
    began: u64,
    last: u64,
    /// How long it lives without a packet.
    lifetime: u64,
}

impl Known {
    /// Neither a handshake nor reset.
    fn lasts(&self) -> bool {
        self.lifetime == u64::from(ticks(IDLE)) || self.lifetime == u64::from(ticks(HALF_CLOSED))
    }
}

/// What was seen, of all runs.
#[derive(Debug, Default)]
struct Seen {
    steered: usize,
    kept: usize,
    redispatched: usize,
    resets: usize,
    ended: usize,
    swept: usize,
    unverified: usize,
}

struct Conversations<'a> {
    host: Host,
    world: World,
    now: u64,
    known: BTreeMap<usize, Known>,
    seen: &'a RefCell<Seen>,
}

impl<'a> Conversations<'a> {
    fn new(plan: Plan, seen: &'a RefCell<Seen>) -> Self {
        let world = three_replicas(plan).by(Mode::DSR);
        let mut host = Host::default();
        host.apply(&world);
        Self { host, world, now: 0, known: BTreeMap::new(), seen }
    }

    fn happens(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Sends(client, kind) => self.sends(*client, *kind)?,
            Event::Wait(time) => {
                let now = &self.host.model.now;
                now.set(now.get().wrapping_add(*time));
                self.now += u64::from(*time);
            }
            Event::End(nth) => self.end(*nth),
            Event::Sweep => {
                self.host.sweep();
                let before = self.known.len();
                self.known.retain(|_, known| self.now - known.last <= known.lifetime);
                self.seen.borrow_mut().swept += before - self.known.len();
            }
            Event::Weigh(weights) => {
                for (replica, weight) in REPLICAS.into_iter().zip(weights) {
                    self.world.replica(HTTPS, replica).weight = *weight;
                }
                self.host.apply(&self.world);
            }
        }
        Ok(())
    }

    fn sends(&mut self, client: usize, kind: Kind) -> Result<(), String> {
        let plan = self.world.plan;
        let Client { macs: from, .. } = CLIENTS[client];
        let sent = Segment::new(from, CLIENTS[client].at(plan), HTTPS.at(plan), kind);
        let output = self.host.run(&sent.bytes());
        // What lasts goes on however old it is, until it is swept.
        let known = self.known.get(&client);
        let known = known.filter(|known| known.lasts() || self.now - known.last <= known.lifetime).cloned();
        let verdict = output.verdict;
        if verdict == Verdict::PassedNoFlow && kind == Kind::Rst && known.is_none() {
            self.seen.borrow_mut().resets += 1;
            return Ok(());
        }
        let way = |replica: &End| macs(&hop(INGRESS, replica.host, 0));
        let Some(replica) = REPLICAS
            .into_iter()
            .find(|replica| output.frame == Segment { macs: way(replica), ..sent.clone() }.bytes())
        else {
            return Err(format!("{}: it does not leave as it came", verdict.name()));
        };
        let again = known.as_ref().is_some_and(|known| known.handshake) && kind == Kind::Syn;
        match (known, verdict) {
            (Some(mut known), Verdict::Redispatched) => {
                known.before.push(known.replica);
                if !again
                    || self.now - known.began <= u64::from(SECOND / 2)
                    || known.before.contains(&replica)
                {
                    return Err(format!("to {replica:?}, of {known:?}"));
                }
                self.takes_new(replica)?;
                self.seen.borrow_mut().redispatched += 1;
                let Known { before, lifetime, .. } = known;
                let (began, last) = (self.now, self.now);
                let moved = Known {
                    replica,
                    before,
                    handshake: true,
                    by_syn: true,
                    over: false,
                    began,
                    last,
                    lifetime,
                };
                self.known.insert(client, moved);
            }
            (Some(known), Verdict::ForwardedUnverified) if known.lasts() && kind == Kind::Syn => {
                if replica != known.replica {
                    return Err(format!("to {replica:?}, of {known:?}"));
                }
                self.seen.borrow_mut().unverified += 1;
            }
            (Some(known), Verdict::Forwarded) if !(known.over && kind == Kind::Syn) => {
                if replica != known.replica {
                    return Err(format!("to {replica:?}, of {known:?}"));
                }
                self.seen.borrow_mut().kept += 1;
                self.goes_on(client, known, kind);
            }
            (_, Verdict::Forwarded) if kind != Kind::Rst => {
                self.takes_new(replica)?;
                self.seen.borrow_mut().steered += 1;
                let (began, last, lifetime) = (self.now, self.now, ticks(HALF_OPEN).into());
                let new = Known {
                    replica,
                    before: Vec::new(),
                    handshake: true,
                    by_syn: kind == Kind::Syn,
                    over: false,
                    began,
                    last,
                    lifetime,
                };
                self.known.insert(client, new);
            }
            (known, verdict) => return Err(format!("{}, of {known:?}", verdict.name())),
        }
        Ok(())
    }

    fn goes_on(&mut self, client: usize, known: Known, kind: Kind) {
        if known.handshake && kind == Kind::Rst {
            self.known.remove(&client);
            return;
        }
        let handshake = known.handshake && kind == Kind::Syn;
        let (over, lifetime) = match kind {
            _ if handshake => (false, HALF_OPEN),
            Kind::Rst => (true, CLOSED),
            Kind::Fin => (true, HALF_CLOSED),
            // After a reset the client goes on: it was a stranger's.
            _ if known.over && known.lifetime == u64::from(ticks(HALF_CLOSED)) => (true, HALF_CLOSED),
            _ => (false, IDLE),
        };
        // A SYN that asks for another replica where there is none shows nothing new.
        let asks = handshake && known.by_syn && self.now - known.began > u64::from(SECOND / 2);
        let last = if asks { known.last } else { self.now };
        let known = Known { handshake, over, lifetime: ticks(lifetime).into(), last, ..known };
        self.known.insert(client, known);
    }

    fn takes_new(&mut self, replica: End) -> Result<(), String> {
        match self.world.replica(HTTPS, replica).weight {
            0 => Err(format!("steered to {replica:?}, which is drained")),
            _ => Ok(()),
        }
    }

    fn end(&mut self, nth: Index) {
        let plan = self.world.plan;
        let key = |client: &usize| -> Tuple { tuple(CLIENTS[*client].at(plan), HTTPS.at(plan)) };
        let known: Vec<_> = self.known.keys().copied().collect();
        if known.is_empty() {
            return;
        }
        let client = *nth.get(&known);
        let model = &self.host.model;
        for flow in model.entries().iter().filter(|flow| flow.key == key(&client)) {
            assert!(flow_table::end(&&model.flows, flow, abi::End::CLOSED), "nobody else changes it");
        }
        self.known.remove(&client);
        self.seen.borrow_mut().ended += 1;
    }
}

#[test]
fn every_packet_reaches_the_replica_of_its_connection() -> TestCaseResult {
    let seen = RefCell::new(Seen::default());
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    let events = (prop::sample::select(Plan::SAME), vec(event(), 1..80usize));
    let outcome = TestRunner::new(config).run(&events, |(plan, events)| {
        let mut conversations = Conversations::new(plan, &seen);
        for event in &events {
            conversations.happens(event).map_err(|why| TestCaseError::fail(format!("{event:?}: {why}")))?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        return Err(TestCaseError::fail(error.to_string()));
    }
    let Seen { steered, kept, redispatched, resets, ended, swept, unverified } = seen.into_inner();
    prop_assert!(
        [steered, kept, redispatched, resets, ended, swept, unverified].iter().all(|count| *count > 20),
        "too little was seen"
    );
    Ok(())
}
