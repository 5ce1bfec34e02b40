//! What network address translation must do, said of connections and not of tables.
//!
//! The oracle follows each connection by what was forwarded. It demands:
//! - a connection that is open, or about to be, has each of its packets forwarded, to its own replica and port;
//! - what a replica sends reaches the client whose connection it is part of, while that is the client's last one;
//! - no two clients share a replica's address and port and a NAT address and port; after a close that leaves the
//!   replica's socket in TIME_WAIT not before that has passed;
//! - a connection of which half was evicted is forgotten within a second.
//!
//! An entry may lag a second behind its other direction, so that within a second of a limit either outcome is right.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
};

use dtr_lb_common::{
    abi::{Ticks, Tuple},
    address::Ipv4Words,
    verdict::Verdict,
};
use dtr_lb_tests::fixture::{
    frames::{Kind, tuple},
    host::ticks,
    world::{CLOSED, HALF_CLOSED, HALF_OPEN, HTTPS, IDLE, TIME_WAIT},
};

/// A connection as its replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) nat: SocketAddrV4,
    pub(super) replica: SocketAddrV4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Answered,
    Open,
    ClientClosed,
    ReplicaClosed,
    /// Both ends closed it, the replica first.
    TimeWait,
    /// Reset, or closed by both ends, the client first.
    Closed,
    /// Its client has another one by now, with the same port.
    Resting,
    /// Nothing of it is left.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    client: SocketAddrV4,
    side: Side,
    phase: Phase,
    /// When the last packet of it was forwarded.
    last: u64,
    /// When half of it was evicted.
    evicted: Option<u64>,
}

pub(super) struct Oracle {
    now: u64,
    second: u64,
    connections: Vec<Connection>,
    /// The last connection of each client.
    current: BTreeMap<SocketAddrV4, usize>,
}

impl Connection {
    /// How long it may be without a packet.
    fn lifetime(&self) -> u64 {
        let time = match self.phase {
            Phase::Asked | Phase::Answered => HALF_OPEN,
            Phase::Open => IDLE,
            Phase::ClientClosed | Phase::ReplicaClosed => HALF_CLOSED,
            Phase::TimeWait | Phase::Resting => TIME_WAIT,
            Phase::Closed | Phase::Gone => CLOSED,
        };
        ticks(time).into()
    }

    /// Neither closed nor reset.
    fn lasts(&self) -> bool {
        match self.phase {
            Phase::Asked | Phase::Answered | Phase::Open | Phase::ClientClosed | Phase::ReplicaClosed => true,
            Phase::TimeWait | Phase::Closed | Phase::Resting | Phase::Gone => false,
        }
    }

    fn after(phase: Phase, kind: Kind, from_client: bool) -> Phase {
        match (phase, kind, from_client) {
            (Phase::Asked | Phase::Answered, Kind::Rst | Kind::Refusal, _) => Phase::Gone,
            (Phase::Asked, Kind::SynAck, false) => Phase::Answered,
            (Phase::Answered, Kind::Ack | Kind::Data, true) => Phase::Open,
            (Phase::Answered | Phase::Open, Kind::Fin, true) => Phase::ClientClosed,
            (Phase::Open, Kind::Fin, false) => Phase::ReplicaClosed,
            (Phase::ClientClosed, Kind::Fin, false) => Phase::Closed,
            (Phase::ReplicaClosed, Kind::Fin, true) => Phase::TimeWait,
            (Phase::Open | Phase::ClientClosed | Phase::ReplicaClosed, Kind::Rst | Kind::Refusal, _) => {
                Phase::Closed
            }
            _ => phase,
        }
    }
}

impl Oracle {
    pub(super) fn new(second: Ticks) -> Self {
        Self { now: 0, second: second.into(), connections: Vec::new(), current: BTreeMap::new() }
    }

    pub(super) fn waits(&mut self, ticks: Ticks) {
        self.now += u64::from(ticks);
    }

    /// The last connections.
    pub(super) fn recent(&self, count: usize) -> Vec<usize> {
        (0..self.connections.len()).rev().take(count).collect()
    }

    pub(super) fn side(&self, connection: usize) -> Side {
        self.connections[connection].side
    }

    pub(super) fn current(&self, client: SocketAddrV4) -> Option<usize> {
        self.current.get(&client).copied()
    }

    /// An entry was evicted.
    pub(super) fn evicted(&mut self, key: &Tuple<Ipv4Words>) {
        let now = self.now;
        let connections = self.connections.iter_mut().rev();
        let mut of_key = connections.filter(|connection| {
            *key == tuple(connection.client, HTTPS)
                || *key == tuple(connection.side.replica, connection.side.nat)
        });
        if let Some(connection) = of_key.next() {
            connection.evicted.get_or_insert(now);
        }
    }

    /// A SYN opened a connection, which left from and to here.
    pub(super) fn client_opened(
        &mut self,
        client: SocketAddrV4,
        left: (SocketAddrV4, SocketAddrV4),
    ) -> Result<(), String> {
        let side = Side { nat: left.0, replica: left.1 };
        if let Some(last) = self.current(client) {
            if self.surely_lasts(last) {
                return Err(format!("opened anew, though it had {:?}", self.connections[last]));
            }
            self.rest(last);
        }
        for other in 0..self.connections.len() {
            if self.connections[other].side != side {
                continue;
            }
            if self.surely_holds_against(other, *client.ip()) {
                return Err(format!("{client} got {side:?} of {:?}", self.connections[other]));
            }
            // Whatever was left of it has made room.
            self.connections[other].phase = Phase::Gone;
        }
        self.current.insert(client, self.connections.len());
        let connection = Connection { client, side, phase: Phase::Asked, last: self.now, evicted: None };
        self.connections.push(connection);
        Ok(())
    }

    /// A packet of a client's was forwarded and opened nothing.
    pub(super) fn client_was_forwarded(
        &mut self,
        client: SocketAddrV4,
        kind: Kind,
        left: (SocketAddrV4, SocketAddrV4),
    ) -> Result<(), String> {
        let Some(current) = self.current(client) else { return Err(format!("{client} has no connection")) };
        let connection = self.connections[current];
        let side = Side { nat: left.0, replica: left.1 };
        if side != connection.side {
            return Err(format!("{connection:?} continued as {side:?}"));
        }
        self.goes_on(current, kind, true)
    }

    /// A packet of a client's was not forwarded.
    pub(super) fn client_was_refused(
        &mut self,
        client: SocketAddrV4,
        kind: Kind,
        verdict: Verdict,
    ) -> Result<(), String> {
        let Some(current) = self.current(client) else { return Ok(()) };
        if self.surely_lasts(current) {
            return Err(format!("{} of {:?}", verdict.name(), self.connections[current]));
        }
        if kind == Kind::Syn {
            self.rest(current);
        }
        Ok(())
    }

    /// What a replica sent on a connection, now perhaps another's, reached a client.
    pub(super) fn replica_was_forwarded(
        &mut self,
        connection: usize,
        kind: Kind,
        to: SocketAddrV4,
    ) -> Result<(), String> {
        let owner = self.owner(connection);
        let Connection { client, evicted, .. } = self.connections[owner];
        if to != client {
            return Err(format!("{to} got what is for {:?}", self.connections[owner]));
        }
        let is_last = self.current(client) == Some(owner);
        if !is_last && evicted.is_none_or(|evicted| self.now - evicted > self.second) {
            return Err(format!("a late packet reached the client of {:?}", self.connections[owner]));
        }
        self.goes_on(owner, kind, false)
    }

    /// What a replica sent on a connection was not forwarded.
    pub(super) fn replica_was_refused(
        &self,
        connection: usize,
        kind: Kind,
        verdict: Verdict,
    ) -> Result<(), String> {
        let owner = self.owner(connection);
        if self.surely_lasts(owner) {
            return Err(format!("{}: {kind:?} of {:?}", verdict.name(), self.connections[owner]));
        }
        Ok(())
    }

    /// A packet of a connection was forwarded.
    fn goes_on(&mut self, at: usize, kind: Kind, from_client: bool) -> Result<(), String> {
        let connection = self.connections[at];
        if let Some(evicted) = connection.evicted {
            if self.now - evicted > self.second {
                return Err(format!("half evicted long ago, and not forgotten: {connection:?}"));
            }
            // The half that is left changes nothing any more.
            return Ok(());
        }
        if connection.phase == Phase::Gone || self.now - connection.last > connection.lifetime() {
            return Err(format!("over, and not forgotten: {connection:?}"));
        }
        let phase = Connection::after(connection.phase, kind, from_client);
        self.connections[at] = Connection { phase, last: self.now, ..connection };
        Ok(())
    }

    /// The client of a connection that has ended has sent another SYN.
    fn rest(&mut self, at: usize) {
        let connection = self.connections[at];
        let known = connection.evicted.is_none() && self.surely_in_time(&connection);
        let rests = matches!(connection.phase, Phase::TimeWait | Phase::Closed) && known;
        let phase = if rests { Phase::Resting } else { Phase::Gone };
        self.connections[at] = Connection { phase, last: self.now, ..connection };
    }

    /// Whose the replica's side of a connection is now.
    fn owner(&self, connection: usize) -> usize {
        let side = self.connections[connection].side;
        self.connections.iter().rposition(|other| other.side == side).unwrap_or(connection)
    }

    fn surely_in_time(&self, connection: &Connection) -> bool {
        self.now - connection.last + self.second <= connection.lifetime()
    }

    /// Whether its packets must be forwarded.
    fn surely_lasts(&self, at: usize) -> bool {
        let connection = &self.connections[at];
        connection.lasts() && connection.evicted.is_none() && self.surely_in_time(connection)
    }

    /// Whether no client of the host may have its port. A host may have its own back once a connection has ended.
    fn surely_holds_against(&self, at: usize, host: Ipv4Addr) -> bool {
        let connection = &self.connections[at];
        let mine = *connection.client.ip() == host;
        let holds = match connection.phase {
            Phase::TimeWait | Phase::Closed | Phase::Resting => !mine,
            Phase::Gone => false,
            _ => true,
        };
        holds && connection.evicted.is_none() && self.surely_in_time(connection)
    }
}
