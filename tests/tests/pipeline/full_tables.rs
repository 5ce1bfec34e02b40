//! Full tables: who makes room for a new connection, and who does not. Of few buckets, so that few connections fill them.

use dtr_lb_common::{
    abi::{Flow, Mode, State},
    flow_table::WAYS,
    verdict::Verdict,
};
use dtr_lb_tests::fixtures::{
    Connection, Engine as _, Host, Plan, Play,
    frames::Kind,
    host::SECOND,
    world::{Client, HTTPS, World, one_replica},
};

/// All entries of a connection are in the one bucket that there is, or in one of two.
const BUCKETS: [u32; 2] = [1, 2];

fn nat(plan: Plan) -> World {
    one_replica(plan)
}

fn direct(plan: Plan) -> World {
    one_replica(plan).by(Mode::DSR)
}

/// A balancer with a table of so many buckets.
struct Balancer {
    host: Host,
    world: World,
}

impl Balancer {
    fn new(world: World, buckets: u32) -> Self {
        let mut host = Host::with_buckets(buckets);
        host.apply(&world);
        Self { host, world }
    }

    fn play(&mut self) -> Play<'_> {
        Play::new("full tables", self.world.plan, &mut self.host, Some(self.world.clone()))
    }

    fn wait(&self) {
        let now = &self.host.model.now;
        now.set(now.get().wrapping_add(SECOND));
    }

    /// A client's SYN, if there is room for it. One that is refused is told, and nothing of it is left.
    fn opens(&mut self, client: Client) -> Option<Connection> {
        let syn = self.play().segment(client, HTTPS, Kind::Syn);
        let before = self.host.model.entries();
        let copy = self.host.run(&syn.bytes());
        match copy.verdict {
            Verdict::Forwarded => {
                // It is known now, so that the same SYN again goes the same way; to read off it which.
                Some(self.play().opens_with("SYN, again", client, &syn))
            }
            Verdict::AnsweredTableFull => {
                assert_eq!(copy.frame, syn.reset().bytes(), "the client is told");
                let after = self.host.model.entries();
                let its = |flow: &&Flow| [flow.key, flow.to.reversed()].contains(&syn.tuple());
                assert_eq!(after.iter().find(its), None, "nothing of it is left");
                for live in before.iter().filter(|flow| flow.state().live()) {
                    assert!(after.contains(live), "{live:?} is gone");
                }
                None
            }
            other => panic!("{}", other.name()),
        }
    }

    /// Fills the table with connections that are established, a second apart.
    fn fills(&mut self) -> Vec<Connection> {
        let mut all: Vec<Connection> = Vec::new();
        let mut refused = 0;
        for host in 1..=90 {
            match self.opens(client(host)) {
                Some(connection) => {
                    self.play().accepts(&connection);
                    all.push(connection);
                    self.wait();
                }
                None => refused += 1,
            }
            if self.direct() && self.host.model.entries().len() < all.len() {
                // One has made room.
                all.remove(0);
                return all;
            }
        }
        let room = (self.host.model.flows.buckets() * WAYS) as usize;
        assert!(!self.direct() && refused > 0 && all.len() <= room / 2, "{} of {room}", all.len());
        all
    }

    fn direct(&self) -> bool {
        self.world.services.values().any(|service| service.mode != Mode::NAT)
    }

    fn knows(&self, connection: &Connection) -> bool {
        self.host.model.entries().iter().any(|flow| flow.key == connection.client_key())
    }

    fn state(&self, connection: &Connection) -> Option<State> {
        let entries = self.host.model.entries();
        entries.iter().find(|flow| flow.key == connection.client_key()).map(Flow::state)
    }
}

fn client(host: u8) -> Client {
    Client::new(host, 40_000)
}

/// Another client, of which nothing is known.
fn stranger(number: u8) -> Client {
    Client::new(100 + number, 40_000)
}

#[test]
fn a_live_connection_makes_room_for_nobody() {
    for plan in Plan::ALL.iter().copied() {
        for buckets in BUCKETS {
            let mut balancer = Balancer::new(nat(plan), buckets);
            let open = balancer.fills();
            assert!(!open.is_empty());
            for number in 0..20 {
                assert_eq!(balancer.opens(stranger(number)), None);
            }
            for connection in &open {
                balancer.play().talks("with a full table", connection);
                assert_eq!(balancer.state(connection), Some(State::ESTABLISHED));
            }
        }
    }
}

#[test]
fn a_half_closed_connection_makes_room_for_nobody() {
    for plan in Plan::ALL.iter().copied() {
        for buckets in BUCKETS {
            let mut balancer = Balancer::new(nat(plan), buckets);
            let open = balancer.fills();
            for connection in &open {
                balancer.play().forwards("FIN", &connection.client(Kind::Fin));
                balancer.play().forwards("ACK", &connection.replica(Kind::Ack));
            }
            for number in 0..20 {
                assert_eq!(balancer.opens(stranger(number)), None);
            }
            for connection in &open {
                balancer.play().forwards("data", &connection.replica(Kind::Data));
                assert_eq!(balancer.state(connection), Some(State::CLIENT_CLOSED));
            }
        }
    }
}

#[test]
fn those_that_have_ended_make_room_the_oldest_first() {
    for plan in Plan::ALL.iter().copied() {
        // In one bucket, so that age alone decides.
        let mut balancer = Balancer::new(nat(plan), 1);
        let open = balancer.fills();
        for connection in open.iter().rev() {
            balancer.play().forwards("RST", &connection.client(Kind::Rst));
            // Each entry is as old as its own direction.
            balancer.play().forwards("what was on its way", &connection.replica(Kind::Ack));
            balancer.wait();
        }
        for (number, oldest) in open.iter().rev().enumerate() {
            assert!(balancer.knows(oldest));
            let new = balancer.opens(stranger(number as u8)).expect("one has ended");
            balancer.play().accepts(&new);
            assert!(!balancer.knows(oldest), "{number}");
            for younger in open.iter().rev().skip(number + 1) {
                assert!(balancer.knows(younger), "{number}");
            }
        }
        assert_eq!(balancer.opens(stranger(99)), None, "all are alive now");
    }
}

#[test]
fn a_connection_that_outlived_the_idle_time_out_makes_room() {
    for plan in Plan::ALL.iter().copied() {
        let mut balancer = Balancer::new(nat(plan), 1);
        let open = balancer.fills();
        balancer.play().elapse(dtr_lb_tests::fixtures::world::IDLE);
        // All but the first show that they are alive: in either direction.
        for (number, connection) in open.iter().enumerate().skip(1) {
            let data =
                if number % 2 == 0 { connection.client(Kind::Data) } else { connection.replica(Kind::Data) };
            balancer.play().forwards("data", &data);
        }
        balancer.wait();
        let new = balancer.opens(stranger(0)).expect("one was idle for too long");
        assert!(!balancer.knows(&open[0]));
        balancer.play().accepts(&new);
        assert_eq!(balancer.opens(stranger(1)), None);
        for connection in &open[1..] {
            balancer.play().talks("with a full table", connection);
        }
    }
}

#[test]
fn a_handshake_makes_room_for_another() {
    for plan in Plan::ALL.iter().copied() {
        let mut balancer = Balancer::new(nat(plan), 1);
        // A flood: each finds room, and the oldest goes.
        let mut last = None;
        for number in 0..50 {
            let new = balancer.opens(stranger(number)).expect("a handshake makes room");
            assert!(balancer.knows(&new));
            if let Some(last) = last {
                assert!(!balancer.knows(&last), "two entries are all that handshakes get of a bucket");
            }
            last = Some(new);
            balancer.wait();
        }
        let last = last.expect("there was one");
        balancer.play().accepts(&last);
        balancer.play().talks("open", &last);
        for number in 50..100 {
            let _ = balancer.opens(stranger(number));
        }
        balancer.play().talks("after a flood", &last);
    }
}

#[test]
fn a_flood_of_handshakes_leaves_connections_alone() {
    for plan in Plan::ALL.iter().copied() {
        let mut balancer = Balancer::new(nat(plan), 64);
        let mut open = Vec::new();
        for host in 1..=8 {
            let connection = balancer.opens(client(host)).expect("there is room");
            balancer.play().accepts(&connection);
            open.push(connection);
        }
        for port in 1..2000 {
            let _ = balancer.opens(Client::new(99, port));
        }
        for connection in &open {
            balancer.play().talks("in a flood", connection);
        }
    }
}

#[test]
fn direct_connections_make_room_last() {
    for plan in Plan::SAME.iter().copied() {
        let mut balancer = Balancer::new(direct(plan), 1);
        let open = balancer.fills();
        assert_eq!(open.len(), balancer.host.model.entries().len());
        // One that has ended goes before any other, though it is the youngest.
        let youngest = open[open.len() - 1];
        balancer.play().forwards("RST", &youngest.client(Kind::Rst));
        balancer.wait();
        let new = balancer.opens(stranger(0)).expect("one has ended");
        assert!(!balancer.knows(&youngest));
        balancer.wait();
        // Then the handshake.
        let other = balancer.opens(stranger(1)).expect("a handshake makes room");
        assert!(!balancer.knows(&new));
        balancer.play().accepts(&other);
        balancer.wait();
        // Then the oldest that is open; its client is steered as before.
        let _ = balancer.opens(stranger(2)).expect("a direct connection makes room");
        assert!(!balancer.knows(&open[0]));
        for connection in &open[1..open.len() - 1] {
            assert!(balancer.knows(connection));
        }
        let data = open[0].client(Kind::Data);
        balancer.play().forwards("data of the one that is not known", &data);
    }
}
