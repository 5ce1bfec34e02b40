//! ICMP: errors about flows, echo, and the errors that the datapath itself sends.

use super::{Headers, Packet, Scratch, Tables};
use crate::verdict::Verdict;

/// What becomes of an ICMP packet.
#[inline(always)]
pub(super) fn icmp(_: &mut impl Packet, _: &impl Tables, _: &mut Scratch) -> Verdict {
    Verdict::PassedIcmp
}

/// Makes the packet the error that says that it is too large.
#[inline(always)]
pub(super) fn too_big(_: &mut impl Packet, _: &Scratch) -> Result<(), Verdict> {
    Err(Verdict::DroppedTooBig)
}

/// Makes an echo request its reply.
#[inline(always)]
pub(super) fn echo(_: &mut impl Packet, _: &Headers) -> Result<(), Verdict> {
    Err(Verdict::DroppedRewrite)
}
