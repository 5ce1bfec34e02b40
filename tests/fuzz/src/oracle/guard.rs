//! Strangers: who passes himself off as an end of a connection, and does not know its numbers, changes no state of it.
//!
//! That is judged by what the ends know and not by what the datapath has noted, so that it holds the datapath's rules and not
//! only that it follows them. What a stranger's segment says is noted if it is plausible, and so two of them can do what one
//! cannot: a FIN, and then a RST at the end of it; or a word of each end, where he can speak for both. A connection in which
//! one was noted is not looked at any more.

use super::{
    Oracle,
    bytes::Wrong,
    connection::{Connection, Phase, Side},
};
use crate::{
    ends::{Numbers, Tcp},
    reader::flag,
    world::World,
};

/// A connection before a stranger's packet.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    at: usize,
    phase: Phase,
    acknowledged: [u32; 2],
    fins: [Option<u32>; 2],
    /// Whether the state must stay.
    strict: bool,
}

impl Oracle {
    /// Notes how a connection is before a stranger speaks for one side of it.
    pub fn guard(&self, world: &World, at: usize, side: Side, flags: u8, numbers: Numbers) -> Guard {
        let one = &self.connections[at];
        // Of a dead replica any packet is answered by a reset.
        let dead = world.replica(one.replica).is_none_or(|(_, replica)| replica.reset);
        let [client, replica] = &one.ends;
        let (own, other) = if side == Side::Client { (client, replica) } else { (replica, client) };
        let knows = knows(one.phase, flags, numbers, own, other)
            || numbers.sequence == one.acknowledged[side.other() as usize]
            || one.fins[side as usize] == Some(numbers.sequence)
            || (one.phase.handshake() && flags & flag::ACK != 0 && near_syn(one, side, numbers))
            || one.fins[side.other() as usize] == Some(numbers.acknowledgment);
        let strict = !dead && !one.direct() && !one.fooled && !knows && one.phase != Phase::Gone;
        Guard { at, phase: one.phase, acknowledged: one.acknowledged, fins: one.fins, strict }
    }

    /// The connection is as it was, but for what a stranger can make believe by luck.
    pub fn holds(&mut self, guard: Guard) -> Result<(), Wrong> {
        let one = &mut self.connections[guard.at];
        // What it says of the other end's data, or that it has a FIN to say, is noted and decides nothing alone.
        one.fooled |= one.acknowledged != guard.acknowledged || one.fins != guard.fins;
        let over = !guard.phase.live() && !guard.phase.handshake();
        if !guard.strict
            || one.phase == guard.phase
            || over
            || (one.phase == Phase::Gone && guard.phase.handshake())
        {
            return Ok(());
        }
        Err(format!("a stranger's packet made {:?} of {:?}: {one:?}", one.phase, guard.phase))
    }
}

/// Whether a packet acknowledges what is asked for in a handshake: the SYN, or a part of what it carries.
fn near_syn(one: &Connection, side: Side, numbers: Numbers) -> bool {
    let asked = one.acknowledged[side as usize];
    let carries = if side == Side::Replica { one.syn_end.wrapping_sub(asked) } else { 0 };
    numbers.acknowledgment.wrapping_sub(asked) <= carries
}

/// Whether a packet has the numbers of somebody who sees the connection.
fn knows(phase: Phase, flags: u8, numbers: Numbers, own: &Tcp, other: &Tcp) -> bool {
    let has = |flag: u8| flags & flag != 0;
    let exact = numbers.sequence == own.next || numbers.sequence == other.got;
    // In a handshake the number of the own SYN, or of the other end's, is what nobody else knows.
    let handshake = own.first == Some(numbers.sequence) || numbers.acknowledgment == own.got;
    if has(flag::RST) || phase.handshake() {
        return exact || (phase.handshake() && handshake);
    }
    has(flag::ACK) && numbers.acknowledgment == own.got
}
