//! What flows are about. Their entries: [`crate::flow_table`].

use bytemuck::{Pod, Zeroable};

use super::{MAX_ATTEMPTED, ReplicaId, SYN_OPTION_WORDS};
use crate::{
    address::{Address, Be16},
    wire::{Mac, TcpFlags},
};

/// The addresses and ports of a packet, as they stand on the wire: the key of the flow table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Tuple {
    pub source: Address,
    pub destination: Address,
    pub source_port: Be16,
    pub destination_port: Be16,
}

impl Tuple {
    /// The tuple of the packets in the other direction.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// Where a frame is sent: the interface, and the Ethernet addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Hop {
    /// Index of the interface. 0 is not known.
    pub interface: u32,
    pub destination: Mac,
    pub source: Mac,
}

/// What it takes to ask another replica: a client's SYN, and who was asked. It stands in a ring that each processor writes its
/// own part of, and is overwritten when that comes round; see [`crate::pipeline::Tables::keep_syn`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct KeptSyn {
    /// The client's tuple.
    pub client: Tuple,
    pub syn: Syn,
    /// Replicas that are not to be asked again: they had no port, did not answer, or refused; 0 where there is none.
    pub attempted: [ReplicaId; MAX_ATTEMPTED],
    /// Not 0 while the record is whole, and another number for each record.
    pub stamp: u32,
}

/// A client's SYN, as far as another replica must see it: what is not said by the tuple. (Aligned, it is copied by words: else by
/// bytes, in a loop.)
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Syn {
    pub sequence: [u16; 2],
    pub window: Be16,
    /// Fragment field of the IPv4 header: may it be fragmented? Of an IPv6 packet: it may not.
    pub fragment: Be16,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TTL or hop limit, as it came.
    pub hops: u8,
    pub flags: TcpFlags,
    /// Bytes of options. [`Self::NOT_KEPT`] if the SYN is not here.
    pub options_length: u8,
    pub options: [u16; SYN_OPTION_WORDS],
    /// Folded sums of what came, with the checksums in it: of an IPv4 header without options (of others 0, of IPv6, which has no
    /// checksum, as if it were right), and of the TCP header and its options without the pseudo-header.
    pub header_sum: u16,
    pub segment_sum: u16,
}

impl Syn {
    /// In [`Self::options_length`]: the SYN carried data, which is not kept, so that it cannot be sent again.
    pub const NOT_KEPT: u8 = 0xff;
}
