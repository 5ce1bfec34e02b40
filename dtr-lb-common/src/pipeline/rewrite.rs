//! Last stage: a decision becomes bytes.

use super::{Family, Headers, Packet, Tables, family::NETWORK_OFFSET};
use crate::{
    abi::{Flow, Hop, ReplicaId, Side, Tuple},
    address::Be16,
    checksum::Delta,
    verdict::Verdict,
    wire::{Macs, TCP_CHECKSUM_OFFSET},
};

const _: () = assert!(NETWORK_OFFSET.is_multiple_of(2));

/// How a packet leaves. Plain data: pointers into the frame do not outlive some helpers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite<F: Family> {
    pub to: Tuple<F::Address>,
    pub hop: Hop,
    pub replica: ReplicaId,
    pub side: Side,
    address_delta: u16,
    port_delta: u16,
}

impl<F: Family> Rewrite<F> {
    /// What an entry makes of a packet.
    #[inline(always)]
    pub(super) fn new(flow: &Flow<F::Address>) -> Self {
        Self {
            to: flow.to,
            hop: flow.hop,
            replica: flow.replica,
            side: flow.side,
            address_delta: flow.address_delta,
            port_delta: flow.port_delta,
        }
    }

    /// The same, by this hop.
    #[inline(always)]
    pub(super) fn by(mut self, hop: Hop) -> Self {
        self.hop = hop;
        self
    }

    /// The last look before a packet may leave: its next hop, which for a replica is the one in force now, and what
    /// must not be forwarded at all.
    #[inline(always)]
    pub(super) fn checked(mut self, headers: &Headers<F>, tables: &impl Tables<F>) -> Result<Self, Verdict> {
        if headers.hops <= 1 {
            return Err(Verdict::DroppedTtlExpired);
        }
        if headers.fragmented {
            return Err(Verdict::DroppedFragment);
        }
        if self.side == Side::TO_REPLICA {
            self.hop = tables.replica(self.replica).ok_or(Verdict::DroppedNoNextHop)?.hop;
        }
        if self.hop.interface == 0 {
            return Err(Verdict::DroppedNoNextHop);
        }
        Ok(self)
    }
}

/// Writes the decision into the frame. Where it fails, which takes a frame that ends before headers that were read,
/// the frame may be half rewritten and must be dropped.
#[inline(always)]
#[must_use]
pub(super) fn rewrite<F: Family>(packet: &mut impl Packet, rewrite: &Rewrite<F>) -> Option<()> {
    // Read once more: a number that was put aside on the stack has lost its bounds for the verifier of older kernels.
    let transport = F::transport(packet)?;
    packet.write(0, Macs { destination: rewrite.hop.destination, source: rewrite.hop.source })?;
    F::rewrite(packet, rewrite.to.source, rewrite.to.destination, Delta::folded(rewrite.address_delta))?;
    packet.write::<[Be16; 2]>(transport, [rewrite.to.source_port, rewrite.to.destination_port])?;
    packet.correct_tcp_checksum(transport + TCP_CHECKSUM_OFFSET, rewrite.address_delta, rewrite.port_delta)
}
