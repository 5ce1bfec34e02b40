//! The flow table, held against the connections: each has its entries, as it is, and there are no others.

use dtr_lb_common::{
    abi::{Direction, Flow, Place, State},
    flow_table::{Control, HANDSHAKES_A_BUCKET, Line as _, Memory as _, WAYS, entry::word},
};

use super::{
    Oracle,
    bytes::Wrong,
    connection::{Connection, Phase, Side},
};
use crate::{
    memory::{Memory, START},
    net::{End, Ip, tuple},
    world::SECOND,
};

/// What a frame may have done to others than the connection that it is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing.
    #[default]
    No,
    /// It was to open a connection, which did not work out: one of its entries may have taken another's place.
    Tried,
    /// It has opened the last one.
    Made,
}

impl Oracle {
    /// Finds the entries of all connections. What has lost its own is gone, if it may be.
    pub(super) fn settle(&mut self, memory: &Memory, room: Room) -> Result<(), Wrong> {
        let entries = memory.store.flows.entries();
        let mut left = entries.len();
        let now = self.now;
        let count = self.connections.len();
        let made = self.new_places(&entries, room)?;
        for (at, one) in self.connections.iter_mut().enumerate() {
            if one.phase == Phase::Gone {
                continue;
            }
            let new = room == Room::Made && at + 1 == count;
            let found = one.find(&entries, new)?;
            if let Some(found) = found {
                left -= one.agrees(&found, memory)?;
                continue;
            }
            let made_room = match room {
                Room::No => false,
                Room::Tried => one.makes_room(now),
                Room::Made => one.makes_room(now) && one.stood_at(&made),
            };
            let over = !one.phase.live() && one.outlived(now);
            if !(made_room || over) {
                return Err(format!("vanished: {one:?}"));
            }
            one.phase = Phase::Gone;
        }
        if left != 0 {
            let stray = |flow: &&Flow| !self.connections.iter().any(|one| one.has(flow));
            return Err(format!("an entry of no connection: {:?}", entries.iter().find(stray)));
        }
        in_order(memory, &entries)?;
        self.few_handshakes(memory, &entries, room)
    }

    /// The places that a new connection has taken.
    fn new_places(&self, entries: &[Flow], room: Room) -> Result<Vec<Place>, Wrong> {
        let Some(one) = self.connections.last().filter(|_| room == Room::Made) else { return Ok(Vec::new()) };
        let found = one.find(entries, true)?.ok_or_else(|| format!("opened, and not entered: {one:?}"))?;
        let places = found.into_iter().flatten().flat_map(|flow| {
            [Some(flow.place), flow.wide().then_some(Place(flow.place.0 + 1))].into_iter().flatten()
        });
        Ok(places.collect())
    }

    /// A bucket has two handshakes at most, or those that it had and what has taken the place of another entry with its key.
    fn few_handshakes(&mut self, memory: &Memory, entries: &[Flow], room: Room) -> Result<(), Wrong> {
        let mut counts = vec![0; memory.world.buckets as usize];
        for flow in entries.iter().filter(|flow| flow.state().handshake()) {
            counts[flow.place.bucket() as usize] += 1;
        }
        self.handshakes.resize(counts.len(), 0);
        let made = self.connections.last().filter(|_| room == Room::Made);
        for (bucket, (count, before)) in counts.iter().zip(&self.handshakes).enumerate() {
            let in_place = made.map_or(0, |one| {
                let here = |at: &usize| one.in_place[*at] && one.places[*at].bucket() as usize == bucket;
                (0..2).filter(here).count() as u32
            });
            if *count > HANDSHAKES_A_BUCKET.max(*before) + in_place {
                return Err(format!("{count} handshakes in bucket {bucket}, and {before} before"));
            }
        }
        self.handshakes = counts;
        Ok(())
    }
}

/// No key is there twice, each is where it is looked for, and entries do not overlap.
fn in_order(memory: &Memory, entries: &[Flow]) -> Result<(), Wrong> {
    let words = memory.store.flows.words();
    for (at, flow) in entries.iter().enumerate() {
        if entries[..at].iter().any(|other| other.key == flow.key) {
            return Err(format!("there twice: {flow:?}"));
        }
        let end =
            |address, port: dtr_lb_common::address::Be16| End { ip: Ip::from(address), port: port.get() };
        let (from, to) = (
            end(flow.key.source, flow.key.source_port),
            end(flow.key.destination, flow.key.destination_port),
        );
        if !memory.world.buckets_of(from, to).contains(&flow.place.bucket()) {
            return Err(format!("nobody looks there: {flow:?}"));
        }
    }
    for place in 0..memory.world.buckets * WAYS {
        let control = |place: u32| {
            words.line(Place(place)).map_or(Control(0), |line| Control(line.load(word::CONTROL)))
        };
        let (this, next) = (control(place), control(place ^ 1));
        if this.locked() {
            return Err(format!("place {place} stays locked"));
        }
        let continued = this.state() == State::CONTINUED;
        let of_wide = place % 2 == 1 && next.wide() && next.state() != State::FREE;
        let stands_wide = this.wide() && this.state() != State::FREE;
        if continued != of_wide || (stands_wide && place % 2 == 1) {
            return Err(format!("place {place} is half of something: {this:?} beside {next:?}"));
        }
    }
    Ok(())
}

impl Connection {
    /// Whether an entry of its stood at one of these places.
    fn stood_at(&self, places: &[Place]) -> bool {
        // Of one that only holds its port there is no client's; a wide entry takes two.
        let own = &self.places[usize::from(self.phase == Phase::Held)..];
        let covers = |own: &Place, taken: &Place| taken.0 == own.0 || (self.wide && taken.0 == own.0 + 1);
        own.iter().any(|own| *own != Place::NONE && places.iter().any(|taken| covers(own, taken)))
    }

    /// Whether an entry is one of its.
    pub(super) fn has(&self, flow: &Flow) -> bool {
        self.phase != Phase::Gone && self.places.contains(&flow.place)
    }

    /// The entries that it must have: the client's and the replica's.
    fn find(&self, entries: &[Flow], new: bool) -> Result<Option<[Option<Flow>; 2]>, Wrong> {
        let entry = |side: Side, from: End, to: End| {
            let key = tuple(from, to);
            let place = self.places[side as usize];
            entries.iter().find(|flow| flow.key == key && (new || flow.place == place)).copied()
        };
        let client = (self.phase != Phase::Held).then(|| entry(Side::Client, self.client, self.vip));
        let replica = self.side.map(|(replica, nat)| entry(Side::Replica, replica, nat));
        match (client, replica) {
            (Some(Some(_)) | None, Some(Some(_)) | None) => Ok(Some([client.flatten(), replica.flatten()])),
            (Some(None) | None, Some(None) | None) => Ok(None),
            _ => Err(format!("only half of it is left, {client:?} and {replica:?}: {self:?}")),
        }
    }

    /// Whether its entries say what it is. Returns how many there are.
    fn agrees(&mut self, [client, replica]: &[Option<Flow>; 2], memory: &Memory) -> Result<usize, Wrong> {
        let (vip, host) = (self.vip, self.client);
        if let Some(flow) = client {
            let to = self.side.map_or(tuple(host, vip), |(replica, nat)| tuple(nat, replica));
            let direction = if self.direct() { Direction::Direct } else { Direction::ToReplica };
            self.entry_agrees(Side::Client, flow, direction, memory)?;
            if flow.to != to {
                return Err(format!("{:?} is rewritten to {:?}", flow.key, flow.to));
            }
        }
        if let Some(flow) = replica {
            self.entry_agrees(Side::Replica, flow, Direction::ToClient, memory)?;
            if flow.to != tuple(vip, host) {
                return Err(format!("{:?} is rewritten to {:?}", flow.key, flow.to));
            }
        }
        let place = |flow: &Option<Flow>| flow.map_or(Place::NONE, |flow| flow.place);
        let partner = |flow: &Option<Flow>| flow.map_or(Place::NONE, |flow| flow.partner);
        if (client.is_some() && partner(client) != place(replica))
            || (replica.is_some() && partner(replica) != place(client))
        {
            return Err(format!("its entries do not know each other: {client:?} and {replica:?}"));
        }
        self.places = [place(client), place(replica)];
        if let Some(flow) = client.filter(|_| self.phase.handshake()) {
            self.kept = flow.fin;
        }
        Ok(usize::from(client.is_some()) + usize::from(replica.is_some()))
    }

    fn entry_agrees(
        &mut self,
        side: Side,
        flow: &Flow,
        direction: Direction,
        memory: &Memory,
    ) -> Result<(), Wrong> {
        let at = side as usize;
        let control = flow.control;
        let last = START.wrapping_add(self.last[at] as u32);
        let began = START.wrapping_add(self.began as u32);
        let narrow = self.vip.ip.is_v4() && self.side.is_none_or(|(replica, _)| replica.ip.is_v4());
        self.wide = !narrow;
        // That word of a replica's entry means something else afterwards.
        let says_when = side == Side::Client || self.phase.handshake();
        let fins = [control.fin(true), control.fin(false)];
        let wrong = [
            ("state", flow.state() != self.phase.state()),
            ("direction", control.direction() != direction),
            ("width", control.wide() == narrow),
            ("FINs that wait", fins != self.fins.map(|fin| fin.is_some())),
            ("number behind the FIN", self.fins[at].is_some_and(|end| end != flow.fin)),
            (
                "number behind the SYN",
                self.phase.handshake() && side == Side::Replica && flow.fin != self.syn_end,
            ),
            ("number acknowledged", flow.acknowledged != self.acknowledged[at]),
            ("time when seen last", flow.last_seen != last),
            ("time when opened", says_when && flow.opened != began),
            ("replica", flow.replica != self.replica),
            ("way to the client", memory.store.hop(flow.hop) != Some(self.way.hop())),
        ];
        match wrong.iter().find(|(_, wrong)| *wrong) {
            Some((what, _)) => Err(format!("{what} of {flow:?}, which must be {self:?}")),
            None => Ok(()),
        }
    }
}

/// Whether a key finds no room in one of these buckets, beside `taken` entries that a new connection has there already.
pub(super) fn crowded(
    connections: &[Connection],
    memory: &Memory,
    buckets: [u32; 2],
    wide: bool,
    taken: usize,
    now: u64,
) -> bool {
    // What was an entry by itself a moment ago is no second half yet: packets may be under way that were its.
    let rested = |place: u32| {
        let seen = memory.store.flows.words().line(Place(place)).map_or(0, |line| line.load(word::LAST_SEEN));
        seen == 0 || memory.now.wrapping_sub(seen) >= SECOND
    };
    let stays = |place: u32| {
        connections
            .iter()
            .filter(|one| {
                one.phase != Phase::Gone && (one.phase.live() && !one.direct() || !one.makes_room(now))
            })
            .any(|one| {
                one.places
                    .iter()
                    .any(|own| *own != Place::NONE && (own.0 == place || (one.wide && own.0 + 1 == place)))
            })
    };
    let shakes = |place: u32| {
        connections.iter().any(|one| one.phase.handshake() && one.places.contains(&Place(place)))
    };
    let room = |bucket: u32| {
        let first = bucket * WAYS;
        if wide {
            // One that has its share of handshakes takes another in the place of one.
            let handshakes = (0..WAYS).filter(|way| shakes(first + way)).count() + taken;
            let only = handshakes >= HANDSHAKES_A_BUCKET as usize;
            let fits = |place: u32| !only || shakes(place) || shakes(place + 1);
            let takes = |place: u32| !stays(place) && !stays(place + 1) && rested(place + 1) && fits(place);
            (0..WAYS / 2).filter(|pair| takes(first + 2 * pair)).count()
        } else {
            (0..WAYS).filter(|way| !stays(first + way)).count()
        }
    };
    buckets.iter().all(|bucket| room(*bucket) <= taken)
}

/// All pairs of buckets that a key of a connection of this world could have.
pub(super) fn any_crowded(connections: &[Connection], memory: &Memory, wide: bool, now: u64) -> bool {
    (0..memory.world.buckets).any(|bucket| crowded(connections, memory, [bucket; 2], wide, 1, now))
}
