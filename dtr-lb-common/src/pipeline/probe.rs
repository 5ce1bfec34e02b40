//! Probes of replicas that answer clients directly: they are to prove that the replica serves the VIP, on the way that
//! clients' packets take. But the VIP is an address of this host, so that a socket that connects to it gets no further than
//! the loopback interface.
//!
//! So the agent's socket connects to the replica's own address, and the two directions of that connection stand in the map
//! of probes. What leaves becomes a packet to the VIP, in another packet where the mode says so, with the Ethernet
//! addresses that the stack gave it: the replica's. What the VIP answers becomes an answer of the replica's own address, and
//! goes to the stack.
//!
//! These are programs of their own, at the way out and behind the datapath's at the way in: the datapath passes what is of no
//! flow.

use super::{
    ETHERNET, Packet,
    parse::{self, Headers},
    rewrite::{self, Rewrite, difference},
    translate, tunnel,
};
use crate::{
    abi::{Hop, ProbePath, Tuple, Vlans},
    address::{Address, Family},
    wire::{Ethernet, Macs, PROTOCOL_TCP},
};

/// What became of a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It is of no probe, and as it came.
    Other,
    /// It goes on, changed.
    Changed,
    /// It may be half rewritten, and must not go on.
    Broken,
}

/// Changes the packet if it is of a probe: `path` looks into the map.
#[inline(always)]
pub fn run<'a>(packet: &mut impl Packet, path: impl FnOnce(&Tuple) -> Option<&'a ProbePath>) -> Probed {
    let Some((family, tuple)) = tuple(packet) else { return Probed::Other };
    let Some(path) = path(&tuple) else { return Probed::Other };
    if change(packet, family, path).is_some() { Probed::Changed } else { Probed::Broken }
}

#[inline(always)]
fn tuple(packet: &impl Packet) -> Option<(Family, Tuple)> {
    let frame: Ethernet = packet.read(0)?;
    // A tag beside the frame stays there.
    let family = parse::family(frame.kind).ok()?;
    let mut headers = Headers::NONE;
    let transport = parse::network(packet, ETHERNET, family, &mut headers).ok()?;
    if headers.protocol != PROTOCOL_TCP {
        return None;
    }
    parse::tcp(packet, transport, &mut headers).ok()?;
    Some((family, headers.tuple))
}

#[inline(always)]
fn change(packet: &mut impl Packet, family: Family, path: &ProbePath) -> Option<()> {
    let macs: Macs = packet.read(0)?;
    let hop = Hop { interface: 0, destination: macs.destination, source: macs.source, vlans: Vlans::NONE };
    let egress = Rewrite { to: path.to, hop, address_delta: path.address_delta, ..Rewrite::NONE };
    let inner = path.to.destination.family();
    if family == inner {
        rewrite::rewrite(packet, family, &egress)?;
    } else {
        translate::translate(packet, family, &egress)?;
    }
    if path.outer_destination == Address::NONE {
        return Some(());
    }
    packet.renew();
    tunnel::wrap(packet, inner, macs, &path.outer_source, &path.outer_destination)
}

/// What the map says of a probe.
///
/// `socket`: the tuple of the packets as the agent's socket sends them, to the replica's own address. `source`: this host's
/// address towards the VIP, of its family. `outer`: in mode IPIP the outer source, of the replica's family, of which the last
/// 16 bits vary by flow.
pub fn paths(
    socket: &Tuple,
    vip: Address,
    source: Address,
    outer: Option<Address>,
) -> [(Tuple, ProbePath); 2] {
    let asks = Tuple { source, destination: vip, ..*socket };
    let (outer_source, outer_destination) = match outer {
        Some(base) => (tunnel::outer_source(&base, &asks), socket.destination),
        None => (Address::NONE, Address::NONE),
    };
    let out = ProbePath {
        to: asks,
        outer_source,
        outer_destination,
        address_delta: difference(socket, &asks).fold(),
        zero: 0,
    };
    let (answers, heard) = (asks.reversed(), socket.reversed());
    let back = ProbePath {
        to: heard,
        outer_source: Address::NONE,
        outer_destination: Address::NONE,
        address_delta: difference(&answers, &heard).fold(),
        zero: 0,
    };
    [(*socket, out), (answers, back)]
}
