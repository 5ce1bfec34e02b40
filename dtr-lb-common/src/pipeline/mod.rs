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
    abi::{Flow, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Side, Ticks, Tuple},
    checksum::Delta,
    verdict::{Action, Verdict},
    wire::Ethernet,
};

mod connection;
mod established;
mod family;
mod half_open;
mod open;
mod parse;
mod rewrite;

pub use family::{Family, V4};
use parse::Headers;
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

/// A table of flows. Entries may vanish at any time: the least recently used make room for new ones.
pub trait FlowTable<F: Family> {
    /// Runs `f` on the entry. It must not call into the table: an entry may be reused by the next insertion.
    fn with<R>(&self, key: &Tuple<F::Address>, f: impl FnOnce(&mut Flow<F::Address>) -> R) -> Option<R>;
    /// Adds an entry for a key that has none.
    fn insert(&self, key: &Tuple<F::Address>, flow: &Flow<F::Address>) -> Result<(), InsertError>;
    /// Adds or replaces an entry.
    fn put(&self, key: &Tuple<F::Address>, flow: &Flow<F::Address>) -> Result<(), InsertError>;
    fn remove(&self, key: &Tuple<F::Address>);
}

/// What the pipeline knows besides the packet.
pub trait Tables<F: Family> {
    fn now(&self) -> Ticks;
    fn settings(&self) -> Option<&Settings>;
    /// Established connections, and those that ended a while ago.
    fn flows(&self) -> impl FlowTable<F>;
    /// Handshakes.
    fn half_open(&self) -> impl FlowTable<F>;
    fn service(&self, key: &ServiceKey) -> Option<Service>;
    /// The replica in a slot of a table, 0 if there is none.
    fn slot(&self, table: u32, slot: u32) -> ReplicaId;
    fn replica(&self, id: ReplicaId) -> Option<&Replica>;
    /// Changes the counters of a replica.
    fn count(&self, id: ReplicaId, f: impl FnOnce(&mut ReplicaCounters));
    /// Counts a packet under its verdict.
    fn record(&self, verdict: Verdict, packet: &impl Packet);
    /// A packet that is dropped, as an example for the operator.
    fn report(&self, verdict: Verdict, packet: &impl Packet, tuple: &Tuple<F::Address>);
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
    let outcome = match packet.read::<Ethernet>(0) {
        Some(frame) if frame.kind == V4::ETHERTYPE => send::<V4>(packet, tables),
        Some(_) => Err(Verdict::PassedNotIp),
        None => Err(Verdict::PassedMalformed),
    };
    let outcome = match outcome {
        Ok(interface) => Outcome { verdict: Verdict::Forwarded, interface },
        Err(verdict) => Outcome { verdict, interface: 0 },
    };
    tables.record(outcome.verdict, packet);
    outcome
}

/// Decides and, if the packet is forwarded, rewrites it and counts it for its replica. Returns the interface to send
/// it out of.
#[inline(always)]
fn send<F: Family>(packet: &mut impl Packet, tables: &impl Tables<F>) -> Result<u32, Verdict> {
    let headers = parse::headers::<F>(packet)?;
    let decision = decide(&headers, packet, tables).inspect_err(|verdict| {
        if verdict.action() == Action::Drop {
            tables.report(*verdict, packet, &headers.tuple);
        }
    })?;
    rewrite(packet, &decision).ok_or(Verdict::DroppedRewrite)?;
    let bytes = u64::from(packet.length());
    tables.count(decision.replica, |counters| {
        let traffic = if decision.side == Side::TO_REPLICA {
            &mut counters.to_replica
        } else {
            &mut counters.to_client
        };
        traffic.packets += 1;
        traffic.bytes += bytes;
    });
    Ok(decision.hop.interface)
}

/// Decides what becomes of a packet of family `F`: how it is rewritten, or why it is not.
#[inline(always)]
fn decide<F: Family>(
    headers: &Headers<F>,
    packet: &impl Packet,
    tables: &impl Tables<F>,
) -> Result<Rewrite<F>, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    let now = tables.now();
    if let Some(known) = established::find(headers, tables, settings, now) {
        return known;
    }
    if let Some(known) = half_open::find(headers, tables, settings, now) {
        return known;
    }
    open::steer(headers, packet, tables, settings, now)
}
