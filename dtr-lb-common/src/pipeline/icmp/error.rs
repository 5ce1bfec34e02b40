//! Errors about flows: who sent one saw a packet as it left the balancer, and the end that it concerns knows the packet as
//! it came to the balancer. So the packet that is quoted is made into that one (RFC 5508 section 4.2), and the
//! error sent on.

use super::{across, quote, within};
use crate::{
    abi::State,
    pipeline::{
        Packet, PacketContext, Tables,
        connection::{self, Known},
        may_be_ours, rewrite,
    },
    verdict::Verdict,
};

/// Whether an error is sent on to the end that it concerns, and how.
#[inline(always)]
pub(super) fn decide(
    packet: &impl Packet,
    tables: &impl Tables,
    context: &mut PacketContext,
) -> Result<Verdict, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    quote::read(packet, context)?;
    // Who sends an error sends it to where the packet came from.
    let PacketContext { headers, wanted, .. } = context;
    let ours = wanted.destination == headers.tuple.destination && may_be_ours(tables, settings, wanted);
    if !ours {
        return Err(Verdict::PassedIcmp);
    }
    match connection::look_up(tables, settings, tables.now(), context, false) {
        Known::No | Known::Gone => return Err(Verdict::PassedIcmp),
        Known::Busy => return Err(Verdict::DroppedBusy),
        Known::Yes => {}
    }
    let PacketContext { egress, found, .. } = context;
    if found.state() == State::TIME_WAIT_HELD {
        return Err(Verdict::DroppedLate);
    }
    egress.set(found, tables);
    rewrite::check(packet, tables, context).map_err(|verdict| match verdict {
        // No error is sent about an error (RFC 1122 section 3.2.2).
        Verdict::AnsweredTooBig => Verdict::DroppedTooBig,
        verdict => verdict,
    })?;
    // Where the replica answers directly, the error reaches it as it is, at the address of the service.
    let PacketContext { headers, egress, .. } = context;
    if egress.mode.direct() {
        egress.to.source = headers.tuple.source;
    }
    Ok(Verdict::ForwardedIcmp)
}

/// Makes an error about a flow the one that its end understands.
#[inline(always)]
pub(in crate::pipeline) fn rewrite(packet: &mut impl Packet, context: &PacketContext) -> Verdict {
    let PacketContext { headers, egress, .. } = context;
    if headers.family != egress.to.destination.family() {
        return match across::translate(packet, context) {
            Ok(()) => Verdict::ForwardedIcmp,
            Err(verdict) => verdict,
        };
    }
    match within::rewrite(packet, context) {
        Some(()) => Verdict::ForwardedIcmp,
        None => Verdict::DroppedRewrite,
    }
}
