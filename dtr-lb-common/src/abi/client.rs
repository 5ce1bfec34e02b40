//! What is remembered of clients that have proven their addresses, and of handshakes that nobody ends.

use bytemuck::{Pod, Zeroable};

use super::{Ticks, Tuple};
use crate::address::{Address, Be16, Family};

/// The key of the map of clients: of what, and for which service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct ClientKey {
    pub address: Address,
    /// [`super::Service::number`].
    pub service: u32,
    /// 0 where it is about all ports.
    pub port: Be16,
    pub kind: u16,
}

impl ClientKey {
    const NETWORK: u16 = 1;
    const HOST: u16 = 2;
    const PORT: u16 = 3;

    /// Whoever shares an address: an IPv4 address, or an IPv6 network of 64 bits, of which a host may use all (RFC 4291
    /// section 2.5.4).
    #[inline(always)]
    pub const fn of_network(service: u32, client: &Tuple) -> Self {
        let address = match client.source.family() {
            Family::V4 => client.source,
            Family::V6 => client.source.first_half(),
        };
        Self { address, service, port: Be16::new(0), kind: Self::NETWORK }
    }

    /// A whole address.
    #[inline(always)]
    pub const fn of_host(service: u32, client: &Tuple) -> Self {
        Self { address: client.source, service, port: Be16::new(0), kind: Self::HOST }
    }

    /// An address and port.
    #[inline(always)]
    pub const fn of_port(service: u32, client: &Tuple) -> Self {
        Self { address: client.source, service, port: client.source_port, kind: Self::PORT }
    }
}

/// What is remembered of a client. Of one that nothing is remembered of it is all zeroes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Client {
    /// When it last proved that it is at its address; 0 is never.
    pub proven: Ticks,
    /// When the second began in which is counted what follows.
    pub second: Ticks,
    /// Its connections: handshakes that it completed.
    pub opened: u32,
    /// SYNs that were let in for its proof, less handshakes that followed.
    pub pending: i32,
    /// The replica of its last connection, and when that was opened; 0 is never.
    pub replica: u32,
    pub used: Ticks,
}

impl Client {
    /// One of which nothing is remembered yet.
    pub const NEW: Self = Self { proven: 0, second: 0, opened: 0, pending: 0, replica: 0, used: 0 };
}

/// Of a service, a processor: SYNs that no handshake follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pressure {
    /// SYNs that would have opened a connection, whether they were let in or not, since the agent last set it to 0.
    pub syns: u64,
    /// Handshakes that were completed.
    pub handshakes: u64,
    /// When the second began in which is counted what follows.
    pub second: Ticks,
    /// SYNs less handshakes.
    pub excess: i32,
    /// Not 0: sources have to prove themselves.
    pub challenging: u32,
    /// Until then at least.
    pub until: Ticks,
}
