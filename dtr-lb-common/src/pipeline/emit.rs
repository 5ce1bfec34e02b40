//! Last stage: a decision becomes bytes, and is counted for its replica.

use super::{Family, Packet, Rewrite, Scratch, Tables, Verdict, replay, rewrite, translate, tunnel};
use crate::abi::{Direction, Mode};

/// Sends a packet on its way, as its notes say. An ICMP error in its own family is a stage of its own.
#[inline(always)]
pub(super) fn emit(
    verdict: Verdict,
    packet: &mut impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Verdict {
    let Scratch { headers, leaves, kept, replay, bytes, .. } = scratch;
    // As it came in.
    let bytes = u64::from(*bytes);
    let replayed = *replay && verdict == Verdict::Redispatched;
    let made = if replayed {
        replay::replay(packet, leaves, &kept.syn)
    } else {
        forward(packet, headers.family, leaves, tables)
    };
    if made.is_none() {
        return Verdict::DroppedRewrite;
    }
    // A refusal, and an ICMP error, is none of a replica's traffic.
    if replayed || verdict == Verdict::ForwardedIcmp {
        return verdict;
    }
    let leaves = &scratch.leaves;
    tables.count(leaves.replica, |counters| {
        let traffic = match leaves.direction {
            Direction::ToClient => &mut counters.to_client,
            Direction::ToReplica | Direction::Direct => &mut counters.to_replica,
        };
        traffic.packets += 1;
        traffic.bytes += bytes;
    });
    verdict
}

/// Where it fails, which takes a frame that ends before headers that were read, the frame may be half rewritten and must
/// be dropped.
#[inline(always)]
fn forward(packet: &mut impl Packet, family: Family, leaves: &Rewrite, tables: &impl Tables) -> Option<()> {
    match leaves.mode {
        Mode::DSR => packet.write(0, rewrite::macs(&leaves.hop)),
        Mode::IPIP => tunnel::encapsulate(packet, family, leaves, tables.replica(leaves.replica)?),
        _ if family == leaves.to.destination.family() => rewrite::rewrite(packet, family, leaves),
        _ => translate::translate(packet, family, leaves),
    }
}
