//! Who counts as one client: limits are per source, as one host has many IPv6 addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IPv4 address, an IPv6 /64 (RFC 6177: what the smallest site gets), or this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Loopback: this host's own checks, and whoever comes through ssh or a proxy on it.
    Local,
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Source {
    pub(super) fn of(address: IpAddr, is_local: fn(IpAddr) -> bool) -> Self {
        // A socket on `[::]` sees IPv4 clients as `::ffff:a.b.c.d`.
        match address.to_canonical() {
            address if is_local(address) => Self::Local,
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Local => out.write_str("this host"),
            Self::V4(address) => address.fmt(out),
            Self::V6([a, b, c, d]) => write!(out, "{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_and_an_ipv6_64_are_one_source_each() {
        for (address, source) in [
            ("127.0.0.1", "this host"),
            ("127.9.9.9", "this host"),
            ("::1", "this host"),
            ("::ffff:127.0.0.1", "this host"),
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("fe80::1", "fe80::/64"),
        ] {
            let of = Source::of(address.parse().expect("an address"), |address| address.is_loopback());
            assert_eq!(of.to_string(), source, "{address}");
        }
    }
}
