//! IP addresses that packets are sent to or from: which make sense, and where each was written.

use std::collections::HashMap;
use std::net::IpAddr;

use toml::Spanned;

use super::field::{Field, Table};
use super::host_name::is_host_name;
use super::listed::{Host, usable};
use super::problems::Problems;
use super::raw::OneOrMany;

/// The VIPs of one `vip` key.
#[derive(Debug)]
pub(super) enum Vips {
    /// The key is not there.
    Unwritten,
    /// It is there, and what is wrong with it is reported.
    Wrong,
    Read(Vec<Vip>),
}

#[derive(Debug, Clone)]
pub(super) struct Vip {
    pub(super) address: IpAddr,
    pub(super) key: String,
    pub(super) at: usize,
}

/// Reads the `vip` of the file or of a service.
pub(super) fn vips(table: &Table, raw: &Option<Spanned<OneOrMany>>, problems: &mut Problems<'_>) -> Vips {
    let Some(field) = table.field("vip", raw) else { return Vips::Unwritten };
    let fields = match field.value {
        OneOrMany::One(text) => vec![field.with(text)],
        OneOrMany::Many(texts) if texts.is_empty() => {
            problems.refuse(&field, "an empty list");
            return Vips::Wrong;
        }
        OneOrMany::Many(texts) => field.with(texts).elements().collect(),
    };
    let before = problems.len();
    let read = distinct(&fields, problems);
    if problems.len() > before { Vips::Wrong } else { Vips::Read(read) }
}

/// Reads the addresses of a list, each once.
pub(super) fn distinct(fields: &[Field<'_, String>], problems: &mut Problems<'_>) -> Vec<Vip> {
    let mut read: Vec<Vip> = Vec::new();
    let mut seen = HashMap::new();
    for field in fields {
        let Some(address) = unicast(field, problems) else { continue };
        if let Some(first) = seen.insert(address, field.at) {
            let line = problems.source.brief(first);
            problems.refuse(field, format!("in the list already ({line})"));
            continue;
        }
        read.push(Vip { address, key: field.key.clone(), at: field.at });
    }
    read
}

/// An address of one host.
pub(super) fn unicast(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<IpAddr> {
    let Ok(address) = field.value.parse::<IpAddr>() else {
        problems.refuse(field, format!("not an IP address{}", slip(field.value)));
        return None;
    };
    match usable(address) {
        Ok(()) => Some(address),
        Err(error) => {
            problems.refuse(field, error.to_string());
            None
        }
    }
}

/// The same, where a host name is also right.
pub(super) fn unicast_or_name(field: &Field<'_, String>, problems: &mut Problems<'_>) -> Option<Host> {
    if field.value.parse::<IpAddr>().is_err() && is_host_name(field.value) {
        return Some(Host::Name(field.value.to_ascii_lowercase()));
    }
    unicast(field, problems).map(Host::Address)
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
