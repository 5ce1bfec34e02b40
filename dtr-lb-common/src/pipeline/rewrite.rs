//! How a packet leaves, and the rewriting of one that stays in its family.

use super::{ETHERNET, Headers, Packet, PacketContext, Tables, parse};
use crate::{
    abi::{Direction, Flow, Hop, Mode, Replica, ReplicaId, Tuple, Vlans},
    address::{Address, Be16, Family},
    checksum::{Delta, TTL_DECREMENT},
    flow_table::{Control, Place, next_hops},
    verdict::Verdict,
    wire::{Ipv4, Ipv6, Macs, TCP_CHECKSUM_OFFSET},
};

/// How a packet leaves. Plain data: pointers into the frame do not outlive some helpers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite {
    pub to: Tuple,
    pub hop: Hop,
    pub replica: ReplicaId,
    pub direction: Direction,
    pub mode: Mode,
    /// Its replica is dead, and its flows are to be reset.
    pub reset: bool,
    pub address_delta: u16,
    pub port_delta: u16,
    /// The entry that says so, which counts what leaves by it.
    pub place: Place,
    pub control: Control,
}

impl Rewrite {
    pub(super) const NONE: Self = Self {
        to: Headers::NONE.tuple,
        hop: Hop { interface: 0, destination: [0; 3], source: [0; 3], vlans: Vlans::NONE },
        replica: 0,
        direction: Direction::ToReplica,
        mode: Mode::NAT,
        reset: false,
        address_delta: 0,
        port_delta: 0,
        place: Place::NONE,
        control: Control(0),
    };

    /// What an entry makes of a packet.
    #[inline(always)]
    pub(super) fn set(&mut self, flow: &Flow, tables: &impl Tables) {
        self.to = flow.to;
        self.hop = Hop::default();
        if flow.direction() == Direction::ToClient
            && let Some(hop) = next_hops::get(&tables.next_hops(), flow.hop)
        {
            self.hop = hop;
        }
        (self.place, self.control) = (flow.place, flow.control);
        self.replica = flow.replica;
        self.direction = flow.direction();
        self.mode = Mode::NAT;
        self.reset = false;
        self.address_delta = difference(&flow.key, &flow.to).fold();
        self.port_delta = Delta::ZERO
            .word(flow.key.source_port.raw(), flow.to.source_port.raw())
            .word(flow.key.destination_port.raw(), flow.to.destination_port.raw())
            .fold();
    }

    /// By the way to this replica.
    #[inline(always)]
    pub(super) fn by(&mut self, replica: &Replica) {
        self.hop = replica.hop;
        self.mode = replica.mode;
        self.reset = replica.reset != 0;
    }
}

/// The last look before a packet may leave: its next hop, which for a replica is the one in force now, and what must not
/// be forwarded at all.
#[inline(always)]
pub(super) fn check(
    packet: &impl Packet,
    tables: &impl Tables,
    context: &mut PacketContext,
) -> Result<(), Verdict> {
    let PacketContext { headers, egress, .. } = context;
    if egress.direction == Direction::ToClient {
        return may_leave(headers, &egress.hop, Mode::NAT, egress.to.destination.family());
    }
    let replica = tables.replica(egress.replica).ok_or(Verdict::DroppedNoNextHop)?;
    egress.by(replica);
    reaches(packet, replica, context)
}

/// Whether a packet may be sent to a replica.
#[inline(always)]
pub(super) fn reaches(
    packet: &impl Packet,
    replica: &Replica,
    context: &mut PacketContext,
) -> Result<(), Verdict> {
    let headers = &context.headers;
    may_leave(headers, &replica.hop, replica.mode, replica.address.family())?;
    if exceeds(headers, packet, replica) {
        context.mtu = limit(replica).saturating_sub(overhead(headers.family, replica) as u16);
        return Err(Verdict::AnsweredTooBig);
    }
    Ok(())
}

/// Whether a packet may leave by a hop, to an end of `family`.
#[inline(always)]
fn may_leave(headers: &Headers, hop: &Hop, mode: Mode, family: Family) -> Result<(), Verdict> {
    if headers.fragmented {
        return Err(Verdict::DroppedFragment);
    }
    if hop.interface == 0 {
        return Err(Verdict::DroppedNoNextHop);
    }
    // A router takes one hop of a packet; DSR is none.
    if headers.hops <= 1 && mode != Mode::DSR {
        return Err(Verdict::DroppedTtlExpired);
    }
    // IPv4 counts its own header in the length, IPv6 does not.
    let (plain, longest) = match headers.family {
        Family::V4 => (size_of::<Ipv4>(), u16::MAX),
        Family::V6 => (size_of::<Ipv6>(), u16::MAX - size_of::<Ipv4>() as u16),
    };
    let translatable = usize::from(headers.network) == plain && headers.segment <= longest;
    if !mode.direct() && headers.family != family && !translatable {
        return Err(Verdict::DroppedUntranslatable);
    }
    Ok(())
}

/// Whether a packet is too large for the way to its replica.
#[inline(always)]
fn exceeds(headers: &Headers, packet: &impl Packet, replica: &Replica) -> bool {
    let length = u32::from(headers.network) + u32::from(headers.segment);
    let grown = length + overhead(headers.family, replica);
    let limit = u32::from(limit(replica));
    if grown <= limit {
        return false;
    }
    // A frame that is cut into segments counts by their length.
    let segment = packet.segment_size();
    let headers = u32::from(headers.network) + u32::from(headers.tcp);
    segment == 0 || grown - length + headers + segment > limit
}

/// The largest packet that may leave to a replica: where that is not known, the largest of which a header can say it.
#[inline(always)]
fn limit(replica: &Replica) -> u16 {
    if replica.mtu == 0 { u16::MAX } else { replica.mtu }
}

/// Bytes that a packet of `family` gains on its way to a replica.
#[inline(always)]
fn overhead(family: Family, replica: &Replica) -> u32 {
    match (replica.mode, family, replica.address.family()) {
        (Mode::IPIP, _, Family::V4) => size_of::<Ipv4>() as u32,
        (Mode::IPIP, _, Family::V6) => size_of::<Ipv6>() as u32,
        (Mode::NAT, Family::V4, Family::V6) => (size_of::<Ipv6>() - size_of::<Ipv4>()) as u32,
        _ => 0,
    }
}

/// The Ethernet addresses of a frame that leaves by a hop.
#[inline(always)]
pub(super) fn macs(hop: &Hop) -> Macs {
    Macs { destination: hop.destination, source: hop.source }
}

/// The two Ethernet addresses of a frame, in three words, with each in the place of the other.
#[inline(always)]
pub(super) const fn turned([a, b, c]: [u32; 3]) -> [u32; 3] {
    if cfg!(target_endian = "little") {
        [b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16]
    } else {
        [b << 16 | c >> 16, c << 16 | a >> 16, a << 16 | b >> 16]
    }
}

/// Rewrites a packet within its family. Where it fails the frame may be half rewritten.
#[inline(always)]
pub(super) fn rewrite(packet: &mut impl Packet, family: Family, egress: &Rewrite) -> Option<()> {
    // Read once more: a number that was put aside on the stack has lost its bounds for the verifier of older kernels.
    let transport = parse::transport(packet, family)?;
    packet.write(0, macs(&egress.hop))?;
    network(packet, family, egress)?;
    packet.write::<[Be16; 2]>(transport, [egress.to.source_port, egress.to.destination_port])?;
    let checksum = transport + TCP_CHECKSUM_OFFSET;
    packet.correct_checksum(checksum, egress.address_delta, egress.port_delta, family)
}

/// Writes both addresses, one hop less, and the header's checksum if it has one.
#[inline(always)]
pub(super) fn network(packet: &mut impl Packet, family: Family, egress: &Rewrite) -> Option<()> {
    let Tuple { source, destination, .. } = egress.to;
    match family {
        Family::V4 => {
            let header: Ipv4 = packet.read(ETHERNET)?;
            let rewritten = Ipv4 {
                ttl: header.ttl.wrapping_sub(1),
                checksum: Delta::folded(egress.address_delta).plus(TTL_DECREMENT).apply(header.checksum),
                source: source.v4_words(),
                destination: destination.v4_words(),
                ..header
            };
            packet.write(ETHERNET, rewritten)
        }
        Family::V6 => {
            let header: Ipv6 = packet.read(ETHERNET)?;
            let rewritten = Ipv6 {
                hop_limit: header.hop_limit.wrapping_sub(1),
                source: source.words(),
                destination: destination.words(),
                ..header
            };
            packet.write(ETHERNET, rewritten)
        }
    }
}

/// What the addresses of a tuple change in the sum of a pseudo-header, where they become those of another.
#[inline(always)]
pub(super) fn difference(from: &Tuple, to: &Tuple) -> Delta {
    let delta = |delta: Delta, old: &Address, new: &Address| match (old.family(), new.family()) {
        (Family::V4, Family::V4) => delta.slices(&old.v4_words(), &new.v4_words()),
        // The mark of a mapped address is all ones, which sums to nothing.
        _ => delta.slices(&old.words(), &new.words()),
    };
    delta(delta(Delta::ZERO, &from.source, &to.source), &from.destination, &to.destination)
}
