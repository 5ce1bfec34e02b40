//! Addresses of the two families, as they stand on the wire.
//!
//! Everything is made of 16-bit words because that is the alignment that a kernel guarantees inside a frame: the
//! frame starts on an even address and every field that the datapath reads starts on an even offset. The words
//! hold the bytes in network order, whatever the machine's own order is.

use core::{fmt::Debug, hash::Hash};

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

/// An address of one family, as an array of 16-bit words in network order.
pub trait Address: Copy + Eq + Hash + Debug + Pod + AsRef<[u16]> {
    /// The address in the form that maps common to both families use.
    fn any(self) -> AnyAddress;
    /// The address out of that form. The caller knows the family.
    fn from_any(any: AnyAddress) -> Self;
}

/// An IPv4 address.
pub type Ipv4Words = [u16; 2];
/// An IPv6 address.
pub type Ipv6Words = [u16; 8];

/// An address of either family: IPv6, or IPv4 mapped into it (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct AnyAddress(pub Ipv6Words);

impl Address for Ipv4Words {
    #[inline(always)]
    fn any(self) -> AnyAddress {
        AnyAddress([0, 0, 0, 0, 0, 0xffff, self[0], self[1]])
    }

    #[inline(always)]
    fn from_any(any: AnyAddress) -> Self {
        [any.0[6], any.0[7]]
    }
}

impl Address for Ipv6Words {
    #[inline(always)]
    fn any(self) -> AnyAddress {
        AnyAddress(self)
    }

    #[inline(always)]
    fn from_any(any: AnyAddress) -> Self {
        any.0
    }
}

/// The words of an IPv4 address.
pub fn ipv4_words(address: core::net::Ipv4Addr) -> Ipv4Words {
    bytemuck::cast(address.octets())
}

impl From<core::net::IpAddr> for AnyAddress {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => ipv4_words(v4).any(),
            core::net::IpAddr::V6(v6) => Self(bytemuck::cast(v6.octets())),
        }
    }
}

impl From<AnyAddress> for core::net::IpAddr {
    fn from(address: AnyAddress) -> Self {
        let octets: [u8; 16] = bytemuck::cast(address.0);
        Self::V6(octets.into()).to_canonical()
    }
}

impl Debug for AnyAddress {
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
            assert_eq!(IpAddr::from(AnyAddress::from(address)), address);
        }
        let v4 = ipv4_words(Ipv4Addr::new(10, 0, 0, 10));
        assert_eq!(Ipv4Words::from_any(v4.any()), v4);
        assert_eq!(bytemuck::bytes_of(&v4), [10, 0, 0, 10]);
    }

    #[test]
    fn a_be16_holds_network_bytes() {
        assert_eq!(bytemuck::bytes_of(&Be16::new(443)), [1, 187]);
        assert_eq!(Be16::new(443).get(), 443);
    }
}
