//! Services in mode `dsr` or `ipip`: the usual mistakes that this host can see.
//!
//! The functions of [`Report`] judge facts; [`Report::direct`] gathers them.

use std::{collections::BTreeSet, fs, net::IpAddr, time::Duration};

use futures::future::join_all;
use rtnetlink::Handle;

use super::finding::Report;
use crate::{
    agent::BEHIND_GENERIC_XDP,
    config::{Attach, Config, Mode, Scheme, Service},
    control::NextHops,
    datapath::{DatapathError, requirements},
    interface::Seen,
    next_hop::{NextHop, NextHopError, gateway, who_has},
};

/// How long another host may take to answer for a VIP. On a segment it takes a millisecond.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// Pairs of an interface and a VIP that are asked about at most.
const MOST_ASKED: usize = 64;

/// Bytes of the header of a packet that others travel in.
const fn tunnel_header(replica: IpAddr) -> u32 {
    match replica {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// The services whose replicas answer clients directly.
fn direct(config: &Config) -> impl Iterator<Item = &Service> {
    config.services.iter().filter(|service| service.mode.direct())
}

impl Report {
    /// All that concerns such services.
    pub(super) async fn direct(
        &mut self,
        config: &Config,
        handle: &Handle,
        next_hops: &NextHops,
        seen: &[Seen],
    ) {
        if direct(config).next().is_none() {
            return;
        }
        self.steering(config, requirements::check_probing());
        self.probed_ports(config);
        self.tunnels(config, next_hops, seen);
        let on_segment = direct(config).filter(|service| service.mode == Mode::Dsr);
        for address in on_segment.flat_map(addresses).collect::<BTreeSet<_>>() {
            // Without a route it has been told before.
            if let Ok(Some(router)) = gateway(handle, address).await {
                self.behind_router(address, router);
            }
        }
        if config.interfaces.len() > 1 {
            self.reverse_path(&config.interfaces, |name| {
                fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter")).ok()
            });
        }
    }

    /// Whether others answer for the VIPs, of whichever mode.
    pub(super) async fn vips_of_others(
        &mut self,
        config: &Config,
        handle: &Handle,
        next_hops: &NextHops,
        seen: &[Seen],
    ) {
        let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).copied().collect();
        let up = |seen: &Seen| Some((seen.name.clone(), seen.link.as_ref().filter(|link| link.up)?.index));
        let pairs =
            seen.iter().filter_map(up).flat_map(|link| vips.iter().map(move |vip| (link.clone(), *vip)));
        let asked = pairs.take(MOST_ASKED).map(|((name, index), vip)| async move {
            (name, vip, who_has(handle, index, vip, ANSWER_LIMIT).await)
        });
        for (interface, vip, answer) in join_all(asked).await {
            match answer {
                Ok(Some(mac)) => {
                    let is_direct = direct(config).any(|service| service.vips.contains(&vip));
                    self.answered(vip, is_direct, &interface, mac, next_hops);
                }
                Ok(None) => {}
                Err(error) => return self.fact("VIPs", not_asked(&error)),
            }
        }
    }

    /// Whether the probes can be steered. `kernel`: whether this one can.
    fn steering(&mut self, config: &Config, kernel: Result<(), DatapathError>) {
        if direct(config).all(|service| service.probe.scheme == Scheme::None) {
            return;
        }
        kernel.err().into_iter().for_each(|error| self.error("kernel", error));
        if config.datapath.attach == Attach::XdpGeneric {
            self.error("datapath.attach", BEHIND_GENERIC_XDP);
        }
    }

    /// A probe of another port than the service's.
    fn probed_ports(&mut self, config: &Config) {
        for service in direct(config) {
            let probe = &service.probe;
            if probe.scheme != Scheme::None && probe.port != service.port {
                self.warn(format!("service {}", service.name), format!(
                    "service {}, mode {}: its probe asks port {} of the VIP, clients ask port {}; the probe does not prove \
                     that replicas serve that one; leave service.probe.port out unless this is meant",
                    service.name, service.mode, probe.port, service.port
                ));
            }
        }
    }

    /// Packets that no longer fit when they travel in others.
    fn tunnels(&mut self, config: &Config, next_hops: &NextHops, seen: &[Seen]) {
        let mtus = seen.iter().filter_map(|seen| Some((seen.link.as_ref()?.mtu, &seen.name)));
        let Some((ingress_mtu, ingress)) = mtus.max() else { return };
        let replicas = direct(config).filter(|service| service.mode == Mode::Ipip).flat_map(addresses);
        for address in replicas.collect::<BTreeSet<_>>() {
            let Some(Ok(NextHop { mtu, .. })) = next_hops.get(&address) else { continue };
            let header = tunnel_header(address);
            let room = mtu.saturating_sub(header);
            if room < ingress_mtu {
                self.warn(format!("replica {address}"), format!(
                    "replica {address}, mode ipip: packets travel in others, which takes {header} of the {mtu} bytes of the \
                     way; clients' packets of more than {room} bytes, which interface {ingress} (MTU {ingress_mtu}) lets in, \
                     are answered by ICMP \"too big\", and uploads of clients that no ICMP reaches stall; raise the MTU of \
                     the way to the replica to {}, or lower the MSS that replicas announce (`ip route change … advmss`)",
                    ingress_mtu + header
                ));
            }
        }
    }

    /// A replica in mode dsr that is not on this host's segment.
    fn behind_router(&mut self, address: IpAddr, router: IpAddr) {
        self.warn(format!("replica {address}"), format!(
            "replica {address}, mode dsr: it is reached by the router {router}, but packets keep the VIP as their destination, \
             so that the router sends them by its own routes, which lead back here; put the replica on a segment with this \
             host, or use mode \"ipip\""
        ));
    }

    /// Another host that answers for a VIP. `is_direct`: its replicas are to have it.
    fn answered(
        &mut self,
        vip: IpAddr,
        is_direct: bool,
        interface: &str,
        mac: [u8; 6],
        next_hops: &NextHops,
    ) {
        let of = |(address, hop): (&IpAddr, &Result<NextHop, NextHopError>)| {
            hop.as_ref().is_ok_and(|hop| hop.destination_mac == mac).then(|| address.to_string())
        };
        let replicas: Vec<_> = next_hops.iter().filter_map(of).collect();
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let how = if vip.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let whose = match &replicas[..] {
            [] => "another host".to_owned(),
            replicas => format!("replica {}", replicas.join(", ")),
        };
        let remedy = match (replicas.is_empty() || !is_direct, vip) {
            (true, _) => "take the VIP off that host, unless it is a balancer that stands by for this one",
            (false, IpAddr::V4(_)) => {
                "put the VIP on the replica's lo, with net.ipv4.conf.all.arp_ignore = 1 and arp_announce = 2 \
                 (docs/dsr.md)"
            }
            (false, IpAddr::V6(_)) => {
                "put the VIP on the replica's lo, where it is not answered for, and off its other interfaces \
                 (docs/dsr.md)"
            }
        };
        self.warn(format!("VIP {vip}"), format!(
            "the VIP {vip} is answered by {how} on interface {interface} by {whose} (MAC {mac}): clients whose router \
             believes it pass this host by; {remedy}"
        ));
    }

    /// The kernel's filter of packets that come in by another way than answers would go. `read` gives the tunable of an
    /// interface.
    fn reverse_path(&mut self, interfaces: &[String], read: impl Fn(&str) -> Option<String>) {
        let value =
            |name: &str| read(name).and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or_default();
        let all = value("all");
        // The larger of the two counts (Documentation/networking/ip-sysctl.rst).
        for name in interfaces.iter().filter(|name| value(name).max(all) == 1) {
            self.warn(format!("interface {name}"), format!(
                "interface {name} drops packets whose source is reached by another interface (rp_filter = 1): probes in mode \
                 dsr or ipip fail if a replica's answer comes in by it and the way to the replica is another; if that may \
                 be, set net.ipv4.conf.all.rp_filter and net.ipv4.conf.{name}.rp_filter to 2"
            ));
        }
    }
}

fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.replicas.iter().map(|replica| replica.address)
}

fn not_asked(error: &NextHopError) -> String {
    format!("whether others answer for a VIP was not looked at: {error}")
}

#[cfg(test)]
mod tests;
