//! `virtual_server_group`: addresses and ports that have their servers in common.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    ops::RangeInclusive,
};

use ipnet::IpNet;

use super::tree::Node;
use crate::{
    job::{Host, Said},
    report::{At, Ledger},
};

/// More addresses than this are no VIPs of one service.
const MOST: u128 = 64;

/// An address, and its port if it has one.
pub(super) type Entry = (Host, Option<u16>);

#[derive(Debug, Default)]
pub(super) struct Groups {
    entries: HashMap<String, Vec<Said<Entry>>>,
    used: HashSet<String>,
}

impl Groups {
    /// Reads all groups, of which services may use some.
    pub(super) fn of(roots: &[Node], ledger: &mut Ledger) -> Self {
        let mut groups = Self::default();
        let servers = roots.iter().filter(|node| node.name == "virtual_server");
        groups.used = servers
            .filter(|node| node.arg(0) == Some("group"))
            .filter_map(|node| node.arg(1).map(str::to_owned))
            .collect();
        for node in roots.iter().filter(|node| node.name == "virtual_server_group") {
            let name = node.arg(0).unwrap_or_default().to_owned();
            ledger.taken(node.at, "");
            let list = groups.entries.entry(name).or_default();
            node.children.iter().for_each(|line| entry(line, list, ledger));
        }
        groups
    }

    /// What is in a group.
    pub(super) fn get(&self, name: &str) -> Option<&[Said<Entry>]> {
        self.entries.get(name).map(Vec::as_slice)
    }
}

/// Says that a group has no servers.
pub(super) fn tell_unused(node: &Node, groups: &Groups, ledger: &mut Ledger) {
    if !node.arg(0).is_some_and(|name| groups.used.contains(name)) {
        ledger.left_out(node.at, "no virtual_server uses this group");
    }
}

fn entry(line: &Node, list: &mut Vec<Said<Entry>>, ledger: &mut Ledger) {
    if line.name == "fwmark" {
        ledger.left_out_that_decides(line.at, FWMARK);
        return;
    }
    match hosts(&line.name) {
        Ok(hosts) if list.len() + hosts.len() > MOST as usize => {
            ledger.left_out_that_decides(line.at, too_many());
        }
        Ok(hosts) => {
            let port = port(line.arg(0), line.at, ledger);
            ledger.taken(line.at, "");
            list.extend(hosts.into_iter().map(|host| Said { value: (host, port), at: line.at }));
        }
        Err(why) => ledger.left_out_that_decides(line.at, why),
    }
}

/// Why a firewall mark says nothing here.
pub(super) const FWMARK: &str =
    "a firewall mark does not say which connections it is about: write a [[service]] with their VIP and port";

/// A port from 1 on; none is 0, or nothing.
pub(super) fn port(text: Option<&str>, at: At, ledger: &mut Ledger) -> Option<u16> {
    let text = text?;
    match text.parse::<u16>() {
        Ok(port) => Some(port).filter(|port| *port != 0),
        Err(_) => {
            ledger.fault_that_decides(at, format!("{text:?} is no port"));
            None
        }
    }
}

fn too_many() -> String {
    format!("more than {MOST} addresses are not made VIPs of: name those that are needed")
}

/// The addresses of `ADDRESS`, `ADDRESS-LAST`, `ADDRESS-ADDRESS`, `ADDRESS/LENGTH`.
fn hosts(text: &str) -> Result<Vec<Host>, String> {
    let range = range(text);
    let Some(range) = range else { return Ok(vec![Host::read(text)]) };
    let (first, last) = range.into_inner();
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let count = number(last).checked_sub(number(first)).ok_or("the range ends before it begins")?;
    if count >= MOST {
        return Err(too_many());
    }
    let address = |offset: u128| {
        let number = number(first) + offset;
        match (first, u32::try_from(number)) {
            (IpAddr::V4(_), Ok(number)) => Host::Address(IpAddr::V4(number.into())),
            _ => Host::Address(IpAddr::V6(number.into())),
        }
    };
    Ok((0..=count).map(address).collect())
}

/// `None`: it is one address, or none.
fn range(text: &str) -> Option<RangeInclusive<IpAddr>> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(net.network()..=net.broadcast());
    }
    let (first, last) = text.split_once('-')?;
    let first: IpAddr = first.parse().ok()?;
    if let Ok(last) = last.parse::<IpAddr>() {
        return (last.is_ipv4() == first.is_ipv4()).then_some(first..=last);
    }
    let last = match first {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, last.parse().ok()?])
        }
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            segments[7] = u16::from_str_radix(last, 16).ok()?;
            IpAddr::from(segments)
        }
    };
    Some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1-3", "192.0.2.1 192.0.2.2 192.0.2.3"),
            ("192.0.2.255-192.0.3.1", "192.0.2.255 192.0.3.0 192.0.3.1"),
            ("192.0.2.8/31", "192.0.2.8 192.0.2.9"),
            ("2001:db8::a-c", "2001:db8::a 2001:db8::b 2001:db8::c"),
        ] {
            let hosts: Vec<_> = hosts(text)
                .unwrap()
                .into_iter()
                .map(|host| match host {
                    Host::Address(address) => address.to_string(),
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(hosts.join(" "), expected, "{text}");
        }
        assert!(hosts("192.0.2.9-3").is_err());
        assert!(hosts("10.0.0.0/8").is_err());
        assert!(hosts("::/0").is_err());
        assert_eq!(hosts("<VIP>").unwrap(), [Host::Placeholder("<VIP>".to_owned())]);
    }
}
