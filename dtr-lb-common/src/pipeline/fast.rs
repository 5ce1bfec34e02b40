//! The fast path: a packet of an established connection about which nothing changes, and one that is not the datapath's.
//!
//! One straight function. Headers stay in registers, one look at the flow table says all that becomes of the packet, the frame
//! is rewritten by whole words, counted, and gone. No notes, no copies, and no call but those that a hook demands. Whatever is
//! unusual leaves the frame untouched for the stages ([`super::run`]), which would do the same to it.

use super::{ETHERNET, Head, Outcome, Packet, Tables, rewrite, tunnel};
use crate::{
    abi::{Mode, Replica},
    address::{Address, Be16, Family},
    checksum::TTL_DECREMENT,
    filter,
    flow_table::{
        self, Buckets, Control, Direction, Line, Memory, WAYS,
        entry::word,
        next_hops::{self, NextHops},
    },
    hash,
    verdict::Verdict,
    wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, Ipv6, PROTOCOL_TCP, Tcp, TcpFlags},
};

/// Bytes of the headers, without options or extensions.
const V4: usize = ETHERNET + size_of::<Ipv4>() + size_of::<Tcp>();
const V6: usize = ETHERNET + size_of::<Ipv6>() + size_of::<Tcp>();

/// Offsets in an IPv4 packet, and in an IPv6 one.
mod v4 {
    use super::{ETHERNET, Ipv4};
    pub(super) const LENGTH: usize = ETHERNET + 2;
    pub(super) const FRAGMENT: usize = ETHERNET + 6;
    pub(super) const TTL: usize = ETHERNET + 8;
    pub(super) const PROTOCOL: usize = ETHERNET + 9;
    pub(super) const CHECKSUM: usize = ETHERNET + 10;
    pub(super) const SOURCE: usize = ETHERNET + 12;
    pub(super) const DESTINATION: usize = ETHERNET + 16;
    pub(super) const TCP: usize = ETHERNET + size_of::<Ipv4>();
}
mod v6 {
    use super::{ETHERNET, Ipv6};
    pub(super) const LENGTH: usize = ETHERNET + 4;
    pub(super) const PROTOCOL: usize = ETHERNET + 6;
    pub(super) const HOPS: usize = ETHERNET + 7;
    pub(super) const SOURCE: usize = ETHERNET + 8;
    pub(super) const DESTINATION: usize = ETHERNET + 24;
    pub(super) const TCP: usize = ETHERNET + size_of::<Ipv6>();
}
/// Offsets in a TCP header.
mod tcp {
    pub(super) const PORTS: usize = 0;
    pub(super) const DESTINATION_PORT: usize = 2;
    pub(super) const ACKNOWLEDGMENT: usize = 8;
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const CHECKSUM: usize = 16;
}

/// Flags that change nothing: an ACK is always there, the others may be.
const CHANGES: u8 = TcpFlags::FIN.0 | TcpFlags::SYN.0 | TcpFlags::RST.0;

/// What became of a packet; nothing if it is for the stages.
#[inline(always)]
pub fn fast(packet: &mut impl Packet, tables: &impl Tables) -> Option<Outcome> {
    if packet.tagged() {
        return None;
    }
    let kind = packet.head(ETHERNET)?.get16(ETHERNET - 2);
    if kind == ETHERTYPE_IPV4.raw() {
        ipv4(packet, tables)
    } else if kind == ETHERTYPE_IPV6.raw() {
        ipv6(packet, tables)
    } else {
        None
    }
}

#[inline(always)]
fn ipv4(packet: &mut impl Packet, tables: &impl Tables) -> Option<Outcome> {
    let bytes = packet.linear();
    let (interface, segment) = (packet.interface(), packet.segment_size());
    let head = packet.head(V4)?;
    let length = u32::from(u16::from_be(head.get16(v4::LENGTH)));
    let plain = head.get8(ETHERNET) == 0x45
        && head.get8(v4::PROTOCOL) == PROTOCOL_TCP
        && u16::from_be(head.get16(v4::FRAGMENT)) & 0x3fff == 0;
    let whole = length >= (V4 - ETHERNET) as u32 && length + ETHERNET as u32 <= bytes;
    if !plain || !whole || head.get8(v4::TCP + tcp::DATA_OFFSET) < 0x50 {
        return None;
    }
    let settings = tables.settings()?;
    let destination = head.get32(v4::DESTINATION);
    let port = Be16::of_raw(head.get16(v4::TCP + tcp::DESTINATION_PORT));
    if !tables.marked(filter::place_v4(settings, destination, port)) {
        return Some(not_ours(tables, bytes));
    }
    let flags = head.get8(v4::TCP + tcp::FLAGS);
    if flags & (CHANGES | TcpFlags::ACK.0) != TcpFlags::ACK.0 {
        return None;
    }
    let (source, ports) = (head.get32(v4::SOURCE), head.get32(v4::TCP + tcp::PORTS));
    let buckets = flow_table::buckets(
        hash::flow_table_v4(&settings.flow_keys, source, destination, ports),
        settings.flow_buckets,
    );
    let line = find_v4(&tables.flows(), buckets, source, destination, ports)?;
    let control = Control(line.load(word::CONTROL));
    if control.0 & Control::STEADY_MASK != Control::STEADY {
        return None;
    }
    let replica_hop = line.load(word::REPLICA_HOP);
    let id = replica_hop as u16;
    let hop_line = tables.next_hops().next_hop((replica_hop >> 16) as u16)?;
    let ttl = head.get8(v4::TTL);
    let direction = control.direction();
    let (hop, mode) = match direction {
        Direction::ToClient => (hop_words(hop_line), Mode::NAT),
        _ => {
            if !came_by(hop_line, head, interface) {
                return None;
            }
            let replica = tables.replica(id)?;
            let grown = length + if replica.mode == Mode::IPIP { size_of::<Ipv4>() as u32 } else { 0 };
            let header = (V4 - ETHERNET) as u32 - size_of::<Tcp>() as u32
                + u32::from(head.get8(v4::TCP + tcp::DATA_OFFSET) >> 4) * 4;
            if replica.reset != 0 || too_large(replica, grown, grown - length + header, segment) {
                return None;
            }
            // A packet of one family in one of the other is for the stages.
            if replica.mode == Mode::IPIP && replica.address.family() != Family::V4 {
                return None;
            }
            (next_hops::words(&replica.hop), replica.mode)
        }
    };
    let [egress, ..] = hop;
    if egress == 0 || (ttl <= 1 && mode != Mode::DSR) {
        return None;
    }
    let (to_source, to_destination, to_ports) =
        (line.load(word::TO), line.load(word::TO + 1), line.load(word::TO + 2));
    let acknowledged = u32::from_be(head.get32(v4::TCP + tcp::ACKNOWLEDGMENT));
    if !stamp(line, control, tables.now(), acknowledged) {
        return None;
    }
    put_macs(head, hop);
    if mode != Mode::DSR {
        let addresses = minus(source) + minus(destination) + u64::from(to_source) + u64::from(to_destination);
        head.put8(v4::TTL, ttl - 1);
        let checksum = u64::from(!head.get16(v4::CHECKSUM)) + u64::from(TTL_DECREMENT.fold());
        if mode == Mode::NAT {
            head.put16(v4::CHECKSUM, !fold(checksum + addresses));
            head.put32(v4::SOURCE, to_source);
            head.put32(v4::DESTINATION, to_destination);
            head.put32(v4::TCP + tcp::PORTS, to_ports);
            let delta = minus(ports) + u64::from(to_ports);
            if correct(packet, v4::TCP + tcp::CHECKSUM, addresses, delta, Family::V4).is_none() {
                return Some(spoiled(tables, bytes));
            }
        } else {
            head.put16(v4::CHECKSUM, !fold(checksum));
            let replica = tables.replica(id)?;
            let flow = tunnel::flow_bits(source, ports);
            if tunnel::wrap_within(packet, Family::V4, &hop, replica, flow).is_none() {
                return Some(spoiled(tables, bytes));
            }
        }
    }
    Some(gone(tables, id, direction, bytes, egress))
}

#[inline(always)]
fn ipv6(packet: &mut impl Packet, tables: &impl Tables) -> Option<Outcome> {
    let bytes = packet.linear();
    let (interface, segment) = (packet.interface(), packet.segment_size());
    let head = packet.head(V6)?;
    let length = size_of::<Ipv6>() as u32 + u32::from(u16::from_be(head.get16(v6::LENGTH)));
    let plain = head.get8(ETHERNET) >> 4 == 6 && head.get8(v6::PROTOCOL) == PROTOCOL_TCP;
    let whole = length >= (V6 - ETHERNET) as u32 && length + ETHERNET as u32 <= bytes;
    if !plain || !whole || head.get8(v6::TCP + tcp::DATA_OFFSET) < 0x50 {
        return None;
    }
    let settings = tables.settings()?;
    let destination = address(head, v6::DESTINATION);
    let port = Be16::of_raw(head.get16(v6::TCP + tcp::DESTINATION_PORT));
    if !tables.marked(filter::place_wide(settings, destination, port)) {
        return Some(not_ours(tables, bytes));
    }
    let flags = head.get8(v6::TCP + tcp::FLAGS);
    if flags & (CHANGES | TcpFlags::ACK.0) != TcpFlags::ACK.0 {
        return None;
    }
    let (source, ports) = (address(head, v6::SOURCE), head.get32(v6::TCP + tcp::PORTS));
    let buckets = flow_table::buckets(
        hash::flow_table_v6(&settings.flow_keys, source, destination, ports),
        settings.flow_buckets,
    );
    let line = find_v6(&tables.flows(), buckets, source, destination, ports)?;
    let control = Control(line.load(word::CONTROL));
    if control.0 & Control::STEADY_MASK != Control::STEADY_WIDE {
        return None;
    }
    let replica_hop = line.load(word::REPLICA_HOP);
    let id = replica_hop as u16;
    let hop_line = tables.next_hops().next_hop((replica_hop >> 16) as u16)?;
    let hops = head.get8(v6::HOPS);
    let direction = control.direction();
    let (hop, mode) = match direction {
        Direction::ToClient => (hop_words(hop_line), Mode::NAT),
        _ => {
            if !came_by(hop_line, head, interface) {
                return None;
            }
            let replica = tables.replica(id)?;
            let grown = length + if replica.mode == Mode::IPIP { size_of::<Ipv6>() as u32 } else { 0 };
            let header = size_of::<Ipv6>() as u32 + u32::from(head.get8(v6::TCP + tcp::DATA_OFFSET) >> 4) * 4;
            if replica.reset != 0 || too_large(replica, grown, grown - length + header, segment) {
                return None;
            }
            // A packet of one family in one of the other is for the stages.
            if replica.mode == Mode::IPIP && replica.address.family() != Family::V6 {
                return None;
            }
            (next_hops::words(&replica.hop), replica.mode)
        }
    };
    let [egress, ..] = hop;
    if egress == 0 || (hops <= 1 && mode != Mode::DSR) {
        return None;
    }
    let to_source = words(line, word::WIDE_TO_SOURCE);
    let to_destination = words(line, word::WIDE_TO_DESTINATION);
    let to_ports = line.load(word::WIDE_TO_PORTS);
    // Towards the other family all of the packet is made anew.
    if mode == Mode::NAT && mapped(to_destination) {
        return None;
    }
    let acknowledged = u32::from_be(head.get32(v6::TCP + tcp::ACKNOWLEDGMENT));
    if !stamp(line, control, tables.now(), acknowledged) {
        return None;
    }
    put_macs(head, hop);
    if mode != Mode::DSR {
        head.put8(v6::HOPS, hops - 1);
        if mode == Mode::NAT {
            let mut addresses = 0;
            let mut at = 0;
            while at < 4 {
                addresses += minus(source[at]) + minus(destination[at]);
                addresses += u64::from(to_source[at]) + u64::from(to_destination[at]);
                head.put32(v6::SOURCE + 4 * at, to_source[at]);
                head.put32(v6::DESTINATION + 4 * at, to_destination[at]);
                at += 1;
            }
            head.put32(v6::TCP + tcp::PORTS, to_ports);
            let delta = minus(ports) + u64::from(to_ports);
            if correct(packet, v6::TCP + tcp::CHECKSUM, addresses, delta, Family::V6).is_none() {
                return Some(spoiled(tables, bytes));
            }
        } else {
            let replica = tables.replica(id)?;
            let [.., last] = source;
            let flow = tunnel::flow_bits(last, ports);
            if tunnel::wrap_within(packet, Family::V6, &hop, replica, flow).is_none() {
                return Some(spoiled(tables, bytes));
            }
        }
    }
    Some(gone(tables, id, direction, bytes, egress))
}

#[inline(always)]
fn not_ours(tables: &impl Tables, bytes: u32) -> Outcome {
    tables.record(Verdict::PassedNotService, bytes);
    Outcome { verdict: Verdict::PassedNotService, interface: 0 }
}

/// A frame that could not be rewritten to the end, which takes a hook that refuses what it promised.
#[inline(always)]
fn spoiled(tables: &impl Tables, bytes: u32) -> Outcome {
    tables.record(Verdict::DroppedRewrite, bytes);
    Outcome { verdict: Verdict::DroppedRewrite, interface: 0 }
}

/// Counts a packet that was sent on.
#[inline(always)]
fn gone(tables: &impl Tables, id: u16, direction: Direction, bytes: u32, egress: u32) -> Outcome {
    tables.count(id, |counters| {
        let traffic = match direction {
            Direction::ToClient => &mut counters.to_client,
            _ => &mut counters.to_replica,
        };
        traffic.packets += 1;
        traffic.bytes += u64::from(bytes);
    });
    tables.record(Verdict::Forwarded, bytes);
    Outcome { verdict: Verdict::Forwarded, interface: egress }
}

#[inline(always)]
fn find_v4<M: Memory>(
    memory: &M,
    buckets: Buckets,
    source: u32,
    destination: u32,
    ports: u32,
) -> Option<M::Line> {
    match find_v4_in(memory, buckets.first, buckets.preferred(), source, destination, ports) {
        Some(line) => Some(line),
        None => find_v4_in(memory, buckets.second, buckets.preferred(), source, destination, ports),
    }
}

#[inline(always)]
fn find_v4_in<M: Memory>(
    memory: &M,
    bucket: u32,
    preferred: u32,
    source: u32,
    destination: u32,
    ports: u32,
) -> Option<M::Line> {
    let bucket = memory.bucket(bucket)?;
    let mut number = 0;
    while number < WAYS {
        let line = memory.way(bucket, number ^ preferred);
        number += 1;
        if line.load(word::KEY) == source
            && line.load(word::KEY + 2) == ports
            && line.load(word::KEY + 1) == destination
        {
            return Some(line);
        }
    }
    None
}

#[inline(always)]
fn find_v6<M: Memory>(
    memory: &M,
    buckets: Buckets,
    source: [u32; 4],
    destination: [u32; 4],
    ports: u32,
) -> Option<M::Line> {
    match find_v6_in(memory, buckets.first, buckets.preferred(), source, destination, ports) {
        Some(line) => Some(line),
        None => find_v6_in(memory, buckets.second, buckets.preferred(), source, destination, ports),
    }
}

#[inline(always)]
fn find_v6_in<M: Memory>(
    memory: &M,
    bucket: u32,
    preferred: u32,
    source: [u32; 4],
    destination: [u32; 4],
    ports: u32,
) -> Option<M::Line> {
    let bucket = memory.bucket(bucket)?;
    let mut number = 0;
    while number < WAYS {
        let line = memory.pair_of(bucket, number ^ preferred);
        number += 2;
        if line.load(word::WIDE_PORTS) == ports
            && same(line, word::WIDE_SOURCE, source)
            && same(line, word::WIDE_DESTINATION, destination)
        {
            return Some(line);
        }
    }
    None
}

#[inline(always)]
fn same<L: Line>(line: L, at: usize, [a, b, c, d]: [u32; 4]) -> bool {
    line.load(at + 3) == d && line.load(at + 2) == c && line.load(at + 1) == b && line.load(at) == a
}

#[inline(always)]
fn words<L: Line>(line: L, at: usize) -> [u32; 4] {
    [line.load(at), line.load(at + 1), line.load(at + 2), line.load(at + 3)]
}

#[inline(always)]
fn address(head: impl Head, at: usize) -> [u32; 4] {
    [head.get32(at), head.get32(at + 4), head.get32(at + 8), head.get32(at + 12)]
}

/// Whether these are the words of an IPv4 address.
#[inline(always)]
fn mapped([a, b, c, d]: [u32; 4]) -> bool {
    Address::v6(bytemuck::must_cast([a, b, c, d])).family() == Family::V4
}

/// Notes that a packet was seen and what it acknowledges, if the entry is still as it was read: all that was read of it since
/// is of one connection then.
#[inline(always)]
fn stamp<L: Line>(line: L, control: Control, now: u32, acknowledged: u32) -> bool {
    if line.load(word::CONTROL) != control.0 {
        return false;
    }
    if line.load(word::LAST_SEEN) != now {
        line.store(word::LAST_SEEN, now);
    }
    if line.load(word::ACKNOWLEDGED) != acknowledged {
        line.store(word::ACKNOWLEDGED, acknowledged);
    }
    true
}

#[inline(always)]
fn hop_words<L: Line>(line: L) -> [u32; 4] {
    words(line, next_hops::word::HOP)
}

/// Whether a frame came by the next hop to its client: from its addresses, by its interface.
#[inline(always)]
fn came_by<L: Line>(line: L, head: impl Head, interface: u32) -> bool {
    let [a, b, c] = rewrite::turned([head.get32(0), head.get32(4), head.get32(8)]);
    hop_words(line) == [interface, a, b, c]
}

#[inline(always)]
fn put_macs(head: impl Head, [_, a, b, c]: [u32; 4]) {
    head.put32(0, a);
    head.put32(4, b);
    head.put32(8, c);
}

/// Whether a packet of `length` is too large for the way to its replica. One that is cut into segments counts by their length:
/// `header` and what each carries.
#[inline(always)]
fn too_large(replica: &Replica, length: u32, header: u32, segment: u32) -> bool {
    let limit = if replica.mtu == 0 { u32::from(u16::MAX) } else { u32::from(replica.mtu) };
    length > limit && (segment == 0 || header + segment > limit)
}

/// Corrects the TCP checksum: in the frame, or by the hook's own means.
#[inline(always)]
fn correct<P: Packet>(packet: &mut P, at: usize, addresses: u64, ports: u64, family: Family) -> Option<()> {
    if P::SUMS_IN_FRAME {
        let head = packet.head(at + 2)?;
        head.put16(at, !fold(u64::from(!head.get16(at)) + addresses + ports));
        return Some(());
    }
    packet.correct_checksum(at, fold(addresses), fold(ports), family)
}

/// A word that goes out of a sum.
#[inline(always)]
const fn minus(word: u32) -> u64 {
    !word as u64
}

/// A sum of 32-bit words as one of 16-bit words (RFC 1071 section 2 (C)).
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
