//! What stands in the flow tables.

use bytemuck::{Pod, Zeroable};

use super::{MAX_TRIED, ReplicaId, SYN_OPTION_WORDS, Ticks};
use crate::{
    address::{Address, Be16},
    wire::{Mac, TcpFlags},
};

/// The addresses and ports of a packet, as they stand on the wire: the key of the flow tables.
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

/// One direction of a TCP connection: what becomes of its packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// The tuple that a packet leaves with. Reversed it is the key of the other direction's entry. It may be of the other
    /// family than the key.
    pub to: Tuple,
    /// The way to the client: where its SYN came from. Towards a replica the replica's own hop counts.
    pub hop: Hop,
    /// Folded checksum difference of the addresses, and of the ports: see [`crate::checksum`].
    pub address_delta: u16,
    pub port_delta: u16,
    pub replica: ReplicaId,
    pub state: State,
    pub side: Side,
    /// When the last packet of this direction was seen.
    pub last_seen: Ticks,
    /// When this entry was last found to have its other direction.
    pub checked: Ticks,
}

/// An entry of the half-open table: a direction of a handshake and, with the replica's direction, what it takes to ask
/// another replica.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct HalfOpen {
    pub flow: Flow,
    pub syn: Syn,
    /// Replicas that were asked and did not answer, or refused; 0 where there is none.
    pub tried: [ReplicaId; MAX_TRIED],
}

/// A client's SYN, as far as another replica must see it: what is not said by the tuple.
#[repr(C)]
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
}

impl Syn {
    /// In [`Self::options_length`]: the SYN carried data, which is not kept, so that it cannot be sent again.
    pub const NOT_KEPT: u8 = 0xff;
}

/// Where a connection is in its life.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct State(pub u8);

impl State {
    /// The client's SYN was sent to the replica.
    pub const SYN_SENT: Self = Self(1);
    /// The replica's SYN-ACK was sent to the client.
    pub const SYN_RECEIVED: Self = Self(2);
    pub const ESTABLISHED: Self = Self(3);
    /// The client has closed its direction.
    pub const CLIENT_CLOSED: Self = Self(4);
    /// The replica has closed its direction.
    pub const REPLICA_CLOSED: Self = Self(5);
    /// Both have closed, the replica first: its socket is in TIME_WAIT.
    pub const TIME_WAIT: Self = Self(6);
    /// Both have closed, the client first: no socket is left at the replica.
    pub const CLOSED: Self = Self(7);
    /// Its client has opened another connection with the same tuple. The entry keeps the NAT port from others while
    /// the replica's socket is in TIME_WAIT.
    pub const RESTING: Self = Self(8);
    /// A reset came from the client's side, and nothing after it.
    pub const CLIENT_RESET: Self = Self(9);
    /// A reset came from the replica's side, and nothing after it.
    pub const REPLICA_RESET: Self = Self(10);

    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SYN_SENT,
        Self::SYN_RECEIVED,
        Self::ESTABLISHED,
        Self::CLIENT_CLOSED,
        Self::REPLICA_CLOSED,
        Self::TIME_WAIT,
        Self::CLOSED,
        Self::RESTING,
        Self::CLIENT_RESET,
        Self::REPLICA_RESET,
    ];

    /// Both directions were closed in order.
    #[inline(always)]
    pub const fn ended(self) -> bool {
        self.0 >= Self::TIME_WAIT.0 && self.0 <= Self::RESTING.0
    }

    /// Packets without a flag that matters leave the state as it is.
    #[inline(always)]
    pub const fn steady(self) -> bool {
        self.0 < Self::RESTING.0
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::SYN_SENT => "syn_sent",
            Self::SYN_RECEIVED => "syn_received",
            Self::ESTABLISHED => "established",
            Self::CLIENT_CLOSED => "client_closed",
            Self::REPLICA_CLOSED => "replica_closed",
            Self::TIME_WAIT => "time_wait",
            Self::CLOSED => "closed",
            Self::RESTING => "resting",
            Self::CLIENT_RESET => "client_reset",
            Self::REPLICA_RESET => "replica_reset",
            Self(_) => "unknown",
        }
    }
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Which way the packets of an entry go.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Side(pub u8);

impl Side {
    pub const TO_REPLICA: Self = Self(0);
    pub const TO_CLIENT: Self = Self(1);
    /// Towards the replica, which answers the client directly: there is no entry for the other direction.
    pub const DIRECT: Self = Self(2);
}
