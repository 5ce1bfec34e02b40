//! Times, addresses and ports as nginx writes them.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnet::IpNet;

use crate::job::{Rule, Source};

/// `30s`, `1h 30m`, `500ms`; without a unit, seconds.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [
            ("ms", Duration::from_millis(1)),
            ("s", Duration::from_secs(1)),
            ("m", Duration::from_secs(60)),
            ("h", Duration::from_secs(3600)),
            ("d", Duration::from_secs(86_400)),
            ("w", Duration::from_secs(7 * 86_400)),
            ("M", Duration::from_secs(30 * 86_400)),
            ("y", Duration::from_secs(365 * 86_400)),
        ];
        let unit = units.iter().find_map(|(name, unit)| Some((rest.strip_prefix(name)?, *unit)));
        let (after, unit) = unit.unwrap_or((rest, Duration::from_secs(1)));
        total = total.checked_add(unit.checked_mul(number)?)?;
        if after.len() == rest.len() && !rest.is_empty() && !rest.starts_with(' ') {
            return None;
        }
        rest = after.trim_start();
    }
    Some(total)
}

/// A port as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// None.
    Unsaid,
    Ports(RangeInclusive<u16>),
    /// What has to be filled in first, or is none.
    Unreadable(String),
}

impl Port {
    fn read(text: &str) -> Self {
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        let ports = match text.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)).filter(|(first, last)| first <= last),
            None => number(text).map(|port| (port, port)),
        };
        ports.map_or_else(|| Self::Unreadable(text.to_owned()), |(first, last)| Self::Ports(first..=last))
    }
}

/// Host and port of `host:port`, `[v6]:port`, `host`, with placeholders in either.
pub(super) fn endpoint(text: &str) -> (String, Port) {
    let mut depth = 0usize;
    let mut colon = None;
    for (index, character) in text.char_indices() {
        match character {
            '[' | '<' | '{' | '(' => depth += 1,
            ']' | '>' | '}' | ')' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => colon = Some(index),
            _ => {}
        }
    }
    match colon {
        _ if text.parse::<IpAddr>().is_ok() => (text.to_owned(), Port::Unsaid),
        Some(colon) => (text[..colon].to_owned(), Port::read(&text[colon + 1..])),
        None => (text.to_owned(), Port::Unsaid),
    }
}

/// `allow` and `deny`. `None`: no address.
pub(super) fn rule(allow: bool, of: &str) -> Option<Rule> {
    let of = match of {
        "all" => Source::All,
        of => Source::Net(of.parse::<IpNet>().ok().or_else(|| Some(of.parse::<IpAddr>().ok()?.into()))?),
    };
    Some(Rule { allow, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nginx_units() {
        let cases = [
            ("30", 30_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1d", 86_400_000),
            ("0", 0),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(time(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "3x", "<t>", "-1", "10 m s", "99999999999"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn endpoints_are_split_outside_of_brackets() {
        let port = |port: u16| Port::Ports(port..=port);
        let cases = [
            ("10.0.0.1:443", "10.0.0.1", port(443)),
            ("[2001:db8::1]:443", "[2001:db8::1]", port(443)),
            ("[::1]", "[::1]", Port::Unsaid),
            ("2001:db8::1", "2001:db8::1", Port::Unsaid),
            ("<a:b>:80", "<a:b>", port(80)),
            ("dtr.example.com", "dtr.example.com", Port::Unsaid),
            ("10.0.0.1:1000-1010", "10.0.0.1", Port::Ports(1000..=1010)),
            ("h:<port>", "h", Port::Unreadable("<port>".to_owned())),
            ("h:70000", "h", Port::Unreadable("70000".to_owned())),
            ("${A}:80", "${A}", port(80)),
        ];
        for (text, host, port) in cases {
            assert_eq!(endpoint(text), (host.to_owned(), port), "{text}");
        }
    }
}
