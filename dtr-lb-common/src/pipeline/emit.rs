//! Last stage: a decision becomes bytes, and is counted for its replica.

use super::{Family, Packet, Rewrite, Scratch, Stage, Tables, Verdict, replay, rewrite, translate, tunnel};
use crate::abi::{Direction, Mode};

/// Sends a packet on its way, as its notes say.
#[inline(always)]
pub(super) fn emit(
    verdict: Verdict,
    packet: &mut impl Packet,
    tables: &impl Tables,
    scratch: &mut Scratch,
) -> Verdict {
    if verdict == Verdict::ForwardedIcmp {
        return error(packet, tables, scratch);
    }
    let Scratch { headers, leaves, bytes, .. } = scratch;
    // As it came in.
    let bytes = u64::from(*bytes);
    let family = headers.family;
    let rewritten = if verdict == Verdict::Redispatched
        || leaves.mode == Mode::IPIP
        || (leaves.mode == Mode::NAT && family != leaves.to.destination.family())
    {
        packet.stage(Stage::Emit, tables, scratch) == Verdict::Forwarded
    } else if leaves.mode == Mode::DSR {
        packet.write(0, rewrite::macs(&leaves.hop)).is_some()
    } else {
        rewrite::rewrite(packet, family, leaves).is_some()
    };
    if !rewritten {
        return Verdict::DroppedRewrite;
    }
    if scratch.replay && verdict == Verdict::Redispatched {
        return verdict;
    }
    let leaves = &scratch.leaves;
    tables.count(leaves.replica, |counters| {
        let traffic = if leaves.direction == Direction::ToClient {
            &mut counters.to_client
        } else {
            &mut counters.to_replica
        };
        traffic.packets += 1;
        traffic.bytes += bytes;
    });
    verdict
}

/// Sends an ICMP error on its way. It is none of a replica's traffic.
#[inline(always)]
fn error(packet: &mut impl Packet, tables: &impl Tables, scratch: &mut Scratch) -> Verdict {
    if scratch.leaves.mode == Mode::NAT {
        return packet.stage(Stage::Error, tables, scratch);
    }
    match packet.stage(Stage::Emit, tables, scratch) {
        Verdict::Forwarded => Verdict::ForwardedIcmp,
        verdict => verdict,
    }
}

/// Sends a packet on its way of which more changes than addresses and ports, and one that goes to another replica than
/// before.
#[inline(always)]
pub(super) fn made_over(packet: &mut impl Packet, tables: &impl Tables, scratch: &Scratch) -> Verdict {
    let Scratch { headers, leaves, kept, replay, .. } = scratch;
    let made = if *replay {
        replay::replay(packet, leaves, &kept.syn)
    } else {
        forward(packet, headers.family, leaves, tables)
    };
    if made.is_some() { Verdict::Forwarded } else { Verdict::DroppedRewrite }
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
