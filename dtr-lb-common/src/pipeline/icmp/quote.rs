//! The packet that an error quotes: its headers and at least 8 bytes of what follows them (RFC 792), often no more.

use super::{HEADER, fixed};
use crate::{
    address::{Address, Be16, Family},
    pipeline::{Packet, PacketContext, parse},
    verdict::Verdict,
    wire::{IPV4_FRAGMENT_OFFSET, Ipv4, Ipv6, PROTOCOL_TCP, TCP_CHECKSUM_OFFSET},
};

/// Bytes of a TCP header that an error must quote.
const LEAST: usize = 8;

/// Reads what is quoted, and notes the tuple of packets that answer it. Passes an error about anything but TCP.
#[inline(always)]
pub(super) fn read(packet: &impl Packet, context: &mut PacketContext) -> Result<(), Verdict> {
    let PacketContext { headers, wanted: answer, .. } = context;
    let at = parse::transport(packet, headers.family).ok_or(Verdict::PassedMalformed)?;
    let at = fixed(at + HEADER);
    let length = match headers.family {
        Family::V4 => {
            let header: Ipv4 = packet.read(at).ok_or(Verdict::PassedIcmp)?;
            let length = parse::ipv4_length(header.version_ihl);
            let first = header.fragment.get() & IPV4_FRAGMENT_OFFSET == 0;
            if header.version_ihl >> 4 != 4
                || length < size_of::<Ipv4>()
                || header.protocol != PROTOCOL_TCP
                || !first
            {
                return Err(Verdict::PassedIcmp);
            }
            answer.source = Address::v4(header.destination);
            answer.destination = Address::v4(header.source);
            length
        }
        Family::V6 => {
            let header: Ipv6 = packet.read(at).ok_or(Verdict::PassedIcmp)?;
            if header.class[0].get() >> 12 != 6 {
                return Err(Verdict::PassedIcmp);
            }
            let chain = parse::chain(packet, at, header.next_header).map_err(|_| Verdict::PassedIcmp)?;
            if chain.protocol != PROTOCOL_TCP {
                return Err(Verdict::PassedIcmp);
            }
            answer.source = Address::v6(header.destination);
            answer.destination = Address::v6(header.source);
            size_of::<Ipv6>() + chain.length
        }
    };
    if usize::from(headers.segment) < HEADER + length + LEAST {
        return Err(Verdict::PassedIcmp);
    }
    context.tells_checksum =
        usize::from(headers.segment) >= HEADER + length + TCP_CHECKSUM_OFFSET + size_of::<u16>();
    let transport = fixed(at + length);
    context.quoted_transport = transport as u16;
    let [source, destination]: [Be16; 2] = packet.read(transport).ok_or(Verdict::PassedMalformed)?;
    (answer.source_port, answer.destination_port) = (destination, source);
    Ok(())
}
