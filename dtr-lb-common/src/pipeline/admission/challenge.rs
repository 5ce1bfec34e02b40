//! The challenge: is who sends a SYN at the address that it says?
//!
//! It is answered by a SYN-ACK that acknowledges a number which the client never sent. A TCP that has sent a SYN answers that
//! by a reset with just this number (RFC 9293 section 3.10.7.3), and sends its SYN again: a client notices nothing but the time.
//! Nobody else has seen the number, which a keyed hash makes of the connection and the time: nothing has to be kept.

use super::super::{Headers, Packet, header::About, segment::Segment};
use crate::{
    abi::{SYN_OPTION_WORDS, Settings, Ticks, Tuple},
    address::Be16,
    flow_table::entry::ports,
    pipeline::answer::HOPS,
    siphash::siphash,
    wire::{Macs, TcpFlags},
};

/// For how many seconds a number is given out; then it holds for as long again.
const EPOCH: Ticks = 16;
/// What a number is changed by that the client would take for the acknowledgment of its SYN.
const OTHER: u32 = 1 << 31;

/// Two numbers that are known to nobody who has not seen them: what a SYN-ACK to this client acknowledges, and its own.
#[inline(always)]
fn numbers(settings: &Settings, client: &Tuple, epoch: u32) -> (u32, u32) {
    let word = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let [a, b, c, d] = client.source.wide();
    let [e, f, g, h] = client.destination.wide();
    let words = [word(a, b), word(c, d), word(e, f), word(g, h), word(ports(client), epoch)];
    let hash = siphash(&settings.challenge_keys, &words);
    (hash as u32, (hash >> 32) as u32)
}

#[inline(always)]
fn epoch(settings: &Settings, now: Ticks) -> u32 {
    now.checked_div(EPOCH * settings.second).unwrap_or(0)
}

/// Whether a reset has the number that its sender was told, or would have been.
#[inline(always)]
pub(super) fn is_answered(settings: &Settings, headers: &Headers, now: Ticks) -> bool {
    let now = epoch(settings, now);
    let (first, _) = numbers(settings, &headers.tuple, now);
    let (second, _) = numbers(settings, &headers.tuple, now.wrapping_sub(1));
    // Without a branch for each.
    let same = |number: u32| (headers.sequence ^ number) & !OTHER == 0;
    same(first) | same(second)
}

/// What the sender of a SYN is told.
#[inline(always)]
pub(super) fn of_syn(settings: &Settings, headers: &Headers, now: Ticks) -> (u32, u32) {
    let (number, own) = numbers(settings, &headers.tuple, epoch(settings, now));
    // What its SYN and the data with it would be acknowledged by.
    let fits = number.wrapping_sub(headers.sequence).wrapping_sub(1) <= headers.payload;
    (if fits { number ^ OTHER } else { number }, own)
}

/// Makes a SYN the challenge to its sender.
#[inline(always)]
pub(in super::super) fn answer(
    packet: &mut impl Packet,
    headers: &Headers,
    (number, own): (u32, u32),
) -> Option<()> {
    let macs: Macs = packet.read(0)?;
    let segment = Segment {
        macs: Macs { destination: macs.source, source: macs.destination },
        tuple: &headers.tuple.reversed(),
        tos: 0,
        hops: HOPS,
        fragment: About::WHOLE,
        sequence: bytemuck::must_cast(own.to_be_bytes()),
        acknowledgment: bytemuck::must_cast(number.to_be_bytes()),
        flags: TcpFlags::SYN.union(TcpFlags::ACK),
        window: Be16::new(u16::MAX),
        options: &[0; SYN_OPTION_WORDS],
        options_length: 0,
    };
    segment.write(packet)
}
