//! The life of a packet: **parse → find flow → (new: find service → steer → remember) → rewrite → emit**.
//!
//! [`run`] is all of it. It runs in the kernel under XDP and under TC, and on the host over the
//! [`model`](crate::model): what differs is behind [`Packet`] and [`Tables`].
//!
//! Invariants:
//! - A stage ends with what the next one needs or with a [`Verdict`]; nothing returns a hook's action before the end.
//! - A packet is changed only by the last step: what is passed or dropped is as it came.
//! - A connection has two entries, one a direction, and each names the other; where the replica answers the client
//!   directly it has one. The port of the entry towards the client is taken for as long as that entry exists, in
//!   whichever of the two tables.
//! - A packet of an established flow costs one look-up in a flow table.

use bytemuck::Pod;

use crate::{
    abi::{
        Flow, HalfOpen, Hop, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Side, Ticks,
        Tuple,
    },
    address::{Address, Family},
    checksum::Delta,
    filter,
    verdict::{Action, Verdict},
    wire::{Ethernet, Macs, PROTOCOL_TCP},
};

mod answer;
mod connection;
mod emit;
mod established;
mod half_open;
mod header;
mod icmp;
mod open;
mod parse;
pub mod probe;
#[cfg(any(feature = "user", test))]
pub mod prod;
#[cfg(any(feature = "user", test))]
pub mod question;
mod replay;
mod rewrite;
mod scratch;
pub mod seen;
mod segment;
mod translate;
mod tunnel;

use established::Look;
pub use established::over;
use half_open::Handshake;
use open::Cause;
pub use open::steering;
pub use parse::EXTENSION_BYTES;
use parse::Headers;
use rewrite::Rewrite;
pub use scratch::Scratch;

/// Offset of the network header: Ethernet without tags.
const ETHERNET: usize = size_of::<Ethernet>();
const _: () = assert!(ETHERNET.is_multiple_of(2));

/// Access to a frame. An offset counts bytes from the Ethernet header.
pub trait Packet {
    /// The bytes at `offset`; nothing if the frame (its linear part) ends before. `offset` is even.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;
    /// Overwrites the bytes at `offset`; nothing is written where the frame ends before.
    #[must_use]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;
    /// Corrects the TCP checksum at `offset` by the folded differences of addresses and ports, in a packet of `family`.
    /// Comes last, or before [`Packet::renew`]: a hook may have to give up its access to the frame for it.
    #[must_use]
    #[inline(always)]
    fn correct_checksum(
        &mut self,
        offset: usize,
        address_delta: u16,
        port_delta: u16,
        _family: Family,
    ) -> Option<()> {
        let checksum = self.read::<u16>(offset)?;
        self.write(offset, Delta::folded(address_delta).plus(Delta::folded(port_delta)).apply(checksum))
    }
    /// Gets back the access to the frame that correcting a checksum may have cost.
    #[inline(always)]
    fn renew(&mut self) {}
    /// Writes the checksum at `offset` of a segment that was made anew: `checksum` is over all of it, and `pseudo` is the
    /// folded sum of the pseudo-header alone, which stands there where the device is to do the rest.
    #[must_use]
    #[inline(always)]
    fn write_checksum(&mut self, offset: usize, checksum: u16, _pseudo: u16) -> Option<()> {
        self.write(offset, checksum)
    }
    /// Makes the frame this long, and one of `family`. What its bytes are afterwards is not said: all of them are to be
    /// written anew.
    #[must_use]
    fn resize(&mut self, length: u32, family: Family) -> Option<()>;
    /// Makes the network header, which has no options or extensions, one of the other `family`. Ethernet and network header
    /// are to be written anew; what follows stays.
    #[must_use]
    fn change_family(&mut self, family: Family) -> Option<()>;
    /// Makes room for a header of family `outer` before the packet, which is of family `inner`. Ethernet and outer header
    /// are to be written anew.
    #[must_use]
    fn encapsulate(&mut self, outer: Family, inner: Family) -> Option<()>;
    /// Cuts the frame, so that it has so many bytes, which are in one piece then. It has more.
    #[must_use]
    fn trim(&mut self, length: u32) -> Option<()>;
    /// Makes room for so many bytes before the network header; if there are fewer than 0, takes those behind the Ethernet
    /// header away. Ethernet header and room are to be written anew.
    #[must_use]
    fn make_room(&mut self, bytes: i32) -> Option<()>;
    /// Whether the device is to fill in the TCP checksum at `offset` when the frame leaves. What stands there until then is
    /// the folded sum of the pseudo-header.
    #[must_use]
    #[inline(always)]
    fn sums_later(&mut self, _offset: usize) -> Option<bool> {
        Some(false)
    }
    /// Carries out a stage.
    #[inline(always)]
    fn stage(&mut self, stage: Stage, tables: &impl Tables, scratch: &mut Scratch) -> Verdict
    where
        Self: Sized,
    {
        stage.run(self, tables, scratch)
    }
    /// Whether the frame has a VLAN tag that is not in its bytes.
    fn tagged(&self) -> bool;
    /// Index of the interface that the frame came in by.
    fn interface(&self) -> u32;
    /// Length in bytes of what can be read: a frame in several buffers goes on in others.
    fn linear(&self) -> u32;
    /// Length of the frame in bytes, all of it. May cost a call.
    fn length(&self) -> u32;
    /// If the frame is to be cut into segments before it leaves: how many bytes of payload each has. 0 if it is not.
    #[inline(always)]
    fn segment_size(&self) -> u32 {
        0
    }
}

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The key has an entry.
    Exists,
    /// No memory for it.
    Full,
}

/// A table of flows, with `Entry` under each key. Entries may vanish at any time: the least recently used make room for
/// new ones.
pub trait FlowTable {
    type Entry: FlowEntry;
    /// Runs `f` on the entry. It must not call into the table: an entry may be reused by the next insertion.
    fn with<R>(&self, key: &Tuple, f: impl FnOnce(&mut Self::Entry) -> R) -> Option<R>;
    /// Adds an entry for a key that has none.
    fn insert(&self, key: &Tuple, entry: &Self::Entry) -> Result<(), InsertError>;
    /// Adds or replaces an entry.
    fn put(&self, key: &Tuple, entry: &Self::Entry) -> Result<(), InsertError>;
    fn remove(&self, key: &Tuple);
}

/// What stands in a table of flows.
pub trait FlowEntry {
    fn flow(&mut self) -> &mut Flow;
}

impl FlowEntry for Flow {
    #[inline(always)]
    fn flow(&mut self) -> &mut Self {
        self
    }
}

impl FlowEntry for HalfOpen {
    #[inline(always)]
    fn flow(&mut self) -> &mut Flow {
        &mut self.flow
    }
}

/// What the pipeline knows besides the packet.
pub trait Tables {
    fn now(&self) -> Ticks;
    fn settings(&self) -> Option<&Settings>;
    /// Whether a place of the filter is marked.
    fn marked(&self, place: u32) -> bool;
    /// Established connections, and those that ended a while ago.
    fn flows(&self) -> impl FlowTable<Entry = Flow>;
    /// Handshakes.
    fn half_open(&self) -> impl FlowTable<Entry = HalfOpen>;
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// Whether an address is that of a service.
    fn vip(&self, address: &Address) -> bool;
    /// Whether a client may connect, by the prefixes under `number`. One that no prefix holds may.
    fn allowed(&self, number: u32, source: &Address) -> bool;
    /// The replica in a slot of a table, 0 if there is none.
    fn slot(&self, table: u32, slot: u32) -> ReplicaId;
    fn replica(&self, id: ReplicaId) -> Option<&Replica>;
    /// Changes the counters of a replica.
    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters));
    /// Counts a packet of so many bytes under its verdict.
    fn record(&self, verdict: Verdict, bytes: u32);
    /// A packet that is dropped, as an example for the operator.
    fn report(&self, verdict: Verdict, packet: &impl Packet, tuple: &Tuple);
}

/// The way back to where a packet came from.
#[inline(always)]
fn way_back(packet: &impl Packet) -> Option<Hop> {
    let macs: Macs = packet.read(0)?;
    Some(Hop { interface: packet.interface(), destination: macs.source, source: macs.destination })
}

/// What a hook is to do with a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Index of the interface to send the frame out of, if it is forwarded or answered.
    pub interface: u32,
}

/// The whole life of a packet. Each ends here, and is counted here, once.
#[inline(always)]
pub fn run(packet: &mut impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Outcome {
    let verdict = balance(packet, tables, scratch);
    let (verdict, interface) = match verdict.action() {
        Action::Forward => (emit::emit(verdict, packet, tables, scratch), scratch.leaves.hop.interface),
        Action::Answer => {
            let interface = packet.interface();
            (packet.stage(Stage::Answer(verdict), tables, scratch), interface)
        }
        Action::Pass | Action::Drop => (verdict, 0),
    };
    if verdict.action() == Action::Drop {
        let _ = packet.stage(Stage::Report(verdict), tables, scratch);
    }
    tables.record(verdict, scratch.bytes);
    Outcome { verdict, interface }
}

/// Parses and decides. What is forwarded leaves as the notes say.
#[inline(always)]
fn balance(packet: &mut impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Verdict {
    match known(packet, tables, scratch) {
        Ok(Known::Established) => Verdict::Forwarded,
        Ok(Known::Icmp) => packet.stage(Stage::Icmp, tables, scratch),
        Ok(Known::Other) => {
            let verdict = packet.stage(Stage::Connection, tables, scratch);
            if scratch.opens { packet.stage(Stage::Open, tables, scratch) } else { verdict }
        }
        Err(verdict) => verdict,
    }
}

/// What the first look at a packet tells.
enum Known {
    /// Of an established connection about which nothing changes.
    Established,
    Icmp,
    /// More is to be looked at.
    Other,
}

/// The first look: all that it takes for a packet of an established connection, and for one that is not the datapath's.
#[inline(always)]
fn known(packet: &impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Result<Known, Verdict> {
    scratch.replay = false;
    scratch.opens = false;
    scratch.bytes = packet.linear();
    let family = parse::family(packet)?;
    let transport = parse::network(packet, family, &mut scratch.headers)?;
    let Headers { network, segment, .. } = scratch.headers;
    let stated = ETHERNET as u32 + u32::from(network) + u32::from(segment);
    if stated > scratch.bytes {
        scratch.bytes = packet.length();
        if stated > scratch.bytes {
            return Err(Verdict::PassedMalformed);
        }
    }
    if scratch.headers.protocol != PROTOCOL_TCP {
        return Ok(Known::Icmp);
    }
    parse::tcp(packet, transport, &mut scratch.headers)?;
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let Tuple { destination, destination_port, .. } = &scratch.headers.tuple;
    if !tables.marked(filter::place(settings, destination, *destination_port)) {
        return Err(Verdict::PassedNotService);
    }
    scratch.look = established::look(tables, settings, scratch);
    if scratch.look != Look::Steady {
        return Ok(Known::Other);
    }
    established::leave(packet, tables, scratch).map(|()| Known::Established)
}

/// Stages that few packets need. In the kernel each is a function that the verifier checks apart from the others, so that
/// its work is their sum and not their product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A packet about whose connection something changes.
    Connection,
    /// One that opens a connection.
    Open,
    /// An ICMP packet.
    Icmp,
    /// An ICMP error about a flow, which is translated when it leaves.
    Error,
    /// A packet that is made over as a whole when it leaves.
    Emit,
    /// A packet that becomes the answer that the verdict says.
    Answer(Verdict),
    /// One that is dropped for this reason, as an example for the operator.
    Report(Verdict),
}

impl Stage {
    /// Carries out the stage.
    #[inline(always)]
    pub fn run(self, packet: &mut impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Verdict {
        match self {
            Self::Connection => either(decide(packet, tables, scratch)),
            Self::Open => either(open::open(packet, tables, scratch)),
            Self::Icmp => icmp::icmp(packet, tables, scratch),
            Self::Error => icmp::rewrite(packet, scratch),
            Self::Emit => emit::made_over(packet, tables, scratch),
            Self::Answer(verdict) => answer::answer(packet, scratch, verdict),
            Self::Report(verdict) => {
                tables.report(verdict, packet, &scratch.headers.tuple);
                verdict
            }
        }
    }
}

#[inline(always)]
fn either(result: Result<Verdict, Verdict>) -> Verdict {
    let (Ok(verdict) | Err(verdict)) = result;
    verdict
}

/// Decides what becomes of a packet that may be of a connection, or leaves it to be decided by who opens one.
#[inline(always)]
fn decide(packet: &impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Result<Verdict, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    if let Some(known) = settled(packet, tables, settings, now, scratch) {
        return known;
    }
    match half_open::find(packet, tables, settings, now, scratch) {
        Some(Ok(Handshake::Decided)) => return Ok(Verdict::Forwarded),
        Some(Err(verdict)) => return Err(verdict),
        Some(Ok(Handshake::Failed)) => {}
        None => {
            // Between the two looks another CPU may have moved the connection from one table to the other. Only a packet that
            // opens none can be of such a one.
            if !scratch.headers.flags.opens() {
                scratch.look = established::look(tables, settings, scratch);
                if let Some(known) = settled(packet, tables, settings, now, scratch) {
                    return known;
                }
            }
            let Scratch { headers, order, .. } = scratch;
            order.cause = Cause::New;
            order.client = headers.tuple;
            order.answer = headers.tuple;
            order.failed = 0;
        }
    }
    scratch.opens = true;
    Ok(Verdict::PassedNoFlow)
}

/// What becomes of a packet after a look at the flow table; `None` if it is of no connection there.
#[inline(always)]
fn settled(
    packet: &impl Packet,
    tables: &impl Tables,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Option<Result<Verdict, Verdict>> {
    match scratch.look {
        Look::Absent => return None,
        Look::Steady => {}
        Look::Consider => {
            if let Err(verdict) = established::consider(packet, tables, settings, now, scratch)? {
                return Some(Err(verdict));
            }
        }
    }
    Some(established::leave(packet, tables, scratch).map(|()| Verdict::Forwarded))
}
