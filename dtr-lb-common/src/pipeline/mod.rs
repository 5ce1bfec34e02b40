//! The life of a packet: **parse → find flow → (new: find service → steer → remember) → rewrite → emit**.
//!
//! [`run`] is all of it. It runs in the kernel under XDP and under TC, and on the host over the
//! [`model`](crate::model): what differs is behind [`Packet`] and [`Tables`]. Each stage is generic over the address
//! family.
//!
//! Invariants:
//! - A stage ends with what the next one needs or with a [`Verdict`]; nothing returns a hook's action before the end.
//! - A packet is changed only by `rewrite`, the last step: what is passed or dropped is as it came.
//! - A connection has two entries, one a direction, and each names the other. The port of the entry towards the client
//!   is taken for as long as that entry exists, in whichever of the two tables.
//! - A packet of an established flow costs one look-up in a flow table.

use bytemuck::Pod;

use crate::{
    abi::{
        Flow, HalfOpen, Hop, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Side, Ticks,
        Tuple,
    },
    checksum::Delta,
    verdict::{Action, Verdict},
    wire::{Ethernet, Macs},
};

mod connection;
mod established;
mod family;
mod half_open;
mod open;
mod parse;
mod replay;
mod rewrite;

pub use family::{Family, V4};
use half_open::Handshake;
use open::{Cause, Order};
use parse::Headers;
use replay::replay;
use rewrite::{Rewrite, rewrite};

/// Access to a frame. An offset counts bytes from the Ethernet header.
pub trait Packet {
    /// The bytes at `offset`; nothing if the frame (its linear part) ends before. `offset` is even.
    fn read<T: Pod>(&self, offset: usize) -> Option<T>;
    /// Overwrites the bytes at `offset`; nothing is written where the frame ends before.
    #[must_use]
    fn write<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;
    /// Corrects the TCP checksum at `offset` by the folded differences of addresses and ports. Comes last: a hook may
    /// have to give up its access to the frame for it.
    #[must_use]
    #[inline(always)]
    fn correct_tcp_checksum(&mut self, offset: usize, address_delta: u16, port_delta: u16) -> Option<()> {
        let checksum = self.read::<u16>(offset)?;
        self.write(offset, Delta::folded(address_delta).plus(Delta::folded(port_delta)).apply(checksum))
    }
    /// Makes the frame this long. What its bytes are afterwards is not said: all of them are to be written anew.
    #[must_use]
    fn resize(&mut self, length: u32) -> Option<()>;
    /// Whether the frame has a VLAN tag that is not in its bytes.
    fn tagged(&self) -> bool;
    /// Index of the interface that the frame came in by.
    fn interface(&self) -> u32;
    /// Length of the frame in bytes, all of it.
    fn length(&self) -> u32;
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
pub trait FlowTable<F: Family> {
    type Entry: FlowEntry<F>;
    /// Runs `f` on the entry. It must not call into the table: an entry may be reused by the next insertion.
    fn with<R>(&self, key: &Tuple<F::Address>, f: impl FnOnce(&mut Self::Entry) -> R) -> Option<R>;
    /// Adds an entry for a key that has none.
    fn insert(&self, key: &Tuple<F::Address>, entry: &Self::Entry) -> Result<(), InsertError>;
    /// Adds or replaces an entry.
    fn put(&self, key: &Tuple<F::Address>, entry: &Self::Entry) -> Result<(), InsertError>;
    fn remove(&self, key: &Tuple<F::Address>);
}

/// What stands in a table of flows.
pub trait FlowEntry<F: Family> {
    fn flow(&mut self) -> &mut Flow<F::Address>;
}

impl<F: Family> FlowEntry<F> for Flow<F::Address> {
    #[inline(always)]
    fn flow(&mut self) -> &mut Self {
        self
    }
}

impl<F: Family> FlowEntry<F> for HalfOpen<F::Address> {
    #[inline(always)]
    fn flow(&mut self) -> &mut Flow<F::Address> {
        &mut self.flow
    }
}

/// What the pipeline knows besides the packet.
pub trait Tables<F: Family> {
    fn now(&self) -> Ticks;
    fn settings(&self) -> Option<&Settings>;
    /// Established connections, and those that ended a while ago.
    fn flows(&self) -> impl FlowTable<F, Entry = Flow<F::Address>>;
    /// Handshakes.
    fn half_open(&self) -> impl FlowTable<F, Entry = HalfOpen<F::Address>>;
    /// A place for an entry of the half-open table that is being made: it is too large for the stack of a program. It
    /// holds what the last use on this CPU left there; `f` does not ask for it again.
    fn draft<R>(&self, f: impl FnOnce(&mut HalfOpen<F::Address>) -> R) -> Option<R>;
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// The replica in a slot of a table, 0 if there is none.
    fn slot(&self, table: u32, slot: u32) -> ReplicaId;
    fn replica(&self, id: ReplicaId) -> Option<&Replica>;
    /// Changes the counters of a replica.
    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters));
    /// Counts a packet of so many bytes under its verdict.
    fn record(&self, verdict: Verdict, bytes: u32);
    /// A packet that is dropped, as an example for the operator.
    fn report(&self, verdict: Verdict, packet: &impl Packet, tuple: &Tuple<F::Address>);
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
    /// Index of the interface to send the frame out of, if it is forwarded.
    pub interface: u32,
}

/// The whole life of a packet. Each ends here, and is counted here, once.
#[inline(always)]
pub fn run(packet: &mut impl Packet, tables: &impl Tables<V4>) -> Outcome {
    // As it came in: a refusal that is made over changes its length.
    let bytes = packet.length();
    let outcome = match packet.read::<Ethernet>(0) {
        Some(_) if packet.tagged() => Err(Verdict::PassedNotIp),
        Some(frame) if frame.kind == V4::ETHERTYPE => send::<V4>(packet, tables),
        Some(_) => Err(Verdict::PassedNotIp),
        None => Err(Verdict::PassedMalformed),
    };
    let outcome = outcome.unwrap_or_else(|verdict| Outcome { verdict, interface: 0 });
    tables.record(outcome.verdict, bytes);
    outcome
}

/// What is done with a packet that goes on.
enum Decision<F: Family> {
    Forward(Rewrite<F>),
    /// The same, of a SYN that goes to another replica than before.
    Redispatch(Rewrite<F>),
    /// The packet, a replica's refusal, becomes the client's SYN, which is in the draft, to another replica.
    Replay(Rewrite<F>),
}

/// Decides and, if the packet is forwarded, rewrites it and counts it for its replica.
#[inline(always)]
fn send<F: Family>(packet: &mut impl Packet, tables: &impl Tables<F>) -> Result<Outcome, Verdict> {
    let headers = parse::headers::<F>(packet)?;
    let decision = decide(&headers, packet, tables).inspect_err(|verdict| {
        if verdict.action() == Action::Drop {
            tables.report(*verdict, packet, &headers.tuple);
        }
    })?;
    let (verdict, leaves) = match &decision {
        Decision::Forward(leaves) => (Verdict::Forwarded, leaves),
        Decision::Redispatch(leaves) => (Verdict::Redispatched, leaves),
        Decision::Replay(leaves) => {
            let done = tables.draft(|draft| replay(packet, leaves, &draft.syn)).flatten();
            done.ok_or(Verdict::DroppedRewrite)?;
            return Ok(Outcome { verdict: Verdict::Redispatched, interface: leaves.hop.interface });
        }
    };
    rewrite(packet, leaves).ok_or(Verdict::DroppedRewrite)?;
    let bytes = u64::from(packet.length());
    tables.count(leaves.replica, |counters| {
        let traffic =
            if leaves.side == Side::TO_REPLICA { &mut counters.to_replica } else { &mut counters.to_client };
        traffic.packets += 1;
        traffic.bytes += bytes;
    });
    Ok(Outcome { verdict, interface: leaves.hop.interface })
}

/// Decides what becomes of a packet of family `F`: how it is rewritten, or why it is not.
#[inline(always)]
fn decide<F: Family>(
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
) -> Result<Decision<F>, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    if let Some(known) = established::find(headers, packet, tables, settings, now) {
        return known.map(Decision::Forward);
    }
    let order = match half_open::find(headers, tables, settings, now) {
        Some(Ok(Handshake::Decided(rewrite))) => return Ok(Decision::Forward(rewrite)),
        Some(Ok(Handshake::Failed(order))) => order,
        Some(Err(verdict)) => return Err(verdict),
        None => Order { cause: Cause::New, client: headers.tuple, answer: headers.tuple, failed: 0 },
    };
    open::open(order, headers, packet, tables, settings, now)
}
