//! `interfaces` and `[datapath]`: where packets are taken, and how flows are kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use dtr_lb_common::abi::MAX_NAT_ADDRESSES;

use super::address;
use super::choice::choice;
use super::field::{self, Field, Table};
use super::host_facts::HostFacts;
use super::problems::Problems;
use super::raw::{RawConfig, RawDatapath};
use super::tunnel::{self, TunnelSources};

/// How packets are taken, forwarded and remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datapath {
    /// Which hook of the kernel the programs go to.
    pub attach: Attach,
    /// How many flows are remembered; 1024 to 16 777 216.
    pub max_flows: u32,
    /// The source ports on the replicas' side; never one of the host's ephemeral ports.
    pub nat_ports: RangeInclusive<u16>,
    /// The source addresses on the replicas' side, [`MAX_NAT_ADDRESSES`] of a family at most. Where there is none of a
    /// replica's family: the address of the interface that leads there.
    pub nat_addresses: Vec<IpAddr>,
    /// The outer source addresses of packets in mode `ipip`.
    pub tunnel_sources: TunnelSources,
    /// An established flow without a packet for this long is forgotten; 1 s to 7 days.
    pub idle_timeout: Duration,
    /// Equal seeds and replicas make equal choices on every balancer.
    pub hash_seed: u64,
    /// What becomes of new flows when no replica is up.
    pub all_down: AllDown,
    /// What becomes of a replica's flows when it fails.
    pub on_down: OnDown,
    /// Whether clients have to prove their addresses before they connect.
    pub syn_challenge: SynChallenge,
    /// Which frames are taken, by the Ethernet address that they are sent to.
    pub macs: Macs,
}

choice! {
    /// Whether clients have to prove their addresses before they connect.
    pub enum SynChallenge {
        /// While a service is flooded.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Never.
        Off = "off",
    }
}

choice! {
    /// Which frames are taken, by the Ethernet address that they are sent to.
    pub enum Macs {
        /// Those of this host.
        Own = "own",
        /// All: for interfaces that get frames to other hosts and are to take them.
        Any = "any",
    }
}

choice! {
    /// Which hook of the kernel the programs are attached to.
    pub enum Attach {
        /// The fastest that the interface's driver can do.
        Auto = "auto",
        /// XDP in the driver.
        Xdp = "xdp",
        /// XDP after the driver, which every driver can do; slower.
        XdpGeneric = "xdp-generic",
        /// The TC ingress hook.
        Tc = "tc",
    }
}

choice! {
    /// What becomes of new flows when no replica of their service is up.
    pub enum AllDown {
        /// They are spread over all replicas: a probe may be wrong.
        FailOpen = "fail-open",
        /// They are answered by a reset.
        Refuse = "refuse",
    }
}

choice! {
    /// What becomes of the flows of a replica that fails.
    pub enum OnDown {
        /// Reset if it is dead, left if it answers and calls itself unhealthy.
        Auto = "auto",
        /// Reset.
        Reset = "reset",
        /// Left to end by themselves.
        Leave = "leave",
    }
}

/// Below are the ports of services, which a host does not hand out by itself.
const FIRST_NAT_PORT: u16 = 1024;
/// So few are not taken without a word: the host's own range is unusual.
const FEW_NAT_PORTS: usize = 4096;
/// A flow that has been silent for longer is one that nobody will speak on again, and the datapath's clock has to tell
/// the age of each.
const LONGEST_IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(super) fn read(raw: &RawConfig, host: &HostFacts, problems: &mut Problems<'_>) -> Option<Datapath> {
    let unwritten = RawDatapath::default();
    let table = Table::top().sub("datapath", raw.datapath.as_ref());
    let raw = raw.datapath.as_ref().map_or(&unwritten, |raw| raw.get_ref());

    let attach = table.field("attach", &raw.attach);
    let attach = attach.map_or(Some(Attach::Auto), |field| field::choice(&field, problems));
    let max_flows = table.field("max_flows", &raw.max_flows);
    let max_flows =
        max_flows.map_or(Some(1_048_576), |field| field::whole_number(&field, 1024..=16_777_216, problems));
    let nat_ports = nat_ports(&table, raw, &host.ephemeral_ports, problems);
    let nat_addresses = nat_addresses(&table, raw, problems);
    let tunnel_sources = table
        .field("tunnel_sources", &raw.tunnel_sources)
        .map_or_else(|| Some(TunnelSources::default()), |field| tunnel::read(&field, problems));
    let idle_timeout = table.field("idle_timeout", &raw.idle_timeout);
    let idle_timeout = idle_timeout.map_or(Some(Duration::from_secs(60 * 60)), |field| {
        field::duration(&field, Duration::from_secs(1)..=LONGEST_IDLE, problems)
    });
    let hash_seed = table.field("hash_seed", &raw.hash_seed);
    // TOML's integers end at i64::MAX.
    let hash_seed =
        hash_seed.map_or(Some(0), |field| field::whole_number(&field, 0..=i64::MAX.unsigned_abs(), problems));
    let all_down = table.field("all_down", &raw.all_down);
    let all_down = all_down.map_or(Some(AllDown::FailOpen), |field| field::choice(&field, problems));
    let on_down = table.field("on_down", &raw.on_down);
    let on_down = on_down.map_or(Some(OnDown::Auto), |field| field::choice(&field, problems));
    let syn_challenge = table.field("syn_challenge", &raw.syn_challenge);
    let syn_challenge =
        syn_challenge.map_or(Some(SynChallenge::Auto), |field| field::choice(&field, problems));
    let macs = table.field("macs", &raw.macs);
    let macs = macs.map_or(Some(Macs::Own), |field| field::choice(&field, problems));

    Some(Datapath {
        attach: attach?,
        max_flows: max_flows?,
        nat_ports: nat_ports?,
        nat_addresses: nat_addresses?,
        tunnel_sources: tunnel_sources?,
        idle_timeout: idle_timeout?,
        hash_seed: hash_seed?,
        all_down: all_down?,
        on_down: on_down?,
        syn_challenge: syn_challenge?,
        macs: macs?,
    })
}

pub(super) fn interfaces(raw: &RawConfig, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    // Unwritten, they are worked out by the routes: `Config::by_routes`.
    let Some(field) = Table::top().field("interfaces", &raw.interfaces) else { return Some(Vec::new()) };
    if field.value.is_empty() {
        problems.refuse(
            &field,
            "no interface to take packets from; leave the key out for those by which routes go",
        );
        return None;
    }
    let before = problems.len();
    let mut seen = HashMap::new();
    for element in field.elements() {
        if let Some(what) = not_an_interface(element.value) {
            problems.refuse(&element, what);
        } else if let Some(first) = seen.insert(element.value, element.at) {
            let line = problems.source.brief(first);
            problems.refuse(&element, format!("in the list already ({line})"));
        }
    }
    (problems.len() == before).then(|| field.elements().map(|element| element.value.clone()).collect())
}

/// The kernel's own rule: dev_valid_name() in net/core/dev.c.
fn not_an_interface(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("an empty name"),
        "." | ".." => Some("not an interface name"),
        _ if name.len() > 15 => Some("longer than the 15 bytes of an interface name"),
        _ if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) => {
            Some("an interface name has no \"/\", \":\" or space in it")
        }
        _ => None,
    }
}

fn nat_addresses(table: &Table, raw: &RawDatapath, problems: &mut Problems<'_>) -> Option<Vec<IpAddr>> {
    let Some(field) = table.field("nat_addresses", &raw.nat_addresses) else { return Some(Vec::new()) };
    if field.value.is_empty() {
        problems.refuse(&field, "an empty list; leave the key out for the interface's own address");
        return None;
    }
    let before = problems.len();
    let fields: Vec<Field<'_, String>> = field.elements().collect();
    let read = address::distinct(&fields, problems);
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        let count = read.iter().filter(|listed| listed.address.is_ipv4() == v4).count();
        if count > MAX_NAT_ADDRESSES {
            let what = format!("{count} {family} addresses, and the datapath holds {MAX_NAT_ADDRESSES}");
            problems.refuse(&field, what);
        }
    }
    (problems.len() == before).then(|| read.into_iter().map(|listed| listed.address).collect())
}

fn nat_ports(
    table: &Table,
    raw: &RawDatapath,
    ephemeral: &RangeInclusive<u16>,
    problems: &mut Problems<'_>,
) -> Option<RangeInclusive<u16>> {
    let Some(field) = table.field("nat_ports", &raw.nat_ports) else {
        let free = largest_free(ephemeral).filter(|free| free.len() >= FEW_NAT_PORTS);
        if free.is_none() {
            let overlap = overlap(&(FIRST_NAT_PORT..=u16::MAX), ephemeral).unwrap_or_default();
            problems.missing(table, "nat_ports", format!("unwritten, and there is no wide range: {overlap}"));
        }
        return free;
    };
    let ports = field
        .value
        .split_once('-')
        .and_then(|(first, last)| Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?));
    let wrong = match &ports {
        None => Some("not a range of ports".to_owned()),
        Some(ports) if ports.is_empty() => {
            Some("an empty range: its first port is above its last".to_owned())
        }
        Some(ports) if *ports.start() < FIRST_NAT_PORT => {
            Some("ports below 1024 are for services; begin at 1024 or above".to_owned())
        }
        Some(ports) => overlap(ports, ephemeral),
    };
    if let Some(wrong) = wrong {
        problems.refuse(&field, wrong);
        return None;
    }
    ports
}

/// If the host's own connections could get a port of `ports`: what to write instead.
fn overlap(ports: &RangeInclusive<u16>, ephemeral: &RangeInclusive<u16>) -> Option<String> {
    if ports.end() < ephemeral.start() || ephemeral.end() < ports.start() {
        return None;
    }
    let both = format!(
        "{}-{} overlaps the host's ephemeral ports {}-{} (sysctl net.ipv4.ip_local_port_range)",
        ports.start(),
        ports.end(),
        ephemeral.start(),
        ephemeral.end()
    );
    Some(match largest_free(ephemeral) {
        Some(free) => {
            format!("{both}; the largest range free on this host is \"{}-{}\"", free.start(), free.end())
        }
        None => {
            format!("{both}; leave ports free with sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"")
        }
    })
}

/// The default of `nat_ports`. What other connections of this host may have a port of it is in nobody's way: a packet is a
/// connection's of the balancer only if it comes from a replica's own port.
///
/// The larger of the two ranges that `ephemeral` leaves between the ports of services and the last port.
fn largest_free(ephemeral: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let below = ephemeral.start().checked_sub(1).map(|last| FIRST_NAT_PORT..=last);
    let above = ephemeral.end().checked_add(1).map(|first| first.max(FIRST_NAT_PORT)..=u16::MAX);
    [below, above].into_iter().flatten().filter(|free| !free.is_empty()).max_by_key(ExactSizeIterator::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_but_do_not_overlap_pass() {
        assert_eq!(overlap(&(10_000..=32_767), &(32_768..=60_999)), None);
        assert_eq!(overlap(&(61_000..=65_535), &(32_768..=60_999)), None);
    }

    #[test]
    fn an_overlap_names_both_ranges_and_a_free_one() {
        let cases = [
            (10_000..=32_768, 32_768..=60_999, "10000-32768", "\"1024-32767\""),
            (10_000..=32_767, 1_024..=60_999, "1024-60999", "\"61000-65535\""),
            (10_000..=32_767, 10_240..=65_535, "10240-65535", "\"1024-10239\""),
            (10_000..=32_767, 20_000..=20_000, "20000-20000", "\"20001-65535\""),
            (10_000..=32_767, 1_024..=65_535, "1024-65535", "sysctl -w"),
            (10_000..=32_767, 1..=65_535, "1-65535", "sysctl -w"),
        ];
        for (ports, ephemeral, range, instead) in cases {
            let message = overlap(&ports, &ephemeral).unwrap();
            assert!(message.contains(range) && message.contains(instead), "{message}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for name in ["eth0", "enp0s31f6", "br-0123456789ab", "bond0.100", "wg@x"] {
            assert_eq!(not_an_interface(name), None, "{name}");
        }
        for name in ["", ".", "..", "a/b", "eth0:1", "a b", "a\tb", "sixteen-bytes-xx"] {
            assert!(not_an_interface(name).is_some(), "{name}");
        }
    }
}
