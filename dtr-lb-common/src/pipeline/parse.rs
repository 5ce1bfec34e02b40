//! First stage: bytes to headers.

use super::{Family, Packet};
use crate::{
    abi::Tuple,
    verdict::Verdict,
    wire::{Tcp, TcpFlags},
};

/// What later stages know of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers<F: Family> {
    pub tuple: Tuple<F::Address>,
    pub flags: TcpFlags,
    /// TTL or hop limit.
    pub hops: u8,
    /// Bytes of the TCP header and what follows it.
    pub segment: u16,
    /// The first of several fragments.
    pub fragmented: bool,
}

#[inline(always)]
pub(super) fn headers<F: Family>(packet: &impl Packet) -> Result<Headers<F>, Verdict> {
    let network = F::network(packet)?;
    let tcp: Tcp = packet.read(network.transport).ok_or(Verdict::PassedMalformed)?;
    if usize::from(tcp.data_offset >> 4) * 4 < size_of::<Tcp>() {
        return Err(Verdict::PassedMalformed);
    }
    Ok(Headers {
        tuple: Tuple {
            source: network.source,
            destination: network.destination,
            source_port: tcp.source,
            destination_port: tcp.destination,
        },
        flags: tcp.flags,
        hops: network.hops,
        segment: network.segment,
        fragmented: network.fragmented,
    })
}
