//! ICMP, of both families: echo to the address of a service, errors about flows, and the error that the datapath itself
//! sends.
//!
//! Nothing here changes a flow: a stranger can send any number of ICMP packets, and quote in them what it likes.

use super::{ETHERNET, Packet, PacketContext, Tables, either, parse};
use crate::{
    address::{Be16, Family},
    checksum::Delta,
    verdict::Verdict,
    wire::Icmp,
};

mod across;
mod echo;
mod error;
mod kinds;
mod quote;
mod too_big;
mod within;

pub(super) use echo::reply;
pub(super) use error::rewrite;
pub(super) use too_big::too_big;

/// Bytes of the header of any ICMP message.
const HEADER: usize = size_of::<Icmp>();

/// The offset, which is less than 512. The compiler, which cannot see what it is made of, works out each place by it from the
/// same pointer, so that the verifier finds it where it saw its bounds looked at; and the verifier sees the limit.
#[inline(always)]
fn fixed(offset: usize) -> usize {
    core::hint::black_box(offset) & 0x1ff
}

/// The sum of so many bytes at `from`.
#[inline(always)]
fn words(packet: &impl Packet, from: usize, bytes: usize) -> Option<Delta> {
    let mut sum = Delta::ZERO;
    let mut at = 0;
    while at < bytes {
        // Or the compiler works out once how far the frame goes, and the verifier, which cannot follow it, wants to see a look
        // at its end before each word.
        at = core::hint::black_box(at);
        sum = sum.sum(&[packet.read::<u16>(from + at)?]);
        at += size_of::<u16>();
    }
    Some(sum)
}

/// The words of an ICMP header.
#[inline(always)]
fn fields(icmp: Icmp) -> [u16; HEADER / 2] {
    bytemuck::must_cast(icmp)
}

/// What becomes of an ICMP packet.
#[inline(always)]
pub(super) fn icmp(packet: &impl Packet, tables: &impl Tables, context: &mut PacketContext) -> Verdict {
    let headers = &mut context.headers;
    (headers.tuple.source_port, headers.tuple.destination_port) = (Be16::new(0), Be16::new(0));
    either(decide(packet, tables, context))
}

#[inline(always)]
fn decide(
    packet: &impl Packet,
    tables: &impl Tables,
    context: &mut PacketContext,
) -> Result<Verdict, Verdict> {
    let headers = &context.headers;
    // The host puts it together.
    if headers.fragmented {
        return Err(Verdict::PassedFragment);
    }
    let end = ETHERNET as u32 + u32::from(headers.network) + u32::from(headers.segment);
    if end > packet.length() || usize::from(headers.segment) < HEADER {
        return Err(Verdict::PassedMalformed);
    }
    let at = parse::transport(packet, headers.family).ok_or(Verdict::PassedMalformed)?;
    let header: Icmp = packet.read(at).ok_or(Verdict::PassedMalformed)?;
    match (headers.family, header.kind) {
        (Family::V4, kinds::V4_ECHO) | (Family::V6, kinds::V6_ECHO) => {
            echo::request(&header, packet, tables, headers)
        }
        (Family::V4, kinds::V4_UNREACHABLE | kinds::V4_TIME_EXCEEDED | kinds::V4_PARAMETER_PROBLEM)
        | (
            Family::V6,
            kinds::V6_UNREACHABLE | kinds::V6_TOO_BIG | kinds::V6_TIME_EXCEEDED | kinds::V6_PARAMETER_PROBLEM,
        ) => error::decide(packet, tables, context),
        _ => Err(Verdict::PassedIcmp),
    }
}
