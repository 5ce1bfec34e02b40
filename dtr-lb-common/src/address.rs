//! Addresses of the two families, as they stand on the wire.
//!
//! Everything is made of 16-bit words because that is the alignment that a kernel guarantees inside a frame: the
//! frame starts on an even address and every field that the datapath reads starts on an even offset. The words
//! hold the bytes in network order, whatever the machine's own order is.

use core::fmt::Debug;

use bytemuck::{Pod, Zeroable};

/// A 16-bit number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Be16(u16);

impl Be16 {
    #[inline(always)]
    pub const fn new(host_order: u16) -> Self {
        Self(host_order.to_be())
    }

    /// Of the two bytes as they stand in memory.
    #[inline(always)]
    pub const fn of_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The two bytes as they stand in memory: what checksums and hashes work on.
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl Debug for Be16 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Debug::fmt(&self.get(), f)
    }
}

/// An IPv4 address, as words in network order.
pub type Ipv4Words = [u16; 2];
/// An IPv6 address, as words in network order.
pub type Ipv6Words = [u16; 8];

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// An address of either family: IPv6, or IPv4 mapped into it (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
///
/// In words of 32 bits, unlike what stands in a frame: a tuple is hashed by such words, and a processor that has just
/// stored halves of one waits before it can load the whole.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Address([u32; 4]);

/// What stands before an IPv4 address that is mapped into IPv6, behind 64 bits that are 0.
pub(crate) const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    /// No address.
    pub const NONE: Self = Self([0; 4]);

    #[inline(always)]
    pub fn v4(words: Ipv4Words) -> Self {
        Self([0, 0, MAPPED, bytemuck::must_cast(words)])
    }

    #[inline(always)]
    pub fn v6(words: Ipv6Words) -> Self {
        Self(bytemuck::must_cast(words))
    }

    #[inline(always)]
    pub const fn family(&self) -> Family {
        let Self([a, b, mark, _]) = *self;
        if (a | b) == 0 && mark == MAPPED { Family::V4 } else { Family::V6 }
    }

    /// Whether it may be that of one host, as Linux sees it (`ip_route_input_slow`; RFC 4291 section 2.4).
    #[inline(always)]
    pub const fn is_host(&self) -> bool {
        /// Of IPv4 hosts behind a translator (RFC 6052, RFC 8215): of the addresses that begin with 8 zeros, those that are not local.
        const TRANSLATED: u32 = u32::from_ne_bytes([0, 0x64, 0xff, 0x9b]);
        let [a, .., d] = self.0;
        match self.family() {
            Family::V4 => !matches!(d.to_ne_bytes()[0], 0 | 127 | 224..240) && d != u32::MAX,
            Family::V6 => a == TRANSLATED || !matches!(a.to_ne_bytes()[0], 0 | 0xff),
        }
    }

    /// The network of 64 bits that an IPv6 address is of.
    #[inline(always)]
    #[must_use]
    pub const fn first_half(&self) -> Self {
        let [a, b, ..] = self.0;
        Self([a, b, 0, 0])
    }

    /// The words of an IPv4 address. The caller knows the family.
    #[inline(always)]
    pub fn v4_words(&self) -> Ipv4Words {
        bytemuck::must_cast(self.0[3])
    }

    /// All of it, as the words of an IPv6 address.
    #[inline(always)]
    pub fn words(&self) -> Ipv6Words {
        bytemuck::must_cast(self.0)
    }

    /// Words of 32 bits as they stand in memory, in network order.
    #[inline(always)]
    pub const fn wide(&self) -> [u32; 4] {
        self.0
    }
}

/// The words of an IPv4 address.
pub fn ipv4_words(address: core::net::Ipv4Addr) -> Ipv4Words {
    bytemuck::cast(address.octets())
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self::v4(ipv4_words(v4)),
            core::net::IpAddr::V6(v6) => Self(bytemuck::cast(v6.octets())),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        let octets: [u8; 16] = bytemuck::cast(address.0);
        Self::V6(octets.into()).to_canonical()
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Debug::fmt(&core::net::IpAddr::from(*self), f)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_address_of_either_family_survives_the_common_form() {
        for address in [
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10)),
            IpAddr::V4(Ipv4Addr::new(255, 1, 2, 254)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        ] {
            assert_eq!(IpAddr::from(Address::from(address)), address);
            let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
            assert_eq!(Address::from(address).family(), family);
        }
        let v4 = ipv4_words(Ipv4Addr::new(10, 0, 0, 10));
        assert_eq!(Address::v4(v4).v4_words(), v4);
        assert_eq!(bytemuck::bytes_of(&v4), [10, 0, 0, 10]);
    }

    #[test]
    fn a_be16_holds_network_bytes() {
        assert_eq!(bytemuck::bytes_of(&Be16::new(443)), [1, 187]);
        assert_eq!(Be16::new(443).get(), 443);
    }
}
