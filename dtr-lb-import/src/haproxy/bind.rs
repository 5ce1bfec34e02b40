//! `bind`: where clients connect.

use super::{
    keywords::{self, BIND_WITH_VALUE, Context},
    sections::Line,
};
use crate::{
    job::{Bind, BindHost, Host, Said},
    report::{At, Ledger},
};

/// What a `bind` line says.
#[derive(Debug, Default)]
pub(super) struct Binds {
    pub(super) list: Vec<Said<Bind>>,
    /// Those where TLS ends.
    pub(super) ends_tls: Vec<At>,
}

/// Reads `bind ADDRESS[,ADDRESS...] [OPTION...]`.
pub(super) fn read(line: &Line, ledger: &mut Ledger) -> Binds {
    let options = Options::read(line.from(2), line.at, ledger);
    let ends_tls = options.ends_tls.then_some(line.at).into_iter().collect();
    let mut binds = Binds { list: Vec::new(), ends_tls };
    binds.list = addresses(line.word(1), line.at, &options, ledger);
    binds
}

/// Reads `ADDRESS[,ADDRESS...]` behind `listen NAME`.
pub(super) fn of_header(addresses_text: &str, at: At, ledger: &mut Ledger) -> Binds {
    Binds { list: addresses(addresses_text, at, &Options::default(), ledger), ends_tls: Vec::new() }
}

#[derive(Debug, Default)]
struct Options {
    v6_only: bool,
    ends_tls: bool,
}

impl Options {
    fn read(words: &[String], at: At, ledger: &mut Ledger) -> Self {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(group) = keywords::find(Context::Bind, std::slice::from_ref(word)) else {
                ledger.left_out_that_decides(at, format!("dtr-lb does not know `{word}` here"));
                continue;
            };
            match word.as_str() {
                "ssl" => options.ends_tls = true,
                "v6only" => options.v6_only = true,
                _ => {}
            }
            if !(group.fate == keywords::Fate::Taken && group.why.is_empty()) {
                group.tell(at, &format!("`{word}`"), ledger);
            }
            if BIND_WITH_VALUE.contains(&word.as_str()) {
                words.next();
            }
        }
        options
    }
}

fn addresses(text: &str, at: At, options: &Options, ledger: &mut Ledger) -> Vec<Said<Bind>> {
    let mut list = Vec::new();
    for one in text.split(',').filter(|one| !one.is_empty()) {
        match address(one, options) {
            Ok(value) => list.push(Said { value, at }),
            Err(Unfit::LeftOut(why)) => ledger.left_out_that_decides(at, format!("{one}: {why}")),
            Err(Unfit::Fault(why)) => ledger.fault_that_decides(at, format!("{one}: {why}")),
        }
    }
    if text.is_empty() {
        ledger.fault_that_decides(at, "it says no address and port: HAProxy refuses this");
    }
    list
}

/// Why no service is made of an address.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    LeftOut(String),
    Fault(String),
}

fn address(text: &str, options: &Options) -> Result<Bind, Unfit> {
    let left_out = |why: &str| Err(Unfit::LeftOut(why.to_owned()));
    let (family, rest) = text.split_once('@').unwrap_or(("", text));
    let family = family.strip_prefix("stream+").unwrap_or(family);
    match family {
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" | "mptcp" | "mptcp4" | "mptcp6" => {}
        "udp" | "udp4" | "udp6" | "quic4" | "quic6" | "dgram+ipv4" | "dgram+ipv6" | "dgram+udp" => {
            return left_out("UDP is not served: dtr-lb is for TCP");
        }
        "unix" | "abns" | "abnsz" | "uxst" | "uxdg" => {
            return left_out("only this host's own programs reach it; a VIP is reached by the network");
        }
        "fd" | "sockpair" => {
            return left_out("a socket that HAProxy is given; write the address that it listens at");
        }
        _ => return left_out("dtr-lb does not know this kind of address"),
    }
    if rest.starts_with('/') {
        return left_out("only this host's own programs reach it; a VIP is reached by the network");
    }
    let Some((host, ports)) = rest.rsplit_once(':') else {
        return Err(Unfit::Fault("it says no port: HAProxy refuses this".to_owned()));
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (Some(first), Some(last)) = (port(first), port(last)) else {
        return Err(Unfit::Fault(format!("{ports:?} is no port: write the number")));
    };
    if first > last {
        return Err(Unfit::Fault("its ports go downwards: HAProxy refuses this".to_owned()));
    }
    let is_v6 = family.ends_with('6');
    let host = match host {
        "" | "*" | "0.0.0.0" if !is_v6 => BindHost::AnyV4,
        "" | "*" | "::" | "[::]" if options.v6_only => BindHost::AnyV6,
        // Linux's sockets of `::` take IPv4 as well.
        "" | "*" | "::" | "[::]" => BindHost::Any,
        host => BindHost::One(Host::read(host)),
    };
    Ok(Bind { host, ports: first..=last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_addresses() {
        let read =
            |text: &str| address(text, &Options { v6_only: text.starts_with("[::]"), ends_tls: false });
        let bind = |host, first, last| Ok(Bind { host, ports: first..=last });
        let one = |text: &str| BindHost::One(Host::read(text));
        for (text, expected) in [
            ("*:80", bind(BindHost::AnyV4, 80, 80)),
            (":80", bind(BindHost::AnyV4, 80, 80)),
            ("0.0.0.0:80", bind(BindHost::AnyV4, 80, 80)),
            (":::80", bind(BindHost::Any, 80, 80)),
            ("[::]:80", bind(BindHost::AnyV6, 80, 80)),
            ("ipv6@:80", bind(BindHost::Any, 80, 80)),
            ("ipv4@10.0.0.1:8000-8010", bind(one("10.0.0.1"), 8000, 8010)),
            ("2001:db8::1:443", bind(one("2001:db8::1"), 443, 443)),
            ("[2001:db8::1]:443", bind(one("2001:db8::1"), 443, 443)),
            ("<VIP>:443", bind(one("<VIP>"), 443, 443)),
            ("vip.example.com:443", bind(one("vip.example.com"), 443, 443)),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["/run/a.sock", "unix@a", "abns@a", "fd@3", "quic4@:443", "x@:1"] {
            assert!(matches!(read(text), Err(Unfit::LeftOut(_))), "{text}");
        }
        for text in ["10.0.0.1", ":0", ":<PORT>", ":90-80", ":99999", ":"] {
            assert!(matches!(read(text), Err(Unfit::Fault(_))), "{text}");
        }
    }
}
