//! An error about a flow whose client and replica are of different families (RFC 7915 sections 4.2, 4.3, 5.2 and 5.3).
//! What was sent on was a translated packet, and what is quoted becomes the one before its translation.
//!
//! A router's address has no counterpart in the other family: the error is from the balancer, as its receiver knows it. The
//! extensions of RFC 4884 are not told of any more: what follows the quote then reads as more of it.

use super::{HEADER, fields, kinds, words};
use crate::{
    abi::Tuple,
    address::{Be16, Family},
    checksum::Delta,
    pipeline::{
        ETHERNET, Packet, PacketContext,
        header::{self, About},
        rewrite::macs,
    },
    verdict::Verdict,
    wire::{
        IPV4_MORE_FRAGMENTS, Icmp, Ipv4, Ipv6, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP,
        TCP_CHECKSUM_OFFSET,
    },
};

/// Translates an error, whose own header has no options. Where it fails with [`Verdict::DroppedRewrite`] the frame may be
/// half rewritten.
#[inline(always)]
pub(super) fn translate(packet: &mut impl Packet, context: &PacketContext) -> Result<(), Verdict> {
    match context.headers.family {
        Family::V4 => to_v6(packet, context),
        Family::V6 => to_v4(packet, context),
    }
}

/// What is known of an error before it is translated.
struct Old {
    /// Its message in the other family.
    icmp: Icmp,
    /// What goes out of its checksum.
    delta: Delta,
    checksum: u16,
    /// Of the error itself, and of the quoted packet, in the other family.
    outer: About,
    quoted: About,
}

#[inline(always)]
fn to_v6(packet: &mut impl Packet, context: &PacketContext) -> Result<(), Verdict> {
    const AT: usize = ETHERNET + size_of::<Ipv4>();
    let outer: Ipv4 = packet.read(ETHERNET).ok_or(Verdict::DroppedRewrite)?;
    let icmp: Icmp = packet.read(AT).ok_or(Verdict::DroppedRewrite)?;
    let quoted: Ipv4 = packet.read(AT + HEADER).ok_or(Verdict::DroppedRewrite)?;
    let plain = quoted.version_ihl == 0x45 && quoted.fragment.get() & IPV4_MORE_FRAGMENTS == 0;
    let length = context.headers.segment + kinds::DIFFERENCE;
    // No error is larger (RFC 4443 section 2.4).
    let fits = size_of::<Ipv6>() as u32 + u32::from(length) <= kinds::V6_MINIMUM;
    let total = quoted.total_length.get();
    let new = kinds::to_v6(&icmp, total).filter(|_| plain && fits).ok_or(Verdict::DroppedUntranslatable)?;
    let delta = Delta::ZERO.less(&fields(Icmp { checksum: 0, ..icmp })).less(&[header(
        packet,
        AT + HEADER,
        Family::V4,
    )?]);
    let about = |length, tos, hops, protocol| About { length, tos, hops, protocol, fragment: About::WHOLE };
    let old = Old {
        icmp: new,
        delta,
        checksum: icmp.checksum,
        outer: about(length, outer.tos, outer.ttl.wrapping_sub(1), PROTOCOL_ICMPV6),
        quoted: about(total.wrapping_sub(size_of::<Ipv4>() as u16), quoted.tos, quoted.ttl, PROTOCOL_TCP),
    };
    finish(packet, context, &old, Family::V6, AT + HEADER + size_of::<Ipv4>()).ok_or(Verdict::DroppedRewrite)
}

#[inline(always)]
fn to_v4(packet: &mut impl Packet, context: &PacketContext) -> Result<(), Verdict> {
    const AT: usize = ETHERNET + size_of::<Ipv6>();
    let outer: Ipv6 = packet.read(ETHERNET).ok_or(Verdict::DroppedRewrite)?;
    let icmp: Icmp = packet.read(AT).ok_or(Verdict::DroppedRewrite)?;
    let quoted: Ipv6 = packet.read(AT + HEADER).ok_or(Verdict::DroppedRewrite)?;
    let plain = quoted.next_header == PROTOCOL_TCP;
    let new = kinds::to_v4(&icmp).filter(|_| plain).ok_or(Verdict::DroppedUntranslatable)?;
    let segment = context.headers.segment;
    let about = |length, tos, hops, protocol| About { length, tos, hops, protocol, fragment: About::WHOLE };
    let Tuple { source, destination, .. } = &context.headers.tuple;
    // Of ICMPv6 the pseudo-header is summed, too.
    let pseudo = header::pseudo(source, destination, &about(segment, 0, 0, PROTOCOL_ICMPV6));
    let delta = Delta::ZERO
        .less(&[pseudo.fold()])
        .less(&fields(Icmp { checksum: 0, ..icmp }))
        .less(&[header(packet, AT + HEADER, Family::V6)?]);
    let length = segment.wrapping_sub(kinds::DIFFERENCE);
    let old = Old {
        icmp: new,
        delta,
        checksum: icmp.checksum,
        outer: about(length, outer.traffic_class(), outer.hop_limit.wrapping_sub(1), PROTOCOL_ICMP),
        quoted: about(quoted.payload_length.get(), quoted.traffic_class(), quoted.hop_limit, PROTOCOL_TCP),
    };
    finish(packet, context, &old, Family::V4, AT + HEADER + size_of::<Ipv6>()).ok_or(Verdict::DroppedRewrite)
}

/// Writes the error anew, in `family`; the quoted TCP header stands at `transport` and stays.
#[inline(always)]
fn finish(
    packet: &mut impl Packet,
    context: &PacketContext,
    old: &Old,
    family: Family,
    transport: usize,
) -> Option<()> {
    let PacketContext { egress, tells_checksum, .. } = context;
    let to = &egress.to;
    let ports: [Be16; 2] = packet.read(transport)?;
    let new_ports = [to.destination_port, to.source_port];
    packet.write(transport, new_ports)?;
    let mut delta = old.delta.words::<2>(bytemuck::must_cast(ports), bytemuck::must_cast(new_ports));
    if *tells_checksum {
        let checksum = packet.read::<u16>(transport + TCP_CHECKSUM_OFFSET)?;
        let becomes =
            Delta::folded(egress.address_delta).plus(Delta::folded(egress.port_delta)).apply(checksum);
        packet.write(transport + TCP_CHECKSUM_OFFSET, becomes)?;
        delta = delta.word(checksum, becomes);
    }
    packet.change_family(family)?;
    let difference = i32::from(kinds::DIFFERENCE);
    packet.make_room(if family == Family::V6 { difference } else { -difference })?;
    let at = header::write(packet, macs(&egress.hop), &to.source, &to.destination, &old.outer)?;
    match family {
        Family::V4 => packet.write(at + HEADER, header::ipv4(&to.destination, &to.source, &old.quoted))?,
        Family::V6 => {
            packet.write(at + HEADER, header::ipv6(&to.destination, &to.source, &old.quoted))?;
            delta = delta.plus(header::pseudo(&to.source, &to.destination, &old.outer));
        }
    }
    delta = delta.sum(&[header(packet, at + HEADER, family).ok()?]);
    let checksum = delta.sum(&fields(old.icmp)).apply(old.checksum);
    packet.write(at, Icmp { checksum, ..old.icmp })
}

/// The sum of the network header at `at`.
#[inline(always)]
fn header(packet: &impl Packet, at: usize, family: Family) -> Result<u16, Verdict> {
    let length = match family {
        Family::V4 => size_of::<Ipv4>(),
        Family::V6 => size_of::<Ipv6>(),
    };
    words(packet, at, length).map(Delta::fold).ok_or(Verdict::DroppedRewrite)
}
