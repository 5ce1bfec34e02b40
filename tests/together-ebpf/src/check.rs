//! What became of the last packet, and whether that may be.
//!
//! What is known of a connection is true at a certain time, and the packet was sent at another. A processor that changes a mapping
//! says so before (`OPENING`), and counts up afterwards. So what stands now, and was written before the packet was sent, was true
//! all the time; about what changed meanwhile nothing is demanded but the headers.

use dtr_lb_together_ebpf::{
    op::Op,
    record::{Claim, Mapping, PROCESSORS, Record, UNCLEAR, holder, phase},
    world::{
        COUNTED, Config, FIRST_PORT, Own, REPLICAS_OF_A_FAMILY, counted, masks as number_of_masks, stat,
        wrong,
    },
};

use crate::{
    frame::{agree, flags, last_of_destination, sequence, source_port, sum},
    maps::{self, claims, client, record, replica, set_claim, set_record, tick},
};

/// How a packet ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Sent on as one of its connection, under this verdict.
    Sent {
        forwarded: bool,
    },
    /// A refusal that became the client's SYN to another replica, or a SYN that went to another one.
    Redispatched,
    Passed,
    /// Dropped, or answered.
    Gone,
}

/// What was found: nothing wrong, or what. The claims are of the port in question, and `left_by` is a mapping or a client.
struct Finding {
    wrong: u32,
    left_by: u64,
    claims: [Claim; PROCESSORS],
}

impl Finding {
    const NONE: Self = Self { wrong: wrong::NOTHING, left_by: 0, claims: [Claim(0); PROCESSORS] };

    #[inline(always)]
    const fn wrong(wrong: u32, left_by: u64) -> Self {
        Self { wrong, left_by, claims: [Claim(0); PROCESSORS] }
    }
}

/// Looks at what became of the last packet, which is in [`Own::left`], and goes on with the life of its connection.
#[inline(always)]
pub(crate) fn check(own: &mut Own, config: &Config, slot: u32) -> Option<()> {
    let counts = maps::counts()?;
    let op = Op(own.op as u32);
    if op == Op::NONE {
        own.counts = counts;
        return Some(());
    }
    let verdict = verdict(&own.counts, &counts);
    own.counts = counts;
    let Some(verdict) = verdict else {
        own.verdict = COUNTED as u64;
        return fault(own, slot, &Finding::wrong(wrong::COUNTED, 0));
    };
    own.verdict = verdict as u64;
    let end = match verdict {
        counted::FORWARDED => End::Sent { forwarded: true },
        counted::UNVERIFIED => End::Sent { forwarded: false },
        counted::REDISPATCHED => End::Redispatched,
        counted::PASSED | counted::PASSED_OTHER => End::Passed,
        _ => End::Gone,
    };
    own.stats[stat::PACKETS] += 1;
    maps::remember(slot, own);
    own.stats[stat::OVERLAPPED] += u64::from(maps::clock(slot ^ 1).1 != own.packets_of_other);
    let before = Record(own.record);
    let finding = match end {
        End::Sent { .. } if op.from_replica() => to_client(own, config, before)?,
        End::Sent { .. } | End::Redispatched => to_replica(own, config, slot, op, end, before)?,
        End::Passed if own.sent != own.left => Finding::wrong(wrong::CHANGED, 0),
        End::Passed | End::Gone => Finding::NONE,
    };
    let sent = matches!(end, End::Sent { .. } | End::Redispatched);
    own.stats[stat::HELD] += u64::from(!sent);
    if finding.wrong != wrong::NOTHING {
        fault(own, slot, &finding)?;
    }
    let after = record(own.peer);
    if before.live() && after.0 == before.0 {
        own.stats[stat::LIVE] += 1;
        if !sent {
            fault(own, slot, &Finding::wrong(wrong::NOT_SENT, 0))?;
        }
    }
    if op.is_of_life() {
        goes_on(own, slot, op, end);
    }
    Some(())
}

/// The verdict under which a packet was counted; nothing if that was not once, or was another one.
#[inline(always)]
fn verdict(before: &[u64; COUNTED], after: &[u64; COUNTED]) -> Option<usize> {
    let (mut verdict, mut all) = (0, 0);
    let mut number = 0;
    while number < COUNTED {
        let more = after[number] - before[number];
        all += more;
        if more != 0 {
            verdict = number;
        }
        number += 1;
    }
    (all == 1).then_some(verdict)
}

/// A packet of a client's, or one that has become one: it left to a replica.
#[inline(always)]
fn to_replica(
    own: &mut Own,
    config: &Config,
    slot: u32,
    op: Op,
    end: End,
    before: Record,
) -> Option<Finding> {
    let v6 = client(own.peer)?.v6 != 0;
    let number = last_of_destination(&own.left, v6).wrapping_sub(1);
    let port = source_port(&own.left, v6).wrapping_sub(u64::from(FIRST_PORT));
    if number / REPLICAS_OF_A_FAMILY as u64 != u64::from(v6) || port >= u64::from(config.ports) {
        return Some(Finding::wrong(wrong::NOBODY, number << 16 | port));
    }
    let left_by = Mapping::new(number, port);
    let made_anew = end == End::Redispatched && op.from_replica();
    let mask = maps::masks(number_of_masks(v6, false))?;
    if !agree(&own.left, &replica(number)?.leaves, &mask.rewritten) {
        return Some(Finding::wrong(wrong::HEADERS, left_by.0));
    }
    if made_anew {
        let (first, _) = Op::SYN.numbers(own.peer, before.life());
        let is_syn = flags(&own.left, v6) == Op::SYN.flags() && sequence(&own.left, v6) == first;
        if !is_syn {
            return Some(Finding::wrong(wrong::HEADERS, left_by.0));
        }
    } else if let Some(wrong) = carried(own, mask) {
        return Some(Finding::wrong(wrong, left_by.0));
    }
    // What is known of the connection comes first: who changes a claim writes that afterwards.
    let known = record(own.peer);
    let claims = claims(left_by);
    let found = |wrong: u32| Finding { wrong, left_by: left_by.0, claims };
    if op.may_open() {
        let old = matches!(end, End::Sent { forwarded: false });
        if old && left_by != known.mapping() {
            return Some(found(wrong::MAPPING));
        }
        if takes_from_live(own, config, left_by, claims[0])
            || takes_from_live(own, config, left_by, claims[1])
        {
            return Some(found(wrong::TAKEN));
        }
        opened(own, slot, known, left_by);
        return Some(Finding::NONE);
    }
    let owner = owner(config, own.peer);
    if known.phase() == phase::OPENING || known.stamp() > own.changes[owner] {
        own.stats[stat::CHANGING] += 1;
        return Some(Finding::NONE);
    }
    if left_by != known.mapping() {
        return Some(found(wrong::MAPPING));
    }
    match judge(own, claims) {
        Some(holder) if holder != own.peer + 1 => return Some(found(wrong::PORT)),
        Some(_) => own.stats[stat::EXACT] += 1,
        None => own.stats[stat::CHANGING] += 1,
    }
    if op.confirms() && matches!(end, End::Sent { forwarded: true }) {
        if takes_from_live(own, config, left_by, claims[0])
            || takes_from_live(own, config, left_by, claims[1])
        {
            return Some(found(wrong::TAKEN));
        }
        opened(own, slot, known, left_by);
    }
    Some(Finding::NONE)
}

/// A packet of a replica's: it left to a client.
#[inline(always)]
fn to_client(own: &mut Own, config: &Config, before: Record) -> Option<Finding> {
    let mapping = Mapping(own.mapping);
    let v6 = replica(mapping.replica())?.v6 != 0;
    let peer = last_of_destination(&own.left, v6).wrapping_sub(1);
    if peer >= u64::from(config.peers) {
        return Some(Finding::wrong(wrong::NOBODY, peer));
    }
    let mask = maps::masks(number_of_masks(v6, true))?;
    if !agree(&own.left, &client(peer)?.leaves, &mask.rewritten) {
        return Some(Finding::wrong(wrong::HEADERS, peer));
    }
    if let Some(wrong) = carried(own, mask) {
        return Some(Finding::wrong(wrong, peer));
    }
    // This first, as above.
    let opening = record(peer).phase() == phase::OPENING;
    let claims = claims(mapping);
    let found = |wrong: u32| Some(Finding { wrong, left_by: peer, claims });
    if before.live() && peer != own.peer && record(own.peer).0 == before.0 {
        return found(wrong::CLIENT);
    }
    match judge(own, claims) {
        _ if opening => own.stats[stat::CHANGING] += 1,
        Some(holder) if holder != peer + 1 => return found(wrong::CLIENT),
        Some(_) => own.stats[stat::EXACT] += 1,
        None => own.stats[stat::CHANGING] += 1,
    }
    Some(Finding::NONE)
}

/// What is wrong with that part of a packet that nothing rewrites, and with its sums.
#[inline(always)]
fn carried(own: &Own, mask: &dtr_lb_together_ebpf::world::Masks) -> Option<u32> {
    if !agree(&own.left, &own.sent, &mask.carried) {
        return Some(wrong::HEADERS);
    }
    let same = |mask| sum(&own.left, mask) == sum(&own.sent, mask);
    if !same(&mask.header_sum) || !same(&mask.tcp_sum) {
        return Some(wrong::SUMS);
    }
    None
}

/// Who has had a port since before the packet, one more than its number; nothing if that has changed since, or is not clear.
#[inline(always)]
fn judge(own: &Own, claims: [Claim; PROCESSORS]) -> Option<u64> {
    let old = claims[0].stamp() <= own.changes[0] && claims[1].stamp() <= own.changes[1];
    let holder = holder(claims);
    (old && holder != UNCLEAR).then_some(holder)
}

/// Whether the client of a claim has been connected by this mapping since before the packet, which another one left by.
#[inline(always)]
fn takes_from_live(own: &Own, config: &Config, mapping: Mapping, claim: Claim) -> bool {
    let peer = claim.holder().wrapping_sub(1);
    if claim.holder() == 0 || peer == own.peer {
        return false;
    }
    let known = record(peer);
    known.live() && known.mapping() == mapping && known.stamp() <= own.changes[owner(config, peer)]
}

/// The number of the processor that owns a client. Nobody changes the steady ones.
#[inline(always)]
fn owner(config: &Config, peer: u64) -> usize {
    (peer.wrapping_sub(u64::from(config.steady)) & 1) as usize
}

/// Writes down the mapping that a connection has by now. The claim comes first.
#[inline(always)]
fn opened(own: &Own, slot: u32, known: Record, mapping: Mapping) {
    let stamp = tick(slot);
    let other = own.changes[(slot ^ 1) as usize & 1];
    set_claim(mapping, slot, Claim::new(own.peer, stamp, other));
    set_record(own.peer, known.with_mapping(mapping).with_stamp(stamp));
}

/// What becomes of a connection that this packet was a step of.
#[inline(always)]
fn goes_on(own: &mut Own, slot: u32, op: Op, end: End) {
    let forwarded = end == End::Sent { forwarded: true };
    let sent = forwarded || matches!(end, End::Sent { .. });
    let mut next = if sent { own.then } else { phase::NONE };
    let mut known = record(own.peer);
    if op.confirms() {
        next = if forwarded { phase::LIVE } else { phase::NONE };
        own.stats[if forwarded { stat::ESTABLISHED } else { stat::LOST }] += 1;
    } else if end == End::Redispatched {
        own.stats[stat::REDISPATCHED] += 1;
        next = phase::SYN_SENT;
    } else if op.may_open() && !op.from_replica() {
        own.stats[stat::OPENED] += u64::from(forwarded);
        if sent && !forwarded {
            next = phase::STANDS;
        }
    }
    if op.may_open() && !sent && next != phase::SYN_SENT {
        // Perhaps it made room for one that was not to be.
        known = known.with_stamp(tick(slot));
        own.focus_left = 0;
    }
    own.stats[stat::ASLEEP] += u64::from(next == phase::ASLEEP);
    set_record(own.peer, known.with_phase(next));
}

/// Notes the first packet with which something is wrong.
#[inline(always)]
fn fault(own: &Own, slot: u32, finding: &Finding) -> Option<()> {
    let fault = maps::fault(slot)?;
    fault.count += 1;
    if fault.count > 1 {
        return Some(());
    }
    fault.what = finding.wrong;
    fault.op = own.op as u32;
    fault.peer = own.peer;
    fault.came_by = own.mapping;
    fault.left_by = finding.left_by;
    fault.before = own.record;
    fault.after = record(own.peer).0;
    fault.verdict = own.verdict;
    fault.changes = own.changes;
    fault.claims = [finding.claims[0].0, finding.claims[1].0];
    fault.sent = own.sent;
    fault.left = own.left;
    Some(())
}
