//! The life of a packet: **parse → find flow → (new: find service → steer → admit → remember) → rewrite → emit**.
//!
//! [`run`] is all of it. It runs in the kernel under XDP and under TC, and on the host over the
//! [`model`](crate::model): what differs is behind [`Packet`] and [`Tables`].
//!
//! There are two tiers. [`fast()`] is for packets about which nothing is to be decided: one function, one look at the flow table.
//! All others go through the stages of [`run`], which know the fast path's work, too.
//!
//! Invariants:
//! - A stage ends with what the next one needs or with a [`Verdict`]; nothing returns a hook's action before the end.
//! - A packet is changed only by the last step: what is passed or dropped is as it came. VLAN tags are taken off and put back.
//! - What stands in the flow table, and how it changes: [`crate::flow_table`].

use bytemuck::Pod;

use crate::{
    abi::{
        FlowEvent, Hop, KeptSyn, Replica, ReplicaCounters, ReplicaId, Service, ServiceKey, Settings, Ticks,
        Tuple, Witness, flow_wanted,
    },
    address::{Address, Family},
    checksum::Delta,
    filter,
    flow_table::{Memory, next_hops::NextHops},
    verdict::{Action, Verdict},
    wire::{Ethernet, Mac, Macs, PROTOCOL_TCP, TcpFlags, VlanTag},
};

pub mod admission;
mod answer;
mod connection;
mod context;
mod emit;
mod fast;
mod handshake;
mod header;
mod icmp;
#[cfg(test)]
mod interleavings;
pub mod milestone;
mod nat_port;
#[cfg(any(feature = "user", test))]
pub mod notice;
mod open;
mod parse;
pub mod probe;
mod resend_syn;
mod rewrite;
mod segment;
mod sequence;
mod silence;
mod steer;
pub mod summary;
pub mod sweep;
#[cfg(any(feature = "user", test))]
pub mod synthetic_syn;
mod translate;
mod tunnel;
mod vlan;

use connection::Decision;
pub use context::PacketContext;
pub use fast::fast;
use milestone::Turn;
use open::{Cause, Progress};
pub use parse::EXTENSION_BYTES;
use parse::Headers;
use rewrite::Rewrite;
pub use sequence::over;
pub use steer::steering;
use vlan::Tags;

/// Offset of the network header: Ethernet without tags.
const ETHERNET: usize = size_of::<Ethernet>();
const _: () = assert!(ETHERNET.is_multiple_of(2));

/// The first bytes of a frame, which are there. Words are as they stand in memory, at even offsets.
pub trait Head: Copy {
    fn get8(self, at: usize) -> u8;
    fn get16(self, at: usize) -> u16;
    fn get32(self, at: usize) -> u32;
    fn put8(self, at: usize, value: u8);
    fn put16(self, at: usize, value: u16);
    fn put32(self, at: usize, value: u32);
    /// The same number, worked out by now: left alone, the compiler keeps all terms of a sum for later, on a stack that is small.
    #[inline(always)]
    fn settled(self, sum: u64) -> u64 {
        sum
    }
}

/// Access to a frame. An offset counts bytes from the Ethernet header.
pub trait Packet {
    type Head<'a>: Head
    where
        Self: 'a;
    /// Whether a TCP checksum is what stands in the frame, so that it may be corrected there.
    const SUMS_IN_FRAME: bool = true;
    /// Whether packets of one direction of a connection come by one processor at a time.
    const ALONE: bool = true;
    /// The first `bytes` of the frame; nothing if it (its linear part) is shorter.
    fn head(&mut self, bytes: usize) -> Option<Self::Head<'_>>;
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
    fn stage(&mut self, stage: Stage, tables: &impl Tables, context: &mut PacketContext) -> Verdict
    where
        Self: Sized,
    {
        stage.run(self, tables, context)
    }
    /// The frame's VLAN tag that is not among its bytes but beside them, which is the outermost.
    #[inline(always)]
    fn tag_beside(&self) -> Option<VlanTag> {
        None
    }
    /// Takes so many VLAN tags off the frame, which has them: one or two.
    #[must_use]
    fn take_tags(&mut self, count: u32) -> Option<()>;
    /// Puts a VLAN tag on the frame, outside of those that it has.
    #[must_use]
    fn put_tag(&mut self, tag: VlanTag) -> Option<()>;
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

/// What the pipeline knows besides the packet.
pub trait Tables {
    fn now(&self) -> Ticks;
    fn settings(&self) -> Option<&Settings>;
    /// Whether a place of the filter is marked.
    fn marked(&self, place: u32) -> bool;
    /// The flow table.
    fn flows(&self) -> impl Memory;
    /// The next hops to clients.
    fn next_hops(&self) -> impl NextHops;
    /// Keeps a SYN for as long as nothing newer needs its room, and returns where. 0 is nowhere.
    fn keep_syn(&self, syn: &KeptSyn) -> u32;
    /// Reads what is kept there. Says whether anything whole is.
    fn kept_syn(&self, at: u32, syn: &mut KeptSyn) -> bool;
    /// Writes beside it when its replica answered. Here and below: who only looks at tables does nothing of it.
    fn answered(&self, _at: u32, _micros: u32) {}
    /// A clock in microseconds, which wraps. It costs a call: for handshakes only.
    fn micros(&self) -> u32 {
        0
    }
    /// Adds to a number of [`crate::abi::FlowStats`], by its place ([`crate::abi::stat`]).
    fn tally(&self, _id: ReplicaId, _place: usize, _amount: u64) {}
    /// What somebody wants to hear of connections: [`crate::abi::flow_wanted`].
    fn flow_wanted(&self) -> u32 {
        flow_wanted::NOTHING
    }
    #[inline(always)]
    fn tells_flows(&self) -> bool {
        self.flow_wanted() != flow_wanted::NOTHING
    }
    /// Tells what becomes of a connection. Says whether there was room for it. What a `stranger` can cause must leave most of the room
    /// to others.
    fn tell_flow(&self, _stranger: bool, _fill: impl FnOnce(&mut FlowEvent)) -> bool {
        false
    }
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
    /// Remembers who has seen a replica say nothing, in the place of [`crate::hash::witness`].
    fn witness(&self, id: ReplicaId, witness: &Witness);
    /// Counts a packet of so many bytes under its verdict.
    fn record(&self, verdict: Verdict, bytes: u32);
    /// What is remembered of clients, and of floods.
    fn clients(&self) -> impl admission::ClientMemory;
    /// Whether a frame to this address is for this host, by the set of this number.
    fn is_own(&self, set: u32, mac: &Mac) -> bool;
    /// A packet of which an operator has to hear, as an example: [`Verdict::is_reported`].
    fn report(&self, verdict: Verdict, packet: &impl Packet, tuple: &Tuple);
}

/// The way back to where a packet came from.
#[inline(always)]
fn way_back(packet: &impl Packet, tags: &Tags) -> Option<Hop> {
    let macs: Macs = packet.read(0)?;
    Some(Hop {
        interface: packet.interface(),
        destination: macs.source,
        source: macs.destination,
        vlans: tags.vlans(),
    })
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
pub fn run(packet: &mut impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Outcome {
    let verdict = balance(packet, tables, context);
    let verdict = match verdict.action() {
        Action::Forward => {
            let error = verdict == Verdict::ForwardedIcmp && !context.egress.mode.direct();
            packet.stage(if error { Stage::Error } else { Stage::Emit(verdict) }, tables, context)
        }
        Action::Answer => packet.stage(Stage::Answer(verdict), tables, context),
        Action::Pass | Action::Drop => verdict,
    };
    let verdict = if vlan::wanted(context, verdict) {
        packet.stage(Stage::Tag(verdict), tables, context)
    } else {
        verdict
    };
    if context.turn.any() || context.is_late || milestone::fails(verdict) && context.is_syn() {
        let _ = packet.stage(Stage::Milestone(verdict), tables, context);
    }
    if verdict.is_reported() {
        let _ = packet.stage(Stage::Report(verdict), tables, context);
    }
    tables.record(verdict, context.bytes);
    let interface = match verdict.action() {
        Action::Forward => context.egress.hop.interface,
        Action::Answer => packet.interface(),
        Action::Pass | Action::Drop => 0,
    };
    Outcome { verdict, interface }
}

/// Parses and decides. What is forwarded leaves as the context says.
#[inline(always)]
fn balance(packet: &mut impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Verdict {
    let mut verdict = packet.stage(Stage::Parse, tables, context);
    if context.next != Next::Nothing && context.tags.any() {
        verdict = packet.stage(Stage::Untag, tables, context);
    }
    match context.next {
        Next::Nothing => verdict,
        Next::Icmp => packet.stage(Stage::Icmp, tables, context),
        Next::Connection => {
            let syn = context.headers.flags.opens();
            if syn {
                let _ = packet.stage(Stage::Steer, tables, context);
            }
            let verdict = packet.stage(Stage::Connection, tables, context);
            if !context.opens {
                if context.completes {
                    let _ = packet.stage(Stage::Complete, tables, context);
                }
                return verdict;
            }
            if context.order.cause == Cause::Silent {
                let verdict = packet.stage(Stage::Silence, tables, context);
                if !context.opens {
                    return verdict;
                }
                if context.is_whole {
                    let _ = packet.stage(Stage::Testify, tables, context);
                }
            }
            // Here it may be of a connection that another balancer has opened.
            if !syn {
                let _ = packet.stage(Stage::Steer, tables, context);
            }
            if context.headers.flags.any(TcpFlags::RST) {
                let verdict = packet.stage(Stage::Proof, tables, context);
                if !context.opens {
                    return verdict;
                }
            }
            if context.order.cause == Cause::New {
                let verdict = packet.stage(Stage::Admit, tables, context);
                if verdict == Verdict::AnsweredChallenge {
                    let _ = packet.stage(Stage::Challenge, tables, context);
                }
                if !context.opens {
                    return verdict;
                }
            }
            open_connection(packet, tables, context)
        }
    }
}

/// Opens a connection: enters the replica's direction with a port, then the client's.
#[inline(always)]
fn open_connection(packet: &mut impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Verdict {
    let mut verdict = packet.stage(Stage::Open, tables, context);
    let mut insertions = 0;
    while context.progress != Progress::Done && insertions < open::INSERTIONS {
        insertions += 1;
        let _ = packet.stage(Stage::Insert, tables, context);
        verdict = packet.stage(Stage::Advance, tables, context);
    }
    verdict
}

/// What follows the reading of the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The verdict is there.
    Nothing,
    Connection,
    Icmp,
}

/// Reads the headers, and looks whether the packet may be the datapath's.
#[inline(always)]
fn parse(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Result<Next, Verdict> {
    context.resend_syn = false;
    context.opens = false;
    context.completes = false;
    context.turn = Turn::NONE;
    context.is_late = false;
    context.bytes = packet.linear();
    let (kind, at) = vlan::read(packet, &mut context.tags)?;
    // As one number: the verifier would follow what comes after for each of those that it may be.
    let at = tables.flows().opaque(at as u64) as usize & 0x1f;
    let family = parse::family(kind)?;
    let transport = parse::network(packet, at, family, &mut context.headers)?;
    let Headers { network, segment, .. } = context.headers;
    let stated = at as u32 + u32::from(network) + u32::from(segment);
    if stated > context.bytes {
        context.bytes = packet.length();
        if stated > context.bytes {
            return Err(Verdict::PassedMalformed);
        }
    }
    let mut next = Next::Icmp;
    if context.headers.protocol == PROTOCOL_TCP {
        parse::tcp(packet, transport, &mut context.headers)?;
        next = Next::Connection;
    }
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    if next == Next::Connection && !may_be_ours(tables, settings, &context.headers.tuple) {
        return Err(Verdict::PassedNotService);
    }
    let macs: Macs = packet.read(0).ok_or(Verdict::PassedMalformed)?;
    let own = settings.own_macs == 0 || tables.is_own(settings.own_macs, &macs.destination);
    // What replicas send is not looked at, as the fast path does not: it is of a connection that this host opened.
    context.to_other_host = !own | macs.to_many();
    if next == Next::Icmp && context.to_other_host {
        return Err(Verdict::PassedOtherHost);
    }
    Ok(next)
}

/// Whether the filter lets a packet with this tuple on to the tables: by where it goes, or, where replicas answer to the address of
/// their client, by where it comes from.
#[inline(always)]
fn may_be_ours(tables: &impl Tables, settings: &Settings, tuple: &Tuple) -> bool {
    let Tuple { source, destination, source_port, destination_port } = tuple;
    tables.marked(filter::place(settings, destination, *destination_port))
        || settings.by_source != 0 && tables.marked(filter::place(settings, source, *source_port))
}

/// Stages that few packets need. In the kernel each is a function that the verifier checks apart from the others, so that
/// its work is their sum and not their product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reads the headers.
    Parse,
    /// Takes the VLAN tags off a frame that may be the datapath's.
    Untag,
    /// Looks where a connection would go that a packet opens, and reads of it what is to be kept.
    Steer,
    /// A TCP packet: what its connection makes of it.
    Connection,
    /// Looks whether a reset is the answer to a challenge.
    Proof,
    /// Looks whether one may that opens a connection.
    Admit,
    /// Works out what its sender is told that has to prove its address.
    Challenge,
    /// A SYN that comes again, as its replica is silent: whether it is whole, and the first one was.
    Silence,
    /// Then that counts against the replica.
    Testify,
    /// One that opens a connection.
    Open,
    /// Enters the draft in the context into the flow table.
    Insert,
    /// Goes on after that.
    Advance,
    /// The packet has completed a handshake.
    Complete,
    /// An ICMP packet.
    Icmp,
    /// An ICMP error about a flow, which is translated when it leaves.
    Error,
    /// A packet that leaves under this verdict.
    Emit(Verdict),
    /// A packet that becomes the answer that the verdict says.
    Answer(Verdict),
    /// Puts VLAN tags on a frame that leaves, or stays, under this verdict.
    Tag(Verdict),
    /// One that has brought its connection further, or a SYN that opens none, by this verdict.
    Milestone(Verdict),
    /// One that is dropped for this reason, as an example for the operator.
    Report(Verdict),
}

impl Stage {
    /// Carries out the stage.
    #[inline(always)]
    pub fn run(self, packet: &mut impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Verdict {
        match self {
            Self::Parse => match parse(packet, tables, context) {
                Ok(next) => {
                    context.next = next;
                    Verdict::PassedNotReady
                }
                Err(verdict) => {
                    context.next = Next::Nothing;
                    verdict
                }
            },
            Self::Untag => vlan::take(packet, context),
            Self::Steer => {
                let PacketContext { headers, kept, is_read, .. } = &mut *context;
                *is_read = resend_syn::keep(packet, headers, &mut kept.syn).is_some();
                steer::steer(tables, context);
                Verdict::PassedNoFlow
            }
            Self::Connection => match connection::decide(packet, tables, context) {
                Decision::Leaves(verdict) | Decision::Stops(verdict) => verdict,
                Decision::Opens => {
                    context.opens = true;
                    Verdict::PassedNoFlow
                }
            },
            Self::Proof => {
                context.opens = !admission::proves(tables, context);
                Verdict::PassedProof
            }
            Self::Admit => match admission::admit(tables, context) {
                Ok(()) => Verdict::PassedNoFlow,
                Err(verdict) => {
                    context.opens = false;
                    verdict
                }
            },
            Self::Challenge => {
                admission::challenge(tables, context);
                Verdict::AnsweredChallenge
            }
            Self::Silence => silence::silence(packet, tables, context),
            Self::Testify => {
                silence::testify(tables, context);
                Verdict::PassedNoFlow
            }
            Self::Open => open::open(packet, tables, context),
            Self::Advance => open::advance(packet, tables, context),
            Self::Insert => {
                open::enter(tables, context);
                Verdict::Forwarded
            }
            Self::Complete => {
                admission::complete(tables, context);
                Verdict::Forwarded
            }
            Self::Icmp => icmp::icmp(packet, tables, context),
            Self::Error => icmp::rewrite(packet, context),
            Self::Emit(verdict) => emit::emit(verdict, packet, tables, context),
            Self::Answer(verdict) => answer::answer(packet, context, verdict),
            Self::Tag(verdict) => vlan::put(packet, context, verdict),
            Self::Milestone(verdict) => {
                milestone::pass(tables, context, verdict);
                verdict
            }
            Self::Report(verdict) => {
                tables.report(verdict, packet, &context.headers.tuple);
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
