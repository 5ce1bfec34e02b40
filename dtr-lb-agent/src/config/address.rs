//! IP addresses that packets are sent to or from: which make sense, and where each was written.

use std::net::IpAddr;

use super::host_name::is_host_name;
use super::listed::{Host, usable};
use super::takes::List;

/// The `vip` of the file or of a service.
pub(super) const VIPS: List<IpAddr> = List::of(
    "an IP address in quotes, or a list of different ones, as in [\"10.0.0.10\", \"2001:db8::10\"]",
    unicast,
    IpAddr::to_string,
)
.not_empty("an empty list")
.once()
.or_one();

/// An address of one host, or what is wrong with it.
pub(super) fn unicast(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_invalid| format!("not an IP address{}", slip(text)))?;
    usable(address).map(|()| address).map_err(|error| error.to_string())
}

/// The same, where a host name is also right.
pub(super) fn unicast_or_name(text: &str) -> Result<Host, String> {
    if text.parse::<IpAddr>().is_err() && is_host_name(text) {
        return Ok(Host::Name(text.to_ascii_lowercase()));
    }
    unicast(text).map(Host::Address)
}

/// What kind of address it is, if it is not one that a host has and packets can be routed to.
pub(super) fn not_one_host(address: IpAddr) -> Option<&'static str> {
    // Written as IPv6, it is still the IPv4 address that it holds.
    let address = address.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    match address {
        _ if address.is_unspecified() => Some("the unspecified"),
        _ if address.is_loopback() => Some("a loopback"),
        _ if address.is_multicast() => Some("a multicast"),
        _ if broadcast => Some("the broadcast"),
        // It means nothing without its interface, and no router forwards it (RFC 4291 section 2.5.6).
        _ if link_local => Some("a link-local"),
        _ => None,
    }
}

/// The slips that look most like an address.
fn slip(text: &str) -> &'static str {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if text.split_once('/').is_some_and(|(address, _)| is_address(address)) {
        " (leave out the prefix length)"
    } else if text
        .strip_prefix('[')
        .and_then(|text| text.split_once(']'))
        .is_some_and(|(text, _)| is_address(text))
    {
        " (leave out the brackets and the port; ports are `service.port` and `service.replica_port`)"
    } else if text.rsplit_once(':').is_some_and(|(address, _)| is_address(address)) {
        " (leave out the port; ports are `service.port` and `service.replica_port`)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_one_host_pass() {
        let cases = [
            ("10.0.0.1", None),
            ("169.254.1.1", None),
            ("2001:db8::1", None),
            ("0.0.0.0", Some("the unspecified")),
            ("::", Some("the unspecified")),
            ("127.0.0.2", Some("a loopback")),
            ("::1", Some("a loopback")),
            ("::ffff:127.0.0.1", Some("a loopback")),
            ("224.0.0.1", Some("a multicast")),
            ("ff02::1", Some("a multicast")),
            ("255.255.255.255", Some("the broadcast")),
            ("fe80::1", Some("a link-local")),
            ("febf::1", Some("a link-local")),
            ("fec0::1", None),
            ("fd00::1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(not_one_host(text.parse().unwrap()), expected, "{text}");
        }
    }
}
