//! A client's SYN that comes again, as its replica has not answered the first one: evidence against that replica, if it is worth
//! anything.
//!
//! A replica drops a SYN with a wrong checksum in silence, as any host does. So both must be whole: the one that came first, of which
//! the sums were kept, and this one. A damaged one is sent on, for its receiver to drop, and nothing comes of it. What cannot be
//! looked at counts for nothing, but may go to another replica: a SYN with data, with IP options or extension
//! headers, or whose first one is kept no more. So does one that may not have come as far as the replica, or that it may have had
//! another reason to drop ([`resend_syn::is_answerable`]).

use super::{ETHERNET, Packet, PacketContext, Tables, admission, resend_syn, steer};
use crate::{
    abi::Witness,
    address::Family,
    verdict::Verdict,
    wire::{Ipv4, Ipv6, TCP_CHECKSUM_OFFSET},
};

/// Bytes of network headers without options or extensions.
const V4: usize = size_of::<Ipv4>();
const V6: usize = size_of::<Ipv6>();

/// Looks whether both SYNs are whole. Where this one is damaged nothing is opened, and it leaves as its entry says.
#[inline(always)]
pub(super) fn silence(
    packet: &mut impl Packet,
    tables: &impl Tables,
    context: &mut PacketContext,
) -> Verdict {
    let PacketContext { headers, order, kept, is_read, is_whole, opens, .. } = context;
    *is_whole = false;
    // Numbers that the verifier knows: it would want to see the bounds of others again after each call.
    let by_device = match (headers.family, usize::from(headers.network)) {
        (Family::V4, V4) => packet.sums_later(ETHERNET + V4 + TCP_CHECKSUM_OFFSET),
        (Family::V6, V6) => packet.sums_later(ETHERNET + V6 + TCP_CHECKSUM_OFFSET),
        _ => return Verdict::PassedNoFlow,
    };
    let by_device = by_device.unwrap_or(false);
    // As it was read when it was steered. Then the first one takes its place.
    if !*is_read || !resend_syn::is_kept(&kept.syn) {
        return Verdict::PassedNoFlow;
    }
    if !resend_syn::is_whole(&order.client, &kept.syn, by_device) {
        *opens = false;
        return Verdict::ForwardedUnverified;
    }
    let is_kept = steer::reads_kept(tables, context);
    let PacketContext { order, kept, is_whole, .. } = context;
    *is_whole = is_kept && resend_syn::is_whole(&order.client, &kept.syn, by_device);
    Verdict::PassedNoFlow
}

/// Counts the silence for the replica, if the first SYN, which is in the context by now, was one that a host answers. A stage of its own,
/// for the verifier.
///
/// In a flood of SYNs answers are lost on their way, at this host as well, and sources that nobody has repeat their SYNs: then only probes
/// tell whether a replica is silent.
#[inline(always)]
pub(super) fn testify(tables: &impl Tables, context: &PacketContext) {
    let PacketContext { order, kept, steered, .. } = context;
    if resend_syn::is_answerable(&kept.syn) && !admission::is_flooded(tables, &steered.service) {
        // Before it is counted: the agent looks for it when the counter has risen.
        tables.witness(order.failed, &Witness { source: order.client.source, at: tables.now() });
        tables.count(order.failed, |counters| counters.unanswered += 1);
    }
}
