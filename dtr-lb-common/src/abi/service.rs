//! What the agent says of services and replicas, and of its probes.

use bytemuck::{Pod, Zeroable};

use super::{Hop, MAX_NAT_ADDRESSES, Ticks, Tuple};
use crate::address::{Address, Be16};

/// How packets reach a replica.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Mode(pub u8);

impl Mode {
    /// Both addresses are rewritten.
    pub const NAT: Self = Self(0);
    /// Only the Ethernet addresses are.
    pub const DSR: Self = Self(1);
    /// In another IP packet.
    pub const IPIP: Self = Self(2);
    /// The destination is rewritten, and the source of what comes back. The replica's route to its clients leads here.
    pub const DNAT: Self = Self(3);

    /// All that there are.
    pub const ALL: [Self; 4] = [Self::NAT, Self::DSR, Self::IPIP, Self::DNAT];

    /// Whether the replica answers clients directly, so that addresses and ports stay. Else they are rewritten, both ways.
    #[inline(always)]
    pub const fn direct(self) -> bool {
        matches!(self, Self::DSR | Self::IPIP)
    }
}

/// The value in the map of the addresses of services: that one is there says it all.
pub const IS_VIP: u32 = 1;

/// Address and port of a service: the key of the map of services.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct ServiceKey {
    pub address: Address,
    pub port: Be16,
    /// Fills the word.
    pub zero: u16,
}

impl ServiceKey {
    #[inline(always)]
    pub const fn new(address: Address, port: Be16) -> Self {
        Self { address, port, zero: 0 }
    }
}

/// A service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Service {
    /// Index of the Maglev table that is in force: one of this service's two.
    pub table: u32,
    /// The number under which its prefixes stand in the map of sources; 0 if everyone may connect.
    pub sources: u32,
    pub flags: ServiceFlags,
    /// SYNs of a second, a processor, that no handshake follows: above that clients have to prove their addresses first. 0:
    /// always, [`Self::NO_CHALLENGE`]: never.
    pub challenge_above: u32,
    /// Connections that one address (of IPv6: a /64) may open in a second; 0: as many as it likes.
    pub new_flows_per_source: u32,
    /// For how long a client keeps the replica of its last connection; 0: it does not.
    pub affinity: Ticks,
}

impl Service {
    /// In [`Self::challenge_above`].
    pub const NO_CHALLENGE: u32 = u32::MAX;
    /// None.
    pub const NONE: Self = Self {
        table: 0,
        sources: 0,
        flags: ServiceFlags(0),
        challenge_above: Self::NO_CHALLENGE,
        new_flows_per_source: 0,
        affinity: 0,
    };

    /// Its number among the services: its tables are a pair.
    #[inline(always)]
    pub const fn number(&self) -> u32 {
        self.table / 2
    }
}

/// What holds for all connections to a service.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceFlags(pub u32);

impl ServiceFlags {
    /// All connections of one client address go to one replica.
    pub const SOURCE_AFFINITY: Self = Self(1);
    /// Its replicas answer clients directly ([`Mode::direct`]).
    pub const DIRECT: Self = Self(2);
    /// Its replicas may have only so many connections; see [`crate::pipeline::admission::ClientMemory::room`].
    pub const LIMITS_REPLICAS: Self = Self(4);
    /// Clients that may not connect are told so.
    pub const RESETS_DENIED: Self = Self(8);

    #[inline(always)]
    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    #[must_use]
    pub const fn with(self, flag: Self, set: bool) -> Self {
        if set { Self(self.0 | flag.0) } else { self }
    }
}

/// The part of a key in the map of sources that a prefix is of: 32 bits of number, and the address. A key's prefix length is
/// 32 more than that of the address, and an IPv4 prefix is 96 longer than it is written. The value is [`ALLOW`] or
/// [`DENY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct SourceKey {
    /// [`Service::sources`].
    pub number: u32,
    pub address: Address,
}

/// In the map of sources: such a client is let in.
pub const ALLOW: u32 = 1;
/// In the map of sources: such a client is not.
pub const DENY: u32 = 0;

/// A replica of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Replica {
    /// Its next hop. With what follows, all that the fast path reads of it is in one cache line.
    pub hop: Hop,
    /// The largest IP packet, in bytes, that its next hop's link takes; 0 if that is not known.
    pub mtu: u16,
    pub mode: Mode,
    /// Not 0: it is dead, and its flows are answered by resets.
    pub reset: u8,
    pub address: Address,
    /// Source addresses of the connections to it; `nat_count` of them, none in mode DNAT. In mode IPIP: the outer source, of
    /// which the last 16 bits vary by flow.
    pub nat: [Address; MAX_NAT_ADDRESSES],
    /// The service's VIP and port: with address and port they tell the entry from all others.
    pub vip: Address,
    pub vip_port: Be16,
    pub nat_count: u16,
    pub port: Be16,
    /// Its weight in the service's table; 0: it gets no new connections.
    pub weight: u16,
}

/// An entry has two cache lines to itself.
const _: () = assert!(size_of::<Replica>() == 128);

impl Replica {
    /// The service that it is of.
    #[inline(always)]
    pub const fn service(&self) -> ServiceKey {
        ServiceKey::new(self.vip, self.vip_port)
    }
}

/// What becomes of the packets of one direction of a probe of a replica that answers clients directly. The key is the tuple
/// that they come with: see [`crate::pipeline::probe`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ProbePath {
    /// The tuple that a packet leaves with. It may be of the other family than the key.
    pub to: Tuple,
    /// The addresses of the packet that it travels in; the destination is [`Address::NONE`] if it travels in none.
    pub outer_source: Address,
    pub outer_destination: Address,
    /// Folded checksum difference of the addresses; the ports stay.
    pub address_delta: u16,
    /// Fills the word.
    pub zero: u16,
}
