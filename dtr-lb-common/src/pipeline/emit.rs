//! Last stage: a decision becomes bytes, and is counted for its replica.

use super::{
    Family, Packet, PacketContext, Rewrite, Tables, Verdict, resend_syn, rewrite, translate, tunnel,
};
use crate::{
    abi::{Direction, Mode},
    flow_table::account,
    wire::TcpFlags,
};

/// Sends a packet on its way, as its context says. An ICMP error in its own family is a stage of its own.
#[inline(always)]
pub(super) fn emit(
    verdict: Verdict,
    packet: &mut impl Packet,
    tables: &impl Tables,
    context: &mut PacketContext,
) -> Verdict {
    let PacketContext { headers, egress, kept, resend_syn, bytes, .. } = context;
    // As it came in.
    let bytes = u64::from(*bytes);
    let resent = *resend_syn && verdict == Verdict::Redispatched;
    let made = if resent {
        resend_syn::resend_syn(packet, egress, &kept.syn)
    } else {
        forward(packet, headers.family, egress, tables)
    };
    if made.is_none() {
        return Verdict::DroppedRewrite;
    }
    // A refusal, and an ICMP error, is none of a replica's traffic.
    if resent || verdict == Verdict::ForwardedIcmp {
        return verdict;
    }
    let PacketContext { headers, egress, .. } = &*context;
    let speaks = headers.payload != 0 || headers.flags.any(TcpFlags::FIN);
    tables.count(egress.replica, |counters| {
        let traffic = match egress.direction {
            Direction::ToClient => {
                counters.data_to_client += u64::from(speaks);
                &mut counters.to_client
            }
            Direction::ToReplica | Direction::Direct => &mut counters.to_replica,
        };
        traffic.packets += 1;
        traffic.bytes += bytes;
    });
    // Whose end was told has no account any more; and it may be gone since it was looked up.
    let (place, control) = (egress.place, egress.control);
    context.is_late =
        control.state().ended() || !account::count(&tables.flows(), place, control, bytes as u32);
    verdict
}

/// Where it fails, which takes a frame that ends before headers that were read, the frame may be half rewritten and must
/// be dropped.
#[inline(always)]
fn forward(packet: &mut impl Packet, family: Family, egress: &Rewrite, tables: &impl Tables) -> Option<()> {
    match egress.mode {
        Mode::DSR => packet.write(0, rewrite::macs(&egress.hop)),
        Mode::IPIP => tunnel::encapsulate(packet, family, egress, tables.replica(egress.replica)?),
        _ if family == egress.to.destination.family() => rewrite::rewrite(packet, family, egress),
        _ => translate::translate(packet, family, egress),
    }
}
