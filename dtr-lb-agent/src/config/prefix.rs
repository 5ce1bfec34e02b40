//! Prefixes: networks of either family, as `10.0.0.0/8` or `2001:db8::/32`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize as _, Deserializer, de::Error as _};

/// A prefix that is not of the config: for commands and the API.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    prefix(text).map_err(|what| format!("`{text}`: {what}"))
}

/// The same of a field that may be missing.
pub fn prefix_or_none<'de, D: Deserializer<'de>>(input: D) -> Result<Option<IpNet>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    text.map(|text| parse_prefix(&text).map_err(D::Error::custom)).transpose()
}

/// A prefix. An address alone is the prefix that holds only it. Bits beyond its length are an error: whoever writes
/// 10.1.0.0/8 has one of the two wrong, and the wrong one decides who gets in.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let written = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(prefix) = written else { return Err("not a network".to_owned()) };
    if prefix != prefix.trunc() {
        return Err(format!("{} has bits beyond its length; is it {}?", prefix, prefix.trunc()));
    }
    match prefix {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => Err(format!("an IPv4 network written as IPv6; write {v4}/{}", v6.prefix_len() - 96)),
            None => Ok(prefix),
        },
        IpNet::V4(_) | IpNet::V6(_) => Ok(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_networks_or_single_addresses() {
        let cases = [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("10.1.2.3", Ok("10.1.2.3/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("::/0", Ok("::/0")),
            ("2001:db8::/32", Ok("2001:db8::/32")),
            ("2001:db8::1", Ok("2001:db8::1/128")),
            ("2001:DB8:0::/48", Ok("2001:db8::/48")),
            ("10.1.0.0/8", Err("is it 10.0.0.0/8?")),
            ("2001:db8::1/32", Err("is it 2001:db8::/32?")),
            ("::ffff:10.0.0.0/104", Err("write 10.0.0.0/8")),
            ("::ffff:10.0.0.1", Err("write 10.0.0.1/32")),
            ("10.0.0.0/33", Err("not a network")),
            ("2001:db8::/129", Err("not a network")),
            ("10.0.0.0/", Err("not a network")),
            ("10.0.0.0/x", Err("not a network")),
            ("/8", Err("not a network")),
            ("", Err("not a network")),
            ("all", Err("not a network")),
        ];
        for (text, expected) in cases {
            match (prefix(text), expected) {
                (Ok(prefix), Ok(expected)) => assert_eq!(prefix.to_string(), expected, "{text}"),
                (Err(what), Err(words)) => assert!(what.contains(words), "{text}: {what}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
    }
}
