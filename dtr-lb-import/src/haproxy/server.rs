//! `server`, `server-template` and `default-server`: a name, an address, and options.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    keywords::{self, Fate, SERVER_WITH_VALUE},
    sections::Line,
};
use crate::{
    job::Host,
    report::{At, Ledger},
};

/// An option as it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) value: Rc<str>,
    pub(super) at: At,
}

/// The options of a server: its own before those of `default-server`.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    written: BTreeMap<&'static str, Written>,
}

impl Options {
    /// Reads the options of a line, from this word on.
    pub(super) fn read(&mut self, line: &Line, from: usize, ledger: &mut Ledger) {
        let at = line.at;
        let mut words = line.from(from).iter().peekable();
        while let Some(word) = words.next() {
            let Some((name, group)) = keywords::server_option(word) else {
                ledger.left_out_that_decides(at, format!("dtr-lb does not know `{word}` here"));
                continue;
            };
            let mut value = String::new();
            if SERVER_WITH_VALUE.contains(&name) {
                match words.next() {
                    Some(word) => value.clone_from(word),
                    None => {
                        ledger.fault(at, format!("no value stands behind `{name}`: HAProxy refuses this"))
                    }
                }
            }
            if matches!(group.fate, Fate::Differs | Fate::LeftOut)
                || (group.fate == Fate::Taken && !group.why.is_empty())
            {
                group.tell(at, &format!("`{name}`"), ledger);
            }
            self.set(name, value.into(), at);
        }
    }

    fn set(&mut self, name: &'static str, value: Rc<str>, at: At) {
        match name {
            "no-ssl"
            | "no-check"
            | "no-backup"
            | "no-agent-check"
            | "no-check-send-proxy"
            | "no-verifyhost"
            | "no-send-proxy"
            | "no-send-proxy-v2"
            | "no-send-proxy-v2-ssl"
            | "no-send-proxy-v2-ssl-cn" => {
                self.written.remove(&name["no-".len()..]);
            }
            "enabled" => {
                self.written.remove("disabled");
            }
            "no-check-ssl" => {
                self.written.remove("check-ssl");
                self.written.insert(name, Written { value, at });
            }
            _ => {
                if name == "check-ssl" {
                    self.written.remove("no-check-ssl");
                }
                self.written.insert(name, Written { value, at });
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Written> {
        self.written.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.written.contains_key(name)
    }

    /// The value of an option, if it is there and not empty.
    pub(super) fn value(&self, name: &str) -> Option<(&str, At)> {
        self.get(name).map(|written| (&*written.value, written.at)).filter(|(value, _)| !value.is_empty())
    }

    /// A number. What is none is told.
    pub(super) fn number(&self, name: &str, ledger: &mut Ledger) -> Option<u32> {
        let (text, at) = self.value(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            ledger.fault(at, format!("`{name}`: {text:?} is no number; nothing is made of it"));
        }
        number
    }

    /// Says of those that decide who is served that they are left out.
    pub(super) fn tell_deciding(&self, ledger: &mut Ledger) {
        for (name, written) in &self.written {
            if let Some((_, group)) =
                keywords::server_option(name).filter(|(_, group)| group.fate == Fate::Decides)
            {
                group.tell(written.at, &format!("`{name}`"), ledger);
            }
        }
    }
}

/// The port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// The one that the client connects to.
    Same,
    Fixed(u16),
    /// The one that the client connects to, and so many more.
    Offset(i32),
}

/// A server's name and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) port: Port,
}

/// Reads name and address of a line, and says where its options begin.
pub(super) fn target(line: &Line) -> Result<(Target, usize), String> {
    let (name, address, options) = match line.word(0) {
        "dispatch" => ("dispatch", line.word(1), 2),
        "server-template" => (line.word(1), line.word(3), 4),
        _ => (line.word(1), line.word(2), 3),
    };
    if name.is_empty() || address.is_empty() {
        return Err("it says no name and address: HAProxy refuses this".to_owned());
    }
    let (host, port) = address_of(address)?;
    Ok((Target { name: name.to_owned(), host, port }, options))
}

fn address_of(text: &str) -> Result<(Host, Port), String> {
    let (family, rest) = text.split_once('@').unwrap_or(("", text));
    let family = family.strip_prefix("stream+").unwrap_or(family);
    match family {
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" | "mptcp" | "mptcp4" | "mptcp6" => {}
        "udp" | "udp4" | "udp6" | "quic4" | "quic6" => {
            return Err("UDP is not served: dtr-lb is for TCP".to_owned());
        }
        _ => {
            return Err("no server that a network reaches: dtr-lb's replicas have addresses of IP".to_owned());
        }
    }
    if rest.starts_with('/') {
        return Err("no server that a network reaches: dtr-lb's replicas have addresses of IP".to_owned());
    }
    let (host, port) = split_port(rest)?;
    let host = if host == "*" || host.is_empty() { "0.0.0.0" } else { host };
    if host.starts_with('_') && host.contains("._tcp.") {
        return Err("a SRV record: dtr-lb looks up addresses (A, AAAA) alone; write the name that has them, and the port".to_owned());
    }
    Ok((Host::read(host), port))
}

fn split_port(text: &str) -> Result<(&str, Port), String> {
    // An address of IPv6 that is whole without a port.
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(split_v6(text));
    }
    if text.ends_with(']') {
        return Ok((text, Port::Same));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Ok((text, Port::Same)) };
    let parsed = if let Some(offset) = port.strip_prefix('+') {
        offset.parse::<u16>().ok().map(|offset| Port::Offset(offset.into()))
    } else if let Some(offset) = port.strip_prefix('-') {
        offset.parse::<u16>().ok().map(|offset| Port::Offset(-i32::from(offset)))
    } else if port.is_empty() {
        Some(Port::Same)
    } else {
        port.parse::<u16>().ok().map(|port| if port == 0 { Port::Same } else { Port::Fixed(port) })
    };
    match parsed {
        Some(port) => Ok((host, port)),
        None => Err(format!("{port:?} is no port: write the number")),
    }
}

/// HAProxy takes what stands behind the last colon for the port, also without brackets.
fn split_v6(text: &str) -> (&str, Port) {
    match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => match port.parse() {
            Ok(0) | Err(_) => (text, Port::Same),
            Ok(port) => (host, Port::Fixed(port)),
        },
        _ => (text, Port::Same),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_addresses() {
        let fixed = Port::Fixed;
        for (text, host, port) in [
            ("10.0.0.1:80", "10.0.0.1", fixed(80)),
            ("10.0.0.1", "10.0.0.1", Port::Same),
            ("10.0.0.1:0", "10.0.0.1", Port::Same),
            ("10.0.0.1:", "10.0.0.1", Port::Same),
            ("10.0.0.1:+1000", "10.0.0.1", Port::Offset(1000)),
            ("10.0.0.1:-1000", "10.0.0.1", Port::Offset(-1000)),
            ("ipv4@10.0.0.1:80", "10.0.0.1", fixed(80)),
            ("[2001:db8::1]:443", "2001:db8::1", fixed(443)),
            ("[2001:db8::1]", "2001:db8::1", Port::Same),
            ("2001:db8::1:443", "2001:db8::1", fixed(443)),
            ("2001:db8:0:0:0:0:0:1", "2001:db8::1", Port::Same),
            ("db-1.example.com:5432", "db-1.example.com", fixed(5432)),
            ("<DTR_REPLICA_1_IP>:80", "<DTR_REPLICA_1_IP>", fixed(80)),
        ] {
            assert_eq!(address_of(text), Ok((Host::read(host), port)), "{text}");
        }
        for text in [
            "unix@/a",
            "/run/a",
            "abns@a",
            "10.0.0.1:<PORT>",
            "10.0.0.1:99999",
            "_http._tcp.example.com",
            "udp@10.0.0.1:53",
        ] {
            assert!(address_of(text).is_err(), "{text}");
        }
    }
}
