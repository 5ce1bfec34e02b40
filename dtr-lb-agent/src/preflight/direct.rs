//! Services in mode `dsr` or `ipip`: the usual mistakes that this host can see by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Settings,
    finding::{Findings, Refused},
};
use crate::config::{Attach, Config, Mode, Scheme, Service};

/// Why probes that are steered and generic XDP do not go together. For a program that takes frames in several buffers, as the
/// datapath's, generic XDP copies a frame and forgets the length of its Ethernet header (`skb_pp_cow_data` in
/// net/core/skbuff.c, seen with Linux 6.18): programs at TC behind it then see frames without that header.
const BEHIND_GENERIC_XDP: &str = "probes of services in mode \"dsr\" or \"ipip\" do not work behind generic XDP, as the kernel \
     hides Ethernet headers there; set datapath.attach to \"auto\", \"xdp\" or \"tc\", or turn the probe off \
     (service.probe.scheme = \"none\")";

/// The services whose replicas answer clients directly.
fn direct(config: &Config) -> impl Iterator<Item = &Service> {
    config.services.iter().filter(|service| service.mode.direct())
}

/// Whether a probe asks a replica at a VIP, so that its packets are to be steered.
pub(crate) fn probes_are_steered(config: &Config) -> bool {
    direct(config).any(|service| service.probe.scheme != Scheme::None)
}

/// Whether such probes and the hook of this config go together.
///
/// # Errors
/// They do not.
pub(crate) fn check_steering(config: &Config) -> Result<(), Refused> {
    let mut found = Findings::default();
    found.hook(config);
    found.refusal()
}

/// The kernel's settings that are looked at.
pub(super) fn settings(config: &Config) -> impl Iterator<Item = String> {
    let several = config.interfaces.len() > 1 && direct(config).next().is_some();
    let names = config.interfaces.iter().map(String::as_str).chain([ALL]);
    names.filter(move |_| several).map(reverse_path)
}

/// What stands for all interfaces in the kernel's settings.
const ALL: &str = "all";

fn reverse_path(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/rp_filter")
}

impl Findings {
    /// All that concerns such services. `routers`: by which replicas are reached.
    pub(super) fn direct(
        &mut self,
        config: &Config,
        routers: &BTreeMap<IpAddr, IpAddr>,
        settings: &Settings,
    ) {
        self.hook(config);
        self.probed_ports(config);
        let on_segment = direct(config).filter(|service| service.mode == Mode::Dsr);
        let replicas = on_segment.flat_map(|service| &service.replicas).map(|replica| replica.address);
        for address in replicas.collect::<BTreeSet<_>>() {
            if let Some(router) = routers.get(&address) {
                self.behind_router(address, *router);
            }
        }
        self.reverse_path(config, settings);
    }

    /// Whether the kernel can steer the probes.
    pub(super) fn steering(&mut self, config: &Config, kernel: &Result<(), String>) {
        if let (true, Err(error)) = (probes_are_steered(config), kernel) {
            self.error("kernel", error);
        }
    }

    fn hook(&mut self, config: &Config) {
        if probes_are_steered(config) && config.datapath.attach == Attach::XdpGeneric {
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

    /// A replica in mode dsr that is not on this host's segment.
    fn behind_router(&mut self, address: IpAddr, router: IpAddr) {
        self.warn(format!("replica {address}"), format!(
            "replica {address}, mode dsr: it is reached by the router {router}, but packets keep the VIP as their destination, \
             so that the router sends them by its own routes, which lead back here; put the replica on a segment with this \
             host, or use mode \"ipip\""
        ));
    }

    /// The kernel's filter of packets that come in by another way than answers would go.
    fn reverse_path(&mut self, config: &Config, settings: &Settings) {
        let value = |name: &str| settings.number(&reverse_path(name)).unwrap_or_default();
        let all = value(ALL);
        // The larger of the two counts (Documentation/networking/ip-sysctl.rst).
        for name in config.interfaces.iter().filter(|name| value(name).max(all) == 1) {
            self.warn(format!("interface {name}"), format!(
                "interface {name} drops packets whose source is reached by another interface (rp_filter = 1): probes in mode \
                 dsr or ipip fail if a replica's answer comes in by it and the way to the replica is another; if that may \
                 be, set net.ipv4.conf.all.rp_filter and net.ipv4.conf.{name}.rp_filter to 2"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
