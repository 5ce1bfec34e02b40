//! Errors about flows: who sent one saw a packet as it left the balancer, and the end that it concerns knows the packet as
//! it came to the balancer. So the packet that is quoted is made into that one (RFC 5508 section 4.2), and the
//! error sent on.

use super::{across, quote, within};
use crate::{
    abi::{Settings, Side, State, Ticks},
    filter,
    pipeline::{FlowEntry as _, FlowTable, Packet, Scratch, Tables, connection, rewrite},
    verdict::Verdict,
};

/// Whether an error is sent on to the end that it concerns, and how.
#[inline(always)]
pub(super) fn decide(
    packet: &impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Result<Verdict, Verdict> {
    let settings = tables.settings().ok_or(Verdict::PassedNotReady)?;
    quote::read(packet, scratch)?;
    // Who sends an error sends it to where the packet came from.
    let Scratch { headers, quoted, .. } = scratch;
    let ours = quoted.destination == headers.tuple.destination
        && tables.marked(filter::place(settings, &quoted.destination, quoted.destination_port));
    if !ours {
        return Err(Verdict::PassedIcmp);
    }
    let now = tables.now();
    if !find(&tables.flows(), settings, now, scratch)? && !find(&tables.half_open(), settings, now, scratch)?
    {
        return Err(Verdict::PassedIcmp);
    }
    let Scratch { leaves, found, .. } = scratch;
    leaves.set(found);
    rewrite::check(packet, tables, scratch).map_err(|verdict| match verdict {
        // No error is sent about an error (RFC 1122 section 3.2.2).
        Verdict::AnsweredTooBig => Verdict::DroppedTooBig,
        verdict => verdict,
    })?;
    // Where the replica answers directly, the error reaches it as it is, at the address of the service.
    let Scratch { headers, leaves, .. } = scratch;
    if leaves.mode.direct() {
        leaves.to.source = headers.tuple.source;
    }
    Ok(Verdict::ForwardedIcmp)
}

/// Makes an error about a flow the one that its end understands.
#[inline(always)]
pub(in crate::pipeline) fn rewrite(packet: &mut impl Packet, scratch: &Scratch) -> Verdict {
    let Scratch { headers, leaves, .. } = scratch;
    if headers.family != leaves.to.destination.family() {
        return match across::translate(packet, scratch) {
            Ok(()) => Verdict::ForwardedIcmp,
            Err(verdict) => verdict,
        };
    }
    match within::rewrite(packet, scratch) {
        Some(()) => Verdict::ForwardedIcmp,
        None => Verdict::DroppedRewrite,
    }
}

/// Looks for the flow of the packets that answer the quoted one. Says whether it is there: an entry that has outlived its
/// state is not, nor is one whose other direction is gone, as its NAT port may be another flow's.
#[inline(always)]
fn find<T: FlowTable>(
    table: &T,
    settings: &Settings,
    now: Ticks,
    scratch: &mut Scratch,
) -> Result<bool, Verdict> {
    let Scratch { quoted: key, found: flow, .. } = scratch;
    let there = table.with(key, |entry| *flow = *entry.flow()).is_some();
    if !there || settings.expired(flow.state, flow.last_seen, now) {
        return Ok(false);
    }
    if flow.state == State::RESTING {
        return Err(Verdict::DroppedLate);
    }
    if flow.side == Side::DIRECT {
        return Ok(true);
    }
    let pair = table.with(&connection::partner(flow), |entry| {
        let other = entry.flow();
        connection::partner(other) == *key && other.state != State::RESTING
    });
    Ok(pair == Some(true))
}
