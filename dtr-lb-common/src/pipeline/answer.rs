//! Packets that are answered by the datapath itself: the frame is made over into the answer, and goes back the way it came.

use super::{Headers, Packet, PacketContext, admission, header::About, icmp, parse, segment::Segment};
use crate::{
    abi::SYN_OPTION_WORDS,
    address::Be16,
    verdict::Verdict,
    wire::{Macs, Tcp, TcpFlags},
};

/// TTL or hop limit of an answer: what Linux sends.
pub(super) const HOPS: u8 = 64;

/// Makes the packet the answer that `verdict` says.
#[inline(always)]
pub(super) fn answer(packet: &mut impl Packet, context: &PacketContext, verdict: Verdict) -> Verdict {
    let made = match verdict {
        Verdict::AnsweredTooBig => icmp::too_big(packet, context),
        Verdict::AnsweredEcho => icmp::reply(packet, &context.headers).ok_or(Verdict::DroppedRewrite),
        Verdict::AnsweredChallenge => {
            admission::answer(packet, &context.headers, context.challenge).ok_or(Verdict::DroppedRewrite)
        }
        _ => reset(packet, &context.headers).ok_or(Verdict::DroppedRewrite),
    };
    match made {
        Ok(()) => verdict,
        Err(verdict) => verdict,
    }
}

/// The reset that the packet's sender takes for one of its peer (RFC 9293 section 3.5.2, groups 1 and 2).
#[inline(always)]
fn reset(packet: &mut impl Packet, headers: &Headers) -> Option<()> {
    let tcp: Tcp = packet.read(parse::transport(packet, headers.family)?)?;
    let macs: Macs = packet.read(0)?;
    let acknowledges = tcp.flags.any(TcpFlags::ACK);
    let sequence = u32::from_be_bytes(bytemuck::must_cast(tcp.sequence));
    let header = u16::from(tcp.data_offset >> 4) * 4;
    let octets = u32::from(headers.segment.saturating_sub(header))
        + u32::from(tcp.flags.any(TcpFlags::SYN))
        + u32::from(tcp.flags.any(TcpFlags::FIN));
    let end = bytemuck::must_cast(sequence.wrapping_add(octets).to_be_bytes());
    let segment = Segment {
        macs: Macs { destination: macs.source, source: macs.destination },
        tuple: &headers.tuple.reversed(),
        tos: 0,
        hops: HOPS,
        fragment: About::WHOLE,
        sequence: if acknowledges { tcp.acknowledgment } else { [0, 0] },
        acknowledgment: if acknowledges { [0, 0] } else { end },
        flags: if acknowledges { TcpFlags::RST } else { TcpFlags::RST.union(TcpFlags::ACK) },
        window: Be16::new(0),
        options: &[0; SYN_OPTION_WORDS],
        options_length: 0,
    };
    segment.write(packet)
}
