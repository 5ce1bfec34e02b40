//! NAT ports: which one a connection tries, and which connection gives up its own.
//!
//! In mode DNAT the replica sees the client's own address and port, and the two ends that tell a connection from all others are
//! the client and the replica. There is one try: where the same client has that pair by another VIP, or by another port of a
//! service, the connection goes to another replica.

use super::parse;
use crate::{
    abi::{Flow, MAX_NAT_ADDRESSES, Mode, Replica, Settings, State, Syn, Tuple},
    address::Be16,
    flow_table::Clock,
    hash,
};

/// How many ports are tried. With 70 % of a replica's ports taken, one connection in 300 finds none of 16 free.
pub(super) const ATTEMPTS: u32 = 16;
/// How many replicas are asked besides, where this one has none, and how many ports are tried of each.
pub(super) const FURTHER_REPLICAS: u32 = 2;
pub(super) const FURTHER_ATTEMPTS: u32 = 8;
/// The first attempts at a replica are polite. After them ports are short, and a port may be taken from a client that has closed
/// another connection on it, and from a handshake that is older than the longest round trip.
const POLITE_ATTEMPTS: u32 = 4;

/// The number of the first attempt at a replica: those at a further one are the last of [`ATTEMPTS`].
#[inline(always)]
pub(super) const fn first_attempt(further: u32) -> u32 {
    if further == 0 { 0 } else { ATTEMPTS - FURTHER_ATTEMPTS }
}

#[inline(always)]
pub(super) const fn is_polite(attempt: u32, further: u32) -> bool {
    attempt < first_attempt(further) + POLITE_ATTEMPTS
}

/// Whether a replica is asked no more after an attempt at it, of which there were `attempt` by now: its key is `taken`, or was made
/// free and is to be entered once more.
#[inline(always)]
pub(super) fn is_last(attempt: u32, taken: bool, replica: &Replica) -> bool {
    attempt >= ATTEMPTS || (taken && replica.mode == Mode::DNAT)
}

/// What the port of an attempt is drawn from, by that of the attempt before.
#[inline(always)]
pub(super) const fn random(before: u64, attempt: u32) -> u64 {
    hash::mix(before, attempt as u64)
}

/// Makes `answer` the tuple of the replica's packets with the port of this attempt: the client's own if it may be used, then others
/// at random but the same each time, so that a client that comes back meets its own resting ports. In mode DNAT it is the client's
/// own, with its address.
#[inline(always)]
pub(super) fn draw(
    random: u64,
    attempt: u32,
    replica: &Replica,
    settings: &Settings,
    client: &Tuple,
    answer: &mut Tuple,
) {
    let Settings { first_port, port_count, .. } = *settings;
    let wish = u32::from(client.source_port.get());
    let port = if attempt == 0 && wish.wrapping_sub(first_port) < port_count {
        wish
    } else {
        first_port + hash::scale(random as u32, port_count)
    };
    // The address is at random, too; the mask tells the verifier what the agent promises.
    let address = hash::scale((random >> 32) as u32, replica.nat_count.into()) as usize % MAX_NAT_ADDRESSES;
    let keeps_client = replica.mode == Mode::DNAT;
    answer.source = replica.address;
    answer.destination = if keeps_client { client.source } else { replica.nat[address] };
    answer.source_port = replica.port;
    answer.destination_port = if keeps_client { client.source_port } else { Be16::new(port as u16) };
}

/// Whether a connection must give up its port to one whose replica's packets leave with `to`.
///
/// A handshake must if it is over, or the client's own, or ports are short and it has had the time of the longest round trip,
/// 300 ms. A client may have its own port back at once when its connection has ended: its clock runs on, so that the replica,
/// in TIME_WAIT, takes the new SYN for what it is (RFC 6191). Anybody else's gets it if the replica will do so as well
/// ([`takes_over`]); else it would be answered by a challenge ACK. One
/// address may be several clients behind a NAT, each with its own clock, so that the address alone counts only where ports are
/// short. Where no socket is left at the replica, the port rests only until the last packets are over.
#[inline(always)]
pub(super) fn gives_up(holder: &Flow, to: &Tuple, syn: &Syn, polite: bool, clock: &Clock<'_>) -> bool {
    let Clock { settings, now } = *clock;
    let own = holder.to == *to;
    let state = holder.state();
    if state.handshake() {
        let age = now.wrapping_sub(holder.opened);
        return own
            || settings.expired(state, holder.last_seen, now)
            || (!polite && age > settings.second * 3 / 10);
    }
    if !state.ended() {
        return false;
    }
    let silent = now.wrapping_sub(holder.last_seen) as i32;
    let no_socket = matches!(state, State::CLOSED | State::CLIENT_RESET | State::REPLICA_RESET);
    own || (!polite && holder.to.destination == to.destination)
        || settings.expired(state, holder.last_seen, now)
        || (no_socket && silent > settings.port_rest as i32)
        || (state == State::TIME_WAIT && takes_over(holder, syn))
}

/// Whether a replica in TIME_WAIT surely takes this SYN for a new connection (RFC 6191 section 2, Linux `tcp_timewait_state_process`): its
/// timestamp is ahead of that of the old connection's FIN; or it has none, and its number is ahead. Both would also take some others:
/// none is, which has a timestamp where the old connection is not known to have had one.
#[inline(always)]
fn takes_over(holder: &Flow, syn: &Syn) -> bool {
    /// Bytes of options among which there is no room for a timestamp, beside the MSS that each SYN has.
    const WITHOUT: u8 = 12;
    let now = parse::timestamp_of_syn(syn);
    if now != 0 {
        return holder.timestamp != 0 && now.wrapping_sub(holder.timestamp) as i32 > 0;
    }
    // Beyond what was acknowledged last: the acknowledgment of a FIN may not have come by.
    syn.options_length <= WITHOUT && first_number(syn).wrapping_sub(holder.acknowledged) as i32 > 1
}

/// The number of a SYN, host order.
#[inline(always)]
pub(super) fn first_number(syn: &Syn) -> u32 {
    u32::from_be_bytes(bytemuck::must_cast(syn.sequence))
}
