//! `interfaces` and `[datapath]`: where packets are taken, and how flows are kept.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use dtr_lb_common::abi::MAX_NAT_ADDRESSES;

use super::address::unicast;
use super::choice::choice;
use super::host_facts::HostFacts;
use super::key::{depends, is, table};
use super::node::Table;
use super::problems::Problems;
use super::takes::{List, SECOND, Text, WEEK, Whole, millis, word};
use super::tunnel::{SOURCES, TunnelSources};

/// Below are the ports of services, which a host does not hand out by itself.
const FIRST_NAT_PORT: u16 = 1024;
/// So few are not taken without a word: the host's own range is unusual.
const FEW_NAT_PORTS: usize = 4096;

const NAT_PORTS: Text<RangeInclusive<u16>> = Text {
    words: "\"FIRST-LAST\" within 1024 to 65535, outside the host's ephemeral range, as in \"1024-32767\"",
    parse: nat_ports,
    show: |ports| format!("{}-{}", ports.start(), ports.end()),
};

const NAT_ADDRESSES: List<IpAddr> = List::of(
    "a list of 1 to 4 IP addresses of this host for each family, each once, as in [\"10.0.0.10\"]",
    unicast,
    IpAddr::to_string,
)
.not_empty("an empty list; leave the key out for the interface's own address")
.once();

pub(super) const INTERFACES: List<String> = List::of(
    "a list of at least one interface name, each once, as in [\"eth0\"] (see `ip link`)",
    |text| not_an_interface(text).map_or_else(|| Ok(text.to_owned()), |what| Err(what.to_owned())),
    String::clone,
)
.not_empty("no interface to take packets from; leave the key out for those by which routes go")
.once();

table! {
    /// How packets are taken, forwarded and remembered.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Datapath, WrittenDatapath {
        /// The hook of the kernel that the programs are attached to.
        attach: Attach = word(), is(Attach::Auto);
        /// Connections that the flow table is for; one with an IPv6 address in it counts twice. [Memory](sizing.md#memory) is
        /// allocated at start: 256 bytes each. When the table is full, new connections are refused by a reset and open
        /// [flows](sizing.md#flows) go on.
        max_flows: u32 = Whole(1024..=16_777_216), is(1_048_576), changed by Detach;
        /// Source ports of connections to the replicas, in mode `nat`. They must not overlap the host's own (`sysctl
        /// net.ipv4.ip_local_port_range`). There have to be [enough of them](sizing.md#nat-ports) for all
        /// open connections.
        nat_ports: RangeInclusive<u16> = NAT_PORTS, depends(
            "the widest range from 1024 on beside the host's own: `\"1024-32767\"` on most", "\"1024-32767\"",
        );
        /// Source addresses of connections to the replicas. A replica gets those of its own family; where the list has none, the
        /// default holds. Each must be an address of this host, or the agent does not start.
        nat_addresses: Vec<IpAddr> = NAT_ADDRESSES, depends(
            "the source address of the host's route to the replica", "[\"10.0.0.10\"]",
        );
        /// Outer source addresses in mode `ipip`. The low 16 bits vary by flow, so that a replica's receive queues share the work;
        /// the bits between prefix and these are 0. A family that is not in the list has its default. Nothing is ever sent to them:
        /// take others if replicas filter these.
        tunnel_sources: TunnelSources = SOURCES, is(TunnelSources::default());
        /// An open connection without a packet in either direction for this long is ended: client and replica receive a RST. An
        /// upload can be silent for many minutes: keep it long.
        idle_timeout: Duration = millis(SECOND, WEEK), is(Duration::from_secs(60 * 60));
        /// Balancers with equal seed, VIPs and replicas steer a connection to the same replica.
        // TOML's integers end at i64::MAX.
        hash_seed: u64 = Whole(0..=i64::MAX.unsigned_abs()), is(0);
        /// New connections when no replica of a service is up. If no replica may be tried (all weights are 0, all are drained or in
        /// maintenance), they are refused under either.
        all_down: AllDown = word(), is(AllDown::FailOpen);
        /// Open connections of a replica that its probes find to be down.
        on_down: OnDown = word(), is(OnDown::Auto);
        /// Whether clients have to prove that they are at their addresses before they connect ([SYN
        /// floods](floods.md)).
        syn_challenge: SynChallenge = word(), is(SynChallenge::Auto);
        /// With `syn_challenge = "auto"`: a service is flooded while this many SYNs per second are followed by no handshake; in the modes
        /// `dsr` and `ipip`, where no handshake is seen to end, while ten times as many SYNs of any kind come. Services [share
        /// it](floods.md).
        // A service with ten thousand connections a second of which one in ten fails has fewer; a flood that hurts has more. Of the
        // least, a processor's part of a service's part is still more than 0, which would be "always".
        syn_flood_rate: u32 = Whole(100..=10_000_000), is(2000);
        /// Frames to which Ethernet addresses are taken.
        macs: Macs = word(), is(Macs::Own);
    }
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
        /// Those of this host, of all its interfaces (the virtual ones of VRRP among them); a new one counts after 2 s.
        Own = "own",
        /// All: for an interface that gets frames to other hosts and is to take them.
        Any = "any",
    }
}

choice! {
    /// Which hook of the kernel the programs are attached to.
    pub enum Attach {
        /// `xdp` if every interface has it, else `tc` on all of them.
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
        /// They are spread over the replicas that no probe has judged yet, else over all: a probe may be wrong.
        FailOpen = "fail-open",
        /// They are answered by a reset: clients see "connection refused".
        Refuse = "refuse",
    }
}

choice! {
    /// What becomes of the flows of a replica that fails.
    pub enum OnDown {
        /// They are reset if it is dead, and left if it answers and calls itself unhealthy.
        Auto = "auto",
        /// They are reset.
        Reset = "reset",
        /// They are left to end by themselves.
        Leave = "leave",
    }
}

pub(super) fn read(table: &Table<'_>, host: &HostFacts, problems: &mut Problems<'_>) -> Option<Datapath> {
    let mut written = WrittenDatapath::read(table, problems);
    let ephemeral = &host.ephemeral_ports;
    written.nat_ports.or(|| {
        let free = largest_free(ephemeral).filter(|free| free.len() >= FEW_NAT_PORTS);
        if free.is_none() {
            let overlap = overlap(&(FIRST_NAT_PORT..=u16::MAX), ephemeral).unwrap_or_default();
            problems.missing(table, "nat_ports", format!("unwritten, and there is no wide range: {overlap}"));
        }
        free
    });
    if written.nat_ports.node.is_some()
        && let Some(overlap) = written.nat_ports.value.as_ref().and_then(|ports| overlap(ports, ephemeral))
    {
        written.nat_ports.refuse(overlap, problems);
    }
    written.nat_addresses.or(|| Some(Vec::new()));
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        let addresses = written.nat_addresses.value.iter().flatten();
        let count = addresses.filter(|address| address.is_ipv4() == v4).count();
        if count > MAX_NAT_ADDRESSES {
            let what = format!("{count} {family} addresses, and the datapath holds {MAX_NAT_ADDRESSES}");
            written.nat_addresses.refuse(what, problems);
        }
    }
    written.finish()
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

fn nat_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let bounds = text.split_once('-');
    let ports = bounds.and_then(|(first, last)| Some(first.trim().parse().ok()?..=last.trim().parse().ok()?));
    match ports {
        None => Err("not a range of ports".to_owned()),
        Some(ports) if ports.is_empty() => Err("an empty range: its first port is above its last".to_owned()),
        Some(ports) if *ports.start() < FIRST_NAT_PORT => {
            Err("ports below 1024 are for services; begin at 1024 or above".to_owned())
        }
        Some(ports) => Ok(ports),
    }
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
