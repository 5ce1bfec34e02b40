//! What network address translation must do, said of connections and not of tables.
//!
//! The oracle follows each connection by what was forwarded. It demands:
//! - a connection that is open, or about to be, has each of its packets forwarded, to its own replica and port;
//! - what a replica sends reaches the client whose connection it is part of, while that is the client's last one;
//! - no two clients share a replica's address and port and a NAT address and port; after a close that leaves the
//!   replica's socket in TIME_WAIT not before that has passed; a handshake may lose its port after 300 ms;
//! - a connection of which half was evicted is forgotten within a second;
//! - a handshake that its replica refuses, or does not answer for half a second, goes to a replica that was not asked
//!   yet, if there is one and a port is free towards it; no other packet changes the replica of a connection;
//! - a reset connection carries packets, and keeps its port from others, for TIME_WAIT's time, unless the end that
//!   sent the reset goes on talking.
//!
//! An entry may lag a second behind its other direction, so that within a second of a limit either outcome is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use dtr_lb_common::{
    abi::{Ticks, Tuple},
    verdict::Verdict,
};
use dtr_lb_tests::fixture::{
    frames::{Kind, tuple},
    host::ticks,
    world::{CLOSED, HALF_CLOSED, HALF_OPEN, IDLE, TIME_WAIT},
};

/// A connection as its replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Side {
    pub(super) nat: SocketAddr,
    pub(super) replica: SocketAddr,
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
    /// Closed by both ends, the client first.
    Closed,
    /// Reset by the client, or by the replica.
    ClientReset,
    ReplicaReset,
    /// Its client has another one by now, with the same port.
    Resting,
    /// Nothing of it is left.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    client: SocketAddr,
    side: Side,
    phase: Phase,
    /// When its SYN was sent to this replica.
    began: u64,
    /// The handshake that it goes on with, at another replica.
    before: Option<usize>,
    /// When the last packet of it was forwarded.
    last: u64,
    /// When half of it was evicted.
    evicted: Option<u64>,
}

pub(super) struct Oracle {
    now: u64,
    second: u64,
    service: SocketAddr,
    connections: Vec<Connection>,
    /// The last connection of each client.
    current: BTreeMap<SocketAddr, usize>,
}

impl Connection {
    /// How long it may be without a packet.
    fn lifetime(&self) -> u64 {
        let time = match self.phase {
            Phase::Asked | Phase::Answered => HALF_OPEN,
            Phase::Open => IDLE,
            Phase::ClientClosed | Phase::ReplicaClosed => HALF_CLOSED,
            Phase::TimeWait | Phase::Resting | Phase::ClientReset | Phase::ReplicaReset => TIME_WAIT,
            Phase::Closed | Phase::Gone => CLOSED,
        };
        ticks(time).into()
    }

    /// Neither closed nor reset.
    fn lasts(&self) -> bool {
        match self.phase {
            Phase::Asked | Phase::Answered | Phase::Open | Phase::ClientClosed | Phase::ReplicaClosed => true,
            Phase::TimeWait | Phase::Closed | Phase::Resting | Phase::Gone => false,
            Phase::ClientReset | Phase::ReplicaReset => false,
        }
    }

    fn is_handshake(&self) -> bool {
        matches!(self.phase, Phase::Asked | Phase::Answered)
    }

    fn is_reset(&self) -> bool {
        matches!(self.phase, Phase::ClientReset | Phase::ReplicaReset)
    }

    fn after(phase: Phase, kind: Kind, from_client: bool) -> Phase {
        let reset = if from_client { Phase::ClientReset } else { Phase::ReplicaReset };
        match (phase, kind, from_client) {
            (Phase::Asked | Phase::Answered, Kind::Rst | Kind::Refusal, _) => Phase::Gone,
            (Phase::Asked, Kind::SynAck, false) => Phase::Answered,
            (Phase::Answered, Kind::Ack | Kind::Data, true) => Phase::Open,
            (Phase::TimeWait | Phase::Closed, Kind::Rst | Kind::Refusal, _) => phase,
            (_, Kind::Rst | Kind::Refusal, _) => reset,
            (Phase::Answered | Phase::Open, Kind::Fin, true) => Phase::ClientClosed,
            (Phase::Open, Kind::Fin, false) => Phase::ReplicaClosed,
            (Phase::ClientClosed, Kind::Fin, false) => Phase::Closed,
            (Phase::ReplicaClosed, Kind::Fin, true) => Phase::TimeWait,
            // The end that sent the reset, if it was the end, goes on talking.
            (phase, Kind::Fin, true) if phase == reset => Phase::ClientClosed,
            (phase, Kind::Fin, false) if phase == reset => Phase::ReplicaClosed,
            (phase, _, _) if phase == reset => Phase::Open,
            _ => phase,
        }
    }
}

impl Oracle {
    pub(super) fn new(second: Ticks, service: SocketAddr) -> Self {
        Self { now: 0, second: second.into(), service, connections: Vec::new(), current: BTreeMap::new() }
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

    pub(super) fn current(&self, client: SocketAddr) -> Option<usize> {
        self.current.get(&client).copied()
    }

    /// An entry was evicted.
    pub(super) fn evicted(&mut self, key: &Tuple) {
        let (now, service) = (self.now, self.service);
        let connections = self.connections.iter_mut().rev();
        let mut of_key = connections.filter(|connection| {
            *key == tuple(connection.client, service)
                || *key == tuple(connection.side.replica, connection.side.nat)
        });
        if let Some(connection) = of_key.next() {
            connection.evicted.get_or_insert(now);
        }
    }

    /// A SYN opened a connection, which left from and to here.
    pub(super) fn client_opened(
        &mut self,
        client: SocketAddr,
        left: (SocketAddr, SocketAddr),
    ) -> Result<(), String> {
        let side = Side { nat: left.0, replica: left.1 };
        if let Some(last) = self.current(client) {
            if self.surely_lasts(last) {
                return Err(format!("opened anew, though it had {:?}", self.connections[last]));
            }
            self.rest(last);
        }
        self.begins(client, side, None)
    }

    /// A replica's refusal, or the client's SYN once more, left as a SYN from and to here.
    pub(super) fn redispatched(
        &mut self,
        at: usize,
        kind: Kind,
        left: (SocketAddr, SocketAddr),
    ) -> Result<(), String> {
        let connection = self.connections[at];
        let side = Side { nat: left.0, replica: left.1 };
        let had_time = self.now - connection.began > self.second / 2;
        let may = match kind {
            Kind::Rst | Kind::Refusal => true,
            Kind::Syn => had_time,
            _ => false,
        };
        let known = connection.phase == Phase::Asked && connection.evicted.is_none();
        if !may || !known || self.current(connection.client) != Some(at) {
            return Err(format!("{kind:?} sent {connection:?} to {side:?}"));
        }
        if self.was_asked(at, side.replica) {
            return Err(format!("{side:?} was asked before, for {connection:?}"));
        }
        self.goes_on(at, Kind::Syn, true)?;
        self.connections[at].phase = Phase::Gone;
        self.begins(connection.client, side, Some(at))
    }

    /// Whether a packet of the client's, or of the replica's, must be answered by another of these replicas.
    pub(super) fn must_redispatch(
        &self,
        at: usize,
        kind: Kind,
        from_client: bool,
        replicas: &[SocketAddr],
    ) -> bool {
        let connection = &self.connections[at];
        let fails = match (kind, from_client) {
            (Kind::Rst | Kind::Refusal, false) => true,
            (Kind::Syn, true) => self.now - connection.began > self.second / 2,
            _ => false,
        };
        // Of four ports one is surely found if two were never used.
        let free = |replica: SocketAddr| {
            let sides = self.connections.iter().map(|other| other.side);
            sides.filter(|side| side.replica == replica).collect::<BTreeSet<_>>().len() <= 2
        };
        let mut others = replicas.iter().filter(|replica| !self.was_asked(at, **replica)).peekable();
        fails
            && connection.phase == Phase::Asked
            && self.owner(at) == at
            && self.current(connection.client) == Some(at)
            && self.surely_lasts(at)
            && others.peek().is_some()
            && others.all(|replica| free(*replica))
    }

    /// Whether a handshake was sent to a replica, now or before.
    fn was_asked(&self, at: usize, replica: SocketAddr) -> bool {
        let asked = std::iter::successors(Some(at), |at| self.connections[*at].before);
        asked.into_iter().any(|at| self.connections[at].side.replica == replica)
    }

    /// A client's SYN was sent to a replica that it was not sent to before.
    fn begins(&mut self, client: SocketAddr, side: Side, before: Option<usize>) -> Result<(), String> {
        for other in 0..self.connections.len() {
            if self.connections[other].side != side {
                continue;
            }
            if self.surely_holds_against(other, client.ip()) {
                return Err(format!("{client} got {side:?} of {:?}", self.connections[other]));
            }
            // Whatever was left of it has made room.
            self.connections[other].phase = Phase::Gone;
        }
        self.current.insert(client, self.connections.len());
        let (began, last) = (self.now, self.now);
        let phase = Phase::Asked;
        self.connections.push(Connection { client, side, phase, began, before, last, evicted: None });
        Ok(())
    }

    /// A packet of a client's was forwarded and opened nothing.
    pub(super) fn client_was_forwarded(
        &mut self,
        client: SocketAddr,
        kind: Kind,
        left: (SocketAddr, SocketAddr),
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
        client: SocketAddr,
        kind: Kind,
        verdict: Verdict,
    ) -> Result<(), String> {
        let Some(current) = self.current(client) else { return Ok(()) };
        if self.surely_forwards(current, kind) {
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
        to: SocketAddr,
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
        if self.surely_forwards(owner, kind) {
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
        let ended = matches!(connection.phase, Phase::TimeWait | Phase::Closed) || connection.is_reset();
        let rests = ended && known;
        let phase = if rests { Phase::Resting } else { Phase::Gone };
        self.connections[at] = Connection { phase, last: self.now, ..connection };
    }

    /// Whether a packet must be forwarded. A SYN may open another connection where one was reset.
    fn surely_forwards(&self, at: usize, kind: Kind) -> bool {
        let connection = &self.connections[at];
        let carries = connection.is_reset() && kind != Kind::Syn;
        self.surely_lasts(at) || (carries && connection.evicted.is_none() && self.surely_in_time(connection))
    }

    /// Whose the replica's side of a connection is now.
    pub(super) fn owner(&self, connection: usize) -> usize {
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

    /// Whether no client of the host may have its port. A host may have its own back once a connection was closed, and
    /// anybody that of an old handshake.
    fn surely_holds_against(&self, at: usize, host: IpAddr) -> bool {
        let connection = &self.connections[at];
        let mine = connection.client.ip() == host;
        let holds = match connection.phase {
            Phase::TimeWait | Phase::Closed | Phase::Resting => !mine,
            Phase::Gone => false,
            _ if connection.is_handshake() => self.now - connection.began <= self.second * 3 / 10,
            _ => true,
        };
        holds && connection.evicted.is_none() && self.surely_in_time(connection)
    }
}
