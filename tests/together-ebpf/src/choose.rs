//! The next packet: of any connection, or a step in the life of one that this processor owns.

use dtr_lb_common::hash::scale;
use dtr_lb_together_ebpf::{
    op::Op,
    packet,
    record::{Mapping, Record, phase},
    world::{Config, Own, stat},
};

use crate::maps::{self, aged, client, clock, focus, record, replica, set_record};

/// Chooses it, and writes it to [`Own::sent`].
#[inline(always)]
pub(crate) fn choose(own: &mut Own, config: &Config, slot: u32) -> Option<()> {
    let random = next(own);
    if random & 1 == 0 {
        traffic(own, config, slot, random >> 1)
    } else {
        life(own, config, slot, random >> 1)
    }
    let known = record(own.peer);
    let op = Op(own.op as u32);
    own.record = known.0;
    own.mapping = known.mapping().0;
    if op.is_of_life() {
        // Before it is sent: from here on nobody relies on what is about to change.
        let known = if op.may_open() {
            // A SYN that is sent again has the numbers of the first one.
            let again = op.from_replica() || known.phase() == phase::SYN_SENT;
            (if again { known } else { known.reborn() }).with_phase(phase::OPENING)
        } else if known.live() && own.then != phase::LIVE {
            known.with_phase(phase::NONE)
        } else {
            known
        };
        own.record = known.0;
        set_record(own.peer, known);
    }
    let known = Record(own.record);
    let end = if op.from_replica() { replica(known.mapping().replica())? } else { client(own.peer)? };
    packet::write(&mut own.sent, end, op, own.peer, known);
    let ((own_changes, _), (changes, packets)) = (clock(slot), clock(slot ^ 1));
    own.changes = if slot == 0 { [own_changes, changes] } else { [changes, own_changes] };
    own.packets_of_other = packets;
    maps::count_packet(slot);
    own.began = maps::now();
    Some(())
}

/// The next number of Marsaglia's generator (xorshift64).
#[inline(always)]
fn next(own: &mut Own) -> u64 {
    let state = own.random ^ own.random << 13;
    let state = state ^ state >> 7;
    own.random = state ^ state << 17;
    own.random
}

/// Data, and what strangers forge, either way: half of it of the connection that the other processor is about to change, and most of it
/// of connections that are established.
#[inline(always)]
fn traffic(own: &mut Own, config: &Config, slot: u32, random: u64) {
    let number = (random >> 30) as u32;
    let of_other = random & 1 << 12 != 0;
    let mut peer = if of_other { focus(slot ^ 1) } else { u64::from(scale(number, config.peers)) };
    let mut known = record(peer);
    if known.phase() == phase::ASLEEP || (!known.live() && random & 7 > u64::from(of_other)) {
        peer = u64::from(scale(number, config.steady));
        known = record(peer);
    }
    let from_replica = random & 8 != 0 && known.mapping() != Mapping::NONE;
    let steady = peer < u64::from(config.steady);
    let op = match (random >> 4 & 31, from_replica) {
        (0, false) => Op::CLIENT_FORGED_RST,
        (0, true) => Op::REPLICA_FORGED_RST,
        (1, false) => Op::CLIENT_FORGED_FIN,
        (1, true) => Op::REPLICA_FORGED_FIN,
        // Of another connection it might open it, which only its owner may.
        (2, false) if steady => Op::SYN,
        (2, true) => Op::SYN_ACK,
        (_, false) => Op::CLIENT_DATA,
        (_, true) => Op::REPLICA_DATA,
    };
    own.peer = peer;
    own.op = op.0.into();
}

/// The next step of a connection of this processor. It goes on with the same one for some steps.
#[inline(always)]
fn life(own: &mut Own, config: &Config, slot: u32, random: u64) {
    let pairs = (config.peers - config.steady) / 2;
    if pairs == 0 {
        return traffic(own, config, slot, random);
    }
    if own.focus_left == 0 {
        own.focus = u64::from(config.steady + 2 * scale((random >> 30) as u32, pairs) + slot);
        own.focus_left = 1 + (random >> 24 & 15);
    }
    own.focus_left -= 1;
    own.peer = own.focus;
    let known = record(own.peer);
    let chance = random & 15;
    let (op, then) = match known.phase() {
        phase::SYN_SENT if chance == 0 => (Op::OPENING_SYN, phase::SYN_SENT),
        phase::SYN_SENT if chance == 1 => (Op::REFUSAL, phase::NONE),
        phase::SYN_SENT if chance == 2 => (Op::CLIENT_RST, phase::NONE),
        phase::SYN_SENT if chance < 8 => {
            // It is left lying, for others to push out.
            own.focus_left = 0;
            (Op::SYN_ACK, phase::SYN_RECEIVED)
        }
        phase::SYN_SENT => (Op::SYN_ACK, phase::SYN_RECEIVED),
        phase::SYN_RECEIVED if chance == 0 => (Op::REPLICA_RST, phase::NONE),
        phase::SYN_RECEIVED if chance < 4 => {
            own.focus_left = 0;
            (Op::SYN_ACK, phase::SYN_RECEIVED)
        }
        phase::SYN_RECEIVED => (Op::ACK, phase::PROVED),
        phase::PROVED => (Op::CONFIRMING, phase::LIVE),
        phase::LIVE => ends(own, random >> 4),
        phase::ASLEEP => return wakes(own, config, slot, known, random),
        at if at == phase::CLIENT_FIRST => (Op::CLIENT_FIN_ACKED, phase::CLIENT_FIRST + 1),
        at if at == phase::CLIENT_FIRST + 1 => (Op::THEN_REPLICA_FIN, phase::CLIENT_FIRST + 2),
        at if at == phase::CLIENT_FIRST + 2 => (Op::THEN_REPLICA_FIN_ACKED, phase::NONE),
        at if at == phase::REPLICA_FIRST => (Op::REPLICA_FIN_ACKED, phase::REPLICA_FIRST + 1),
        at if at == phase::REPLICA_FIRST + 1 => (Op::THEN_CLIENT_FIN, phase::REPLICA_FIRST + 2),
        at if at == phase::REPLICA_FIRST + 2 => (Op::THEN_CLIENT_FIN_ACKED, phase::NONE),
        phase::STANDS => (Op::REPLICA_DATA, phase::RESETS),
        phase::RESETS => (Op::CLIENT_RST, phase::NONE),
        _ => (Op::OPENING_SYN, phase::SYN_SENT),
    };
    own.op = op.of_life().0.into();
    own.then = then;
}

/// What becomes of an established connection: most of the time, nothing.
#[inline(always)]
fn ends(own: &mut Own, random: u64) -> (Op, u64) {
    match random & 63 {
        0 => {
            own.focus_left = 0;
            (Op::CLIENT_DATA, phase::ASLEEP)
        }
        1..3 => (Op::CLIENT_RST, phase::NONE),
        3..5 => (Op::REPLICA_RST, phase::NONE),
        5..16 => (Op::CLIENT_FIN, phase::CLIENT_FIRST),
        16..27 => (Op::REPLICA_FIN, phase::REPLICA_FIRST),
        27..30 => {
            own.focus_left = 0;
            (Op::REPLICA_DATA, phase::LIVE)
        }
        at if at & 1 == 0 => (Op::CLIENT_DATA, phase::LIVE),
        _ => (Op::REPLICA_DATA, phase::LIVE),
    }
}

/// One that sleeps is let alone until the harness has made it look old. Then it is opened again: by now others may have taken
/// its place, or the agent's walk has ended it.
#[inline(always)]
fn wakes(own: &mut Own, config: &Config, slot: u32, known: Record, random: u64) {
    own.focus_left = 0;
    if aged(own.peer) != known.life() || random & 1 == 0 {
        return traffic(own, config, slot, random >> 1);
    }
    own.stats[stat::WOKEN] += 1;
    own.op = Op::OPENING_SYN.of_life().0.into();
    own.then = phase::SYN_SENT;
}
