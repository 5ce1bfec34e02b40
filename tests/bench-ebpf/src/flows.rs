//! The flows of the benchmark, by number, and the order by which a wrapper writes their packets.
//!
//! Flow number `i` is of a client with an address of its own, to one of 16 services at one address. Each service has one
//! replica, which knows the client by one of four NAT addresses and by the client's own port, which is one of the NAT range
//! and is no other flow's there: so that a handshake ends up at the same port as an entry that was written directly. In mode
//! DNAT it knows the client by the client's address.

use bytemuck::{Pod, Zeroable};

/// Services, each of one replica.
pub const SERVICES: u32 = 1 << SERVICE_BITS;
const SERVICE_BITS: u32 = 4;
/// Ports of the NAT range.
pub const NAT_PORTS: u32 = 1 << PORT_BITS;
const PORT_BITS: u32 = 14;
/// The first of them.
pub const FIRST_NAT_PORT: u16 = 16_384;
/// NAT addresses of a replica.
pub const NAT_ADDRESSES: u32 = 4;
/// Flows that there can be.
pub const MAX_FLOWS: u32 = SERVICES * NAT_PORTS * NAT_ADDRESSES;
/// Of them, those whose NAT address is the first.
pub const FLOWS_OF_ONE_NAT: u32 = SERVICES * NAT_PORTS;

/// An address, whose last 32 bits are counted. Of IPv4 there are no others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Base {
    /// As they stand in a frame.
    pub first: u64,
    pub second: u32,
    /// In host order.
    pub low: u32,
}

/// Which packets a wrapper writes. The fields named by an offset are what stands there in a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Order {
    /// State of the generator of random numbers; not 0.
    pub random: u64,
    /// The next flow, if they are counted.
    pub next: u32,
    /// How many there are to choose from.
    pub flows: u32,
    /// Not 0: one flow after the other. Else at random.
    pub counted: u32,
    /// Not 0: the packets of replicas. Else those of clients.
    pub from_replica: u32,
    pub source: Base,
    pub destination: Base,
    /// The port of the first service, or of all replicas.
    pub port: u32,
    /// How many ports of services are used, less one.
    pub last_service: u32,
    pub at_0: u64,
    /// IPv4 uses the first half.
    pub at_22: u64,
    pub at_14: u64,
    pub at_8: u32,
    pub at_12: u16,
    /// Not 0: replicas know the client by its own address.
    pub keeps_client: u16,
}

/// What tells the packets of two flows apart, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The last 32 bits of the addresses.
    pub source: u32,
    pub destination: u32,
    pub source_port: u16,
    pub destination_port: u16,
}

impl Order {
    /// The ends of a packet of flow `i`.
    #[inline(always)]
    pub const fn ends(&self, i: u32) -> Ends {
        let service = i & (SERVICES - 1);
        let port = FIRST_NAT_PORT + ((i >> SERVICE_BITS) & (NAT_PORTS - 1)) as u16;
        if self.from_replica == 0 {
            Ends {
                source: self.source.low.wrapping_add(i),
                destination: self.destination.low,
                source_port: port,
                destination_port: (self.port + (service & self.last_service)) as u16,
            }
        } else {
            Ends {
                source: self.source.low.wrapping_add(service),
                destination: self.destination.low.wrapping_add(if self.keeps_client != 0 {
                    i
                } else {
                    i >> (SERVICE_BITS + PORT_BITS)
                }),
                source_port: self.port as u16,
                destination_port: port,
            }
        }
    }
}

/// The next number of Marsaglia's generator (xorshift64).
#[inline(always)]
pub const fn random(state: u64) -> u64 {
    let state = state ^ (state << 13);
    let state = state ^ (state >> 7);
    state ^ (state << 17)
}

/// Two words, as they stand one behind the other.
#[inline(always)]
pub fn pair(first: u32, second: u32) -> u64 {
    bytemuck::cast([first, second])
}

/// The ports of a TCP header, as they stand in it.
#[inline(always)]
pub fn ports(ends: &Ends) -> u32 {
    bytemuck::cast([ends.source_port.to_be(), ends.destination_port.to_be()])
}
