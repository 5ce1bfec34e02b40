//! Addresses, ends and checksums as the fuzzer and its oracle know them: bytes in network order, and nothing that the
//! pipeline uses.

use std::{fmt, net::Ipv6Addr};

use dtr_lb_common::{
    abi::{Hop, Tuple},
    address::{Address, Be16},
    wire::Mac,
};

/// An address of either family: IPv6, or IPv4 mapped into it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ip(pub [u8; 16]);

impl Ip {
    pub const fn v4(bytes: [u8; 4]) -> Self {
        let [a, b, c, d] = bytes;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// A documentation address (RFC 3849).
    pub const fn v6(network: u8, host: u8) -> Self {
        Self([0x20, 0x01, 0x0d, 0xb8, 0, network, 0, 0, 0, 0, 0, 0, 0, 0, 0, host])
    }

    pub fn is_v4(&self) -> bool {
        self.0[..10] == [0; 10] && self.0[10..12] == [0xff; 2]
    }

    /// The bytes as they stand in a header of its family.
    pub fn bytes(&self) -> &[u8] {
        if self.is_v4() { &self.0[12..] } else { &self.0 }
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        match bytes.try_into() {
            Ok(v4) => Self::v4(v4),
            Err(_) => Self(bytes.try_into().expect("an address has 4 or 16 bytes")),
        }
    }

    pub fn address(&self) -> Address {
        Address::v6(bytemuck::cast(self.0))
    }
}

impl From<Address> for Ip {
    fn from(address: Address) -> Self {
        Self(bytemuck::cast(address.words()))
    }
}

impl fmt::Debug for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv6Addr::from(self.0).to_canonical(), f)
    }
}

/// Address and port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    pub ip: Ip,
    pub port: u16,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} port {}", self.ip, self.port)
    }
}

/// The key under which the packets from one end to another stand in the datapath's tables.
pub fn tuple(from: End, to: End) -> Tuple {
    Tuple {
        source: from.ip.address(),
        destination: to.ip.address(),
        source_port: Be16::new(from.port),
        destination_port: Be16::new(to.port),
    }
}

/// A way on which frames come or leave: interface and Ethernet addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub interface: u32,
    pub destination: [u8; 6],
    pub source: [u8; 6],
}

impl Way {
    /// The way that answers take.
    pub fn back(&self) -> Self {
        Self { interface: self.interface, destination: self.source, source: self.destination }
    }

    /// Whether a frame has these Ethernet addresses.
    pub fn leads(&self, frame: &[u8]) -> bool {
        frame.starts_with(&self.destination) && frame[6..].starts_with(&self.source)
    }

    pub fn hop(&self) -> Hop {
        let mac = |bytes: [u8; 6]| bytemuck::cast::<_, Mac>(bytes);
        Hop { interface: self.interface, destination: mac(self.destination), source: mac(self.source) }
    }
}

/// The one's complement sum of RFC 1071, added to `sum`: over big-endian words, an odd last byte padded with zero. The end
/// result is below 65536 after [`fold`].
pub fn sum(sum: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    words.fold(sum + last, |sum, word| sum + u64::from(u16::from_be_bytes([word[0], word[1]])))
}

pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum over bytes whose checksum field is left out or 0.
pub fn checksum(total: u64) -> u16 {
    !fold(total)
}

/// The sum of a pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub fn pseudo(source: &Ip, destination: &Ip, protocol: u8, length: usize) -> u64 {
    sum(sum(u64::from(protocol) + length as u64, source.bytes()), destination.bytes())
}

/// A sum modulo 65535: one's complement has two zeros.
pub fn residue(total: u64) -> u64 {
    total % 0xffff
}
