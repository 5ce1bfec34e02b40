//! Addresses, ends and checksums as the fuzzer and its oracle know them: bytes in network order, and nothing that the
//! pipeline uses.

use std::{fmt, net::Ipv6Addr};

use dtr_lb_common::{
    abi::{Hop, Tuple, Vlans},
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

/// A VLAN tag as it stands in a frame: EtherType, priority and id.
pub type Tag = [u8; 4];

/// The tags of a frame, the outer one first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub [Option<Tag>; 2]);

impl Tags {
    pub const NONE: Self = Self([None; 2]);

    /// Splits a frame into its tags, two at most, and the frame without them. One that ends in them is left whole.
    pub fn split(frame: &[u8]) -> (Self, Vec<u8>) {
        let mut tags = Self::NONE;
        for at in [0, 1] {
            match frame.get(12 + 4 * at..18 + 4 * at) {
                Some(&[a, b, c, d, _, _]) if [[0x81, 0], [0x88, 0xa8]].contains(&[a, b]) => {
                    tags.0[at] = Some([a, b, c, d]);
                }
                Some(_) => break,
                None if is_tag(frame, 12 + 4 * at) => return (Self::NONE, frame.to_vec()),
                None => break,
            }
        }
        let bytes = tags.bytes().len();
        (tags, [&frame[..frame.len().min(12)], frame.get(12 + bytes..).unwrap_or_default()].concat())
    }

    /// A frame with these tags.
    pub fn join(&self, frame: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let (macs, rest) = frame.split_at(frame.len().min(12));
        out.extend(macs);
        out.extend(self.bytes());
        out.extend(rest);
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.into_iter().flatten().flatten().collect()
    }

    /// The same with bits of priority.
    #[must_use]
    pub fn at(self, priority: u8) -> Self {
        Self(self.0.map(|tag| tag.map(|[a, b, c, d]| [a, b, c & 0x0f | priority << 4, d])))
    }

    /// The priority of the outermost, which is that of the packet.
    pub fn priority(&self) -> u8 {
        self.0[0].map_or(0, |tag| tag[2] >> 4)
    }

    /// Those that say a VLAN, without their priorities.
    #[must_use]
    pub fn vlans(self) -> Self {
        let mut vlans = self.at(0).0.into_iter().flatten().filter(|tag| tag[2..] != [0, 0]);
        Self([vlans.next(), vlans.next()])
    }
}

fn is_tag(frame: &[u8], at: usize) -> bool {
    frame.get(at..at + 2).is_some_and(|kind| [[0x81, 0], [0x88, 0xa8]].iter().any(|tag| tag == kind))
}

/// A way on which frames come or leave: interface, Ethernet addresses and VLANs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub interface: u32,
    pub destination: [u8; 6],
    pub source: [u8; 6],
    /// Without a priority.
    pub vlans: Tags,
}

impl Way {
    /// The way that answers take.
    pub fn back(&self) -> Self {
        Self { destination: self.source, source: self.destination, ..*self }
    }

    /// Whether a frame has these Ethernet addresses.
    pub fn leads(&self, frame: &[u8]) -> bool {
        frame.starts_with(&self.destination) && frame[6..].starts_with(&self.source)
    }

    pub fn hop(&self) -> Hop {
        let mac = |bytes: [u8; 6]| bytemuck::cast::<_, Mac>(bytes);
        let bits = |tag: Tag| {
            let id = u32::from(u16::from_be_bytes([tag[2], tag[3]]));
            if tag[0] == 0x88 { id | 0x1000 } else { id }
        };
        let [outer, inner] = self.vlans.0.map(|tag| tag.map_or(0, bits));
        Hop {
            interface: self.interface,
            destination: mac(self.destination),
            source: mac(self.source),
            vlans: Vlans(outer | inner << 16),
        }
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
