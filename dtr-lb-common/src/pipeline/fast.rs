//! The fast path: a packet of an established connection about which nothing changes, and one that is not the datapath's.
//!
//! One straight function. Headers stay in registers, one look at the flow table says all that becomes of the packet, the frame
//! is rewritten by whole words, counted, and gone. No context, no copies, and no call but those that a hook demands. Whatever is
//! unusual leaves the frame untouched for the stages ([`super::run`]), which would do the same to it. Of calls, tests of the agent's
//! (`datapath/tests/fast_path.rs`) hold the loaded programs to that.

use super::{ETHERNET, Head, Outcome, Packet, Tables, rewrite, tunnel};
use crate::{
    abi::{Mode, Vlans},
    address::{Be16, Family, MAPPED},
    checksum::TTL_DECREMENT,
    filter,
    flow_table::{
        self, Buckets, Control, Direction, Line, Memory, WAYS, account,
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
    if packet.tag_beside().is_some() {
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
fn ipv4<P: Packet>(packet: &mut P, tables: &impl Tables) -> Option<Outcome> {
    let frame = packet.linear();
    let head = packet.head(V4)?;
    let length = u32::from(u16::from_be(head.get16(v4::LENGTH)));
    let plain = head.get8(ETHERNET) == 0x45
        && head.get8(v4::PROTOCOL) == PROTOCOL_TCP
        && u16::from_be(head.get16(v4::FRAGMENT)) & 0x3fff == 0;
    let data_offset = head.get8(v4::TCP + tcp::DATA_OFFSET);
    let header = size_of::<Ipv4>() as u32 + u32::from(data_offset >> 4) * 4;
    let whole = length >= header && length + ETHERNET as u32 <= frame;
    if !plain || !whole || data_offset < 0x50 {
        return None;
    }
    let settings = tables.settings()?;
    let destination = head.get32(v4::DESTINATION);
    let port = Be16::of_raw(head.get16(v4::TCP + tcp::DESTINATION_PORT));
    if !tables.marked(filter::place_v4(settings, destination, port)) {
        let port = Be16::of_raw(head.get16(v4::TCP + tcp::PORTS));
        let from = settings.by_source != 0
            && tables.marked(filter::place_v4(settings, head.get32(v4::SOURCE), port));
        if !from {
            return Some(ends(tables, Verdict::PassedNotService, packet.linear()));
        }
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
    let (line, control) = find_v4(&tables.flows(), buckets, source, destination, ports)?;
    if control.0 & Control::STEADY_MASK != Control::STEADY {
        return None;
    }
    // Asked for now and not before: what is not kept needs no room on the stack.
    let (interface, segment) = (packet.interface(), packet.segment_size());
    let head = packet.head(V4)?;
    let way = way(head, tables, line, control, interface, Sizes { length, header, segment }, Family::V4)?;
    let Way { id, egress, mode, hop_line: _, .. } = way;
    if is_another(line, control, mode) {
        return None;
    }
    let ttl = head.get8(v4::TTL);
    if ttl <= 1 && mode != Mode::DSR {
        return None;
    }
    if !account::has_room(line, frame) {
        return None;
    }
    stamp(line, tables.now(), u32::from_be(head.get32(v4::TCP + tcp::ACKNOWLEDGMENT)));
    if mode.direct() {
        account::add(line, frame, P::ALONE);
    }
    if mode != Mode::DSR {
        let checksum = u64::from(!head.get16(v4::CHECKSUM)) + u64::from(TTL_DECREMENT.fold());
        head.put8(v4::TTL, ttl - 1);
        if mode != Mode::IPIP {
            let addresses = replace(head, v4::SOURCE, line, word::TO, 2);
            let delta = replace(head, v4::TCP + tcp::PORTS, line, word::TO + 2, 1);
            head.put16(v4::CHECKSUM, !fold(checksum + addresses));
            way.put_macs(head, tables);
            // The words that went into the frame are of one connection if the entry is still as it was.
            if !control.stays(Control(line.load(word::CONTROL))) {
                return Some(ends(tables, Verdict::DroppedBusy, packet.linear()));
            }
            account::add(line, frame, P::ALONE);
            if correct(packet, v4::TCP + tcp::CHECKSUM, addresses, delta, Family::V4).is_none() {
                return Some(ends(tables, Verdict::DroppedRewrite, packet.linear()));
            }
        } else {
            head.put16(v4::CHECKSUM, !fold(checksum));
            let flow = tunnel::flow_bits(source, ports);
            if tunnel::wrap_v4(packet, tables.replica(id)?, flow).is_none() {
                return Some(ends(tables, Verdict::DroppedRewrite, packet.linear()));
            }
        }
    } else {
        way.put_macs(head, tables);
    }
    // As it came in.
    let grown = if mode == Mode::IPIP { size_of::<Ipv4>() as u32 } else { 0 };
    Some(gone(tables, id, control.direction(), packet.linear() - grown, length > header, egress))
}

#[inline(always)]
fn ipv6<P: Packet>(packet: &mut P, tables: &impl Tables) -> Option<Outcome> {
    let frame = packet.linear();
    let head = packet.head(V6)?;
    let length = size_of::<Ipv6>() as u32 + u32::from(u16::from_be(head.get16(v6::LENGTH)));
    let plain = head.get8(ETHERNET) >> 4 == 6 && head.get8(v6::PROTOCOL) == PROTOCOL_TCP;
    let data_offset = head.get8(v6::TCP + tcp::DATA_OFFSET);
    let header = size_of::<Ipv6>() as u32 + u32::from(data_offset >> 4) * 4;
    let whole = length >= header && length + ETHERNET as u32 <= frame;
    if !plain || !whole || data_offset < 0x50 {
        return None;
    }
    let settings = tables.settings()?;
    let port = Be16::of_raw(head.get16(v6::TCP + tcp::DESTINATION_PORT));
    if !tables.marked(filter::place_wide(settings, address(head, v6::DESTINATION), port)) {
        let port = Be16::of_raw(head.get16(v6::TCP + tcp::PORTS));
        let from = settings.by_source != 0
            && tables.marked(filter::place_wide(settings, address(head, v6::SOURCE), port));
        if !from {
            return Some(ends(tables, Verdict::PassedNotService, packet.linear()));
        }
    }
    let flags = head.get8(v6::TCP + tcp::FLAGS);
    if flags & (CHANGES | TcpFlags::ACK.0) != TcpFlags::ACK.0 {
        return None;
    }
    let buckets = flow_table::buckets(
        hash::flow_table_v6(
            &settings.flow_keys,
            address(head, v6::SOURCE),
            address(head, v6::DESTINATION),
            head.get32(v6::TCP + tcp::PORTS),
        ),
        settings.flow_buckets,
    );
    let (line, control) = find_v6(&tables.flows(), buckets, head)?;
    if control.0 & Control::STEADY_MASK != Control::STEADY_WIDE {
        return None;
    }
    // Asked for now and not before: what is not kept needs no room on the stack.
    let (interface, segment) = (packet.interface(), packet.segment_size());
    let head = packet.head(V6)?;
    let way = way(head, tables, line, control, interface, Sizes { length, header, segment }, Family::V6)?;
    let Way { id, egress, mode, .. } = way;
    if is_another(line, control, mode) {
        return None;
    }
    let hops = head.get8(v6::HOPS);
    if hops <= 1 && mode != Mode::DSR {
        return None;
    }
    // Towards the other family all of the packet is made anew.
    if !mode.direct() && mapped(line) {
        return None;
    }
    if !account::has_room(line, frame) {
        return None;
    }
    stamp(line, tables.now(), u32::from_be(head.get32(v6::TCP + tcp::ACKNOWLEDGMENT)));
    if mode.direct() {
        account::add(line, frame, P::ALONE);
    }
    if mode != Mode::DSR {
        head.put8(v6::HOPS, hops - 1);
        if mode != Mode::IPIP {
            let addresses = replace(head, v6::SOURCE, line, word::WIDE_TO_SOURCE, 4)
                + replace(head, v6::DESTINATION, line, word::WIDE_TO_DESTINATION, 4);
            let delta = replace(head, v6::TCP + tcp::PORTS, line, word::WIDE_TO_PORTS, 1);
            way.put_macs(head, tables);
            if !control.stays(Control(line.load(word::CONTROL))) {
                return Some(ends(tables, Verdict::DroppedBusy, packet.linear()));
            }
            account::add(line, frame, P::ALONE);
            if correct(packet, v6::TCP + tcp::CHECKSUM, addresses, delta, Family::V6).is_none() {
                return Some(ends(tables, Verdict::DroppedRewrite, packet.linear()));
            }
        } else {
            let flow = tunnel::flow_bits(head.get32(v6::SOURCE + 12), head.get32(v6::TCP + tcp::PORTS));
            if tunnel::wrap_v6(packet, tables.replica(id)?, flow).is_none() {
                return Some(ends(tables, Verdict::DroppedRewrite, packet.linear()));
            }
        }
    } else {
        way.put_macs(head, tables);
    }
    // As it came in.
    let grown = if mode == Mode::IPIP { size_of::<Ipv6>() as u32 } else { 0 };
    Some(gone(tables, id, control.direction(), packet.linear() - grown, length > header, egress))
}

/// How large a packet is, in bytes: all of it, its headers, and what each segment carries into which it is cut.
#[derive(Clone, Copy)]
struct Sizes {
    length: u32,
    header: u32,
    segment: u32,
}

/// Where a packet goes.
struct Way<L> {
    id: u16,
    egress: u32,
    mode: Mode,
    /// The next hop to a client; not looked at towards a replica.
    hop_line: L,
    to_client: bool,
}

impl<L: Line> Way<L> {
    #[inline(always)]
    fn put_macs(&self, head: impl Head, tables: &impl Tables) {
        let [_, a, b, c] = if self.to_client {
            hop_words(self.hop_line)
        } else {
            match tables.replica(self.id) {
                Some(replica) => {
                    let [interface, a, b, c, _] = next_hops::words(&replica.hop);
                    [interface, a, b, c]
                }
                None => return,
            }
        };
        head.put32(0, a);
        head.put32(4, b);
        head.put32(8, c);
    }
}

/// Where the packet of an entry goes; nothing if that is not plain.
#[inline(always)]
fn way<L: Line>(
    head: impl Head,
    tables: &impl Tables,
    line: L,
    control: Control,
    interface: u32,
    sizes: Sizes,
    family: Family,
) -> Option<Way<impl Line>> {
    let replica_hop = line.load(word::REPLICA_HOP);
    let id = replica_hop as u16;
    let hop_line = tables.next_hops().next_hop((replica_hop >> 16) as u16)?;
    if control.direction() == Direction::ToClient {
        let egress = hop_line.load(next_hops::word::HOP);
        return (egress != 0 && has_no_tag(hop_line)).then_some(Way {
            id,
            egress,
            mode: Mode::NAT,
            hop_line,
            to_client: true,
        });
    }
    let replica = tables.replica(id)?;
    let egress = replica.hop.interface;
    let mode = replica.mode;
    // A packet of one family in one of the other is for the stages.
    let across = mode == Mode::IPIP && replica.address.family() != family;
    // And so is one with a tag.
    if across
        || replica.hop.vlans != Vlans::NONE
        || egress == 0
        || replica.reset != 0
        || !came_by(hop_line, head, interface)
    {
        return None;
    }
    let outer = match (mode, family) {
        (Mode::IPIP, Family::V4) => size_of::<Ipv4>() as u32,
        (Mode::IPIP, Family::V6) => size_of::<Ipv6>() as u32,
        _ => 0,
    };
    let limit = if replica.mtu == 0 { u32::from(u16::MAX) } else { u32::from(replica.mtu) };
    let Sizes { length, header, segment } = sizes;
    if length + outer > limit && (segment == 0 || header + segment > limit) {
        return None;
    }
    Some(Way { id, egress, mode, hop_line, to_client: false })
}

/// Whether the entry has become another connection's since its key was looked at. By NAT that is asked later, when its words are in the
/// frame; a direct mode takes nothing more from it.
#[inline(always)]
fn is_another<L: Line>(line: L, control: Control, mode: Mode) -> bool {
    mode.direct() && !control.stays(Control(line.load(word::CONTROL)))
}

/// Replaces so many words of a frame by those of an entry. Returns what that changes in a sum.
#[inline(always)]
fn replace<L: Line>(head: impl Head, at: usize, line: L, from: usize, words: usize) -> u64 {
    let mut delta = 0;
    let mut number = 0;
    while number < words {
        let new = line.load(from + number);
        delta = head.settled(delta + u64::from(!head.get32(at + 4 * number)) + u64::from(new));
        head.put32(at + 4 * number, new);
        number += 1;
    }
    delta
}

/// Ends here, under this verdict.
#[inline(always)]
fn ends(tables: &impl Tables, verdict: Verdict, bytes: u32) -> Outcome {
    tables.record(verdict, bytes);
    Outcome { verdict, interface: 0 }
}

/// Counts a packet that was sent on, and whether it carried data.
#[inline(always)]
fn gone(
    tables: &impl Tables,
    id: u16,
    direction: Direction,
    bytes: u32,
    speaks: bool,
    egress: u32,
) -> Outcome {
    tables.count(id, |counters| {
        let traffic = match direction {
            Direction::ToClient => {
                counters.data_to_client += u64::from(speaks);
                &mut counters.to_client
            }
            _ => &mut counters.to_replica,
        };
        traffic.packets += 1;
        traffic.bytes += u64::from(bytes);
    });
    tables.record(Verdict::Forwarded, bytes);
    Outcome { verdict: Verdict::Forwarded, interface: egress }
}

/// The entry of a key, and its control word as it was before the key was looked at: what is read after the key is of one connection
/// with it if that word is the same afterwards.
#[inline(always)]
fn find_v4<M: Memory>(
    memory: &M,
    buckets: Buckets,
    source: u32,
    destination: u32,
    ports: u32,
) -> Option<(M::Line, Control)> {
    match find_v4_in(memory, buckets.first, buckets.preferred(), source, destination, ports) {
        Some(found) => Some(found),
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
) -> Option<(M::Line, Control)> {
    let bucket = memory.bucket(bucket)?;
    let mut number = 0;
    while number < WAYS {
        let line = memory.way(bucket, number ^ preferred);
        let control = Control(line.load(word::CONTROL));
        number += 1;
        if line.load(word::KEY) == source
            && line.load(word::KEY + 2) == ports
            && line.load(word::KEY + 1) == destination
        {
            return Some((line, control));
        }
    }
    None
}

#[inline(always)]
fn find_v6<M: Memory>(memory: &M, buckets: Buckets, head: impl Head) -> Option<(M::Line, Control)> {
    match find_v6_in(memory, buckets.first, buckets.preferred(), head) {
        Some(found) => Some(found),
        None => find_v6_in(memory, buckets.second, buckets.preferred(), head),
    }
}

#[inline(always)]
fn find_v6_in<M: Memory>(
    memory: &M,
    bucket: u32,
    preferred: u32,
    head: impl Head,
) -> Option<(M::Line, Control)> {
    let bucket = memory.bucket(bucket)?;
    let mut number = 0;
    while number < WAYS {
        let line = memory.pair_of(bucket, number ^ preferred);
        let control = Control(line.load(word::CONTROL));
        number += 2;
        if line.load(word::WIDE_PORTS) == head.get32(v6::TCP + tcp::PORTS)
            && same(line, word::WIDE_SOURCE, head, v6::SOURCE)
            && same(line, word::WIDE_DESTINATION, head, v6::DESTINATION)
        {
            return Some((line, control));
        }
    }
    None
}

#[inline(always)]
fn same<L: Line>(line: L, at: usize, head: impl Head, in_head: usize) -> bool {
    line.load(at + 3) == head.get32(in_head + 12)
        && line.load(at + 2) == head.get32(in_head + 8)
        && line.load(at + 1) == head.get32(in_head + 4)
        && line.load(at) == head.get32(in_head)
}

#[inline(always)]
fn address(head: impl Head, at: usize) -> [u32; 4] {
    [head.get32(at), head.get32(at + 4), head.get32(at + 8), head.get32(at + 12)]
}

/// Whether a wide entry's packets leave to an IPv4 address.
#[inline(always)]
fn mapped<L: Line>(line: L) -> bool {
    let at = word::WIDE_TO_DESTINATION;
    line.load(at + 2) == MAPPED && line.load(at + 1) | line.load(at) == 0
}

/// Notes that a packet was seen and what it acknowledges. Each is a word that is written only where it changes.
#[inline(always)]
fn stamp<L: Line>(line: L, now: u32, acknowledged: u32) {
    if line.load(word::LAST_SEEN) != now {
        line.store(word::LAST_SEEN, now);
    }
    if line.load(word::ACKNOWLEDGED) != acknowledged {
        line.store(word::ACKNOWLEDGED, acknowledged);
    }
}

#[inline(always)]
fn hop_words<L: Line>(line: L) -> [u32; 4] {
    let at = next_hops::word::HOP;
    [line.load(at), line.load(at + 1), line.load(at + 2), line.load(at + 3)]
}

/// Whether frames have no VLAN tag at a next hop to a client.
#[inline(always)]
fn has_no_tag<L: Line>(line: L) -> bool {
    line.load(next_hops::word::VLANS) == Vlans::NONE.0
}

/// Whether a frame, which has no tag, came by the next hop to its client: from its addresses, by its interface.
#[inline(always)]
fn came_by<L: Line>(line: L, head: impl Head, interface: u32) -> bool {
    let [a, b, c] = rewrite::turned([head.get32(0), head.get32(4), head.get32(8)]);
    hop_words(line) == [interface, a, b, c] && has_no_tag(line)
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

/// A sum of 32-bit words as one of 16-bit words (RFC 1071 section 2 (C)).
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}
