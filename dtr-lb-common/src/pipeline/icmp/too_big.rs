//! The error that the datapath itself sends: a packet is too large for the way to its replica, and its sender is told what
//! would fit (RFC 1191, RFC 4443 section 3.2). It is never longer than the packet.

use super::{HEADER, fields, kinds, words};
use crate::{
    abi::Tuple,
    address::{Be16, Family},
    checksum::Delta,
    pipeline::{
        ETHERNET, Packet, PacketContext,
        answer::HOPS,
        header::{self, About},
        parse::{self, Headers},
    },
    verdict::Verdict,
    wire::{
        IPV4_DONT_FRAGMENT, Icmp, Ipv4, Ipv6, Macs, PROTOCOL_ICMP, PROTOCOL_ICMPV6, TCP_CHECKSUM_OFFSET, Tcp,
    },
};

/// Bytes of the packet that are quoted: what makes an error of 576 bytes (RFC 1812 section 4.3.2.3), and of a shorter packet the
/// longest header and that of TCP. Of IPv6 what makes one of 1280 (RFC 4443 section 2.4).
const V4_LONGEST: usize = 576;
const V4_QUOTE: usize = V4_LONGEST - size_of::<Ipv4>() - HEADER;
const V4_SHORT_QUOTE: usize = 60 + size_of::<Tcp>();
const V6_QUOTE: usize = kinds::V6_MINIMUM as usize - size_of::<Ipv6>() - HEADER;

/// Nothing shorter is answered: the answer would be longer.
const V4_SHORT: usize = V4_SHORT_QUOTE + size_of::<Ipv4>() + HEADER;

/// The smallest MTU of IPv4 (RFC 791 section 3.2).
const V4_MINIMUM: u16 = 68;
/// Internetwork control (RFC 1812 section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;

/// Makes the packet the error that says that it is too large; or it is dropped, where no error may be sent or none would be
/// believed.
#[inline(always)]
pub(in crate::pipeline) fn too_big(packet: &mut impl Packet, context: &PacketContext) -> Result<(), Verdict> {
    let PacketContext { headers, mtu, .. } = context;
    // Of the packet: a frame may be longer.
    let length = usize::from(headers.network) + usize::from(headers.segment);
    let made = match headers.family {
        Family::V4 => {
            let header: Ipv4 = packet.read(ETHERNET).ok_or(Verdict::DroppedRewrite)?;
            let may_fragment = header.fragment.get() & IPV4_DONT_FRAGMENT == 0;
            if may_fragment || *mtu < V4_MINIMUM || length < V4_SHORT {
                return Err(Verdict::DroppedTooBig);
            }
            if length < V4_LONGEST {
                answer::<V4_SHORT_QUOTE>(packet, headers, *mtu)
            } else {
                answer::<V4_QUOTE>(packet, headers, *mtu)
            }
        }
        Family::V6 => {
            // No sender goes below the smallest MTU.
            if length <= kinds::V6_MINIMUM as usize {
                return Err(Verdict::DroppedTooBig);
            }
            answer::<V6_QUOTE>(packet, headers, (*mtu).max(kinds::V6_MINIMUM as u16))
        }
    };
    made.ok_or(Verdict::DroppedRewrite)
}

/// Makes the packet an error that quotes its first `QUOTE` bytes, which are there.
#[inline(always)]
fn answer<const QUOTE: usize>(packet: &mut impl Packet, headers: &Headers, mtu: u16) -> Option<()> {
    let family = headers.family;
    let macs: Macs = packet.read(0)?;
    packet.trim((ETHERNET + QUOTE) as u32)?;
    let sum = sum::<QUOTE>(packet, headers)?;
    let (network, kind, code, tos, protocol) = match family {
        Family::V4 => (
            size_of::<Ipv4>(),
            kinds::V4_UNREACHABLE,
            kinds::V4_FRAGMENTATION_NEEDED,
            PRECEDENCE,
            PROTOCOL_ICMP,
        ),
        Family::V6 => (size_of::<Ipv6>(), kinds::V6_TOO_BIG, 0, 0, PROTOCOL_ICMPV6),
    };
    packet.make_room((network + HEADER) as i32)?;
    let length = (HEADER + QUOTE) as u16;
    let about = About { length, tos, hops: HOPS, protocol, fragment: About::WHOLE };
    let Tuple { source: client, destination: vip, .. } = &headers.tuple;
    let back = Macs { destination: macs.source, source: macs.destination };
    let at = header::write(packet, back, vip, client, &about)?;
    let icmp = Icmp { kind, code, checksum: 0, rest: [Be16::new(0), Be16::new(mtu)] };
    let sum = match family {
        Family::V4 => sum,
        Family::V6 => sum.plus(header::pseudo(vip, client, &about)),
    };
    packet.write(at, Icmp { checksum: sum.sum(&fields(icmp)).checksum(), ..icmp })
}

/// The sum of the quote, as it leaves the device.
#[inline(always)]
fn sum<const QUOTE: usize>(packet: &mut impl Packet, headers: &Headers) -> Option<Delta> {
    let checksum = parse::transport(packet, headers.family)? + TCP_CHECKSUM_OFFSET;
    if packet.sums_later(checksum)? {
        // The device makes the sum of what is behind the network header the complement of what stands in the checksum now.
        let behind = !packet.read::<u16>(checksum)?;
        // The mask, more than the longest header, is for the verifier.
        let network = usize::from(headers.network) & 0xff;
        return Some(words(packet, ETHERNET, network)?.sum(&[behind]));
    }
    words(packet, ETHERNET, QUOTE)
}
