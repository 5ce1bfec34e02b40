//! What IPv6 has of its own, where a VIP or a replica is of it: addresses that another host has, and settings of interfaces
//! that take it away.

use std::{collections::BTreeSet, fs, net::IpAddr};

use super::finding::Report;
use crate::config::Config;

/// Flags of an address (include/uapi/linux/if_addr.h).
const TENTATIVE: u8 = 0x40;
const DAD_FAILED: u8 = 0x08;

impl Report {
    /// All that concerns IPv6.
    pub(super) fn ipv6(&mut self, config: &Config) {
        let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).copied().collect();
        let replicas = config.services.iter().flat_map(|service| &service.replicas);
        let mut all = vips.iter().copied().chain(replicas.map(|replica| replica.address));
        if !all.any(|address| address.is_ipv6()) {
            return;
        }
        for interface in &config.interfaces {
            self.settings(interface, |key| {
                fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/{key}")).ok()
            });
        }
        // A host without IPv6 has no such file; the interfaces have told it.
        self.duplicates(&vips, &fs::read_to_string("/proc/net/if_inet6").unwrap_or_default());
    }

    /// `read` gives a tunable of the interface.
    fn settings(&mut self, interface: &str, read: impl Fn(&str) -> Option<String>) {
        let value = |key: &str| read(key).and_then(|text| text.trim().parse::<u8>().ok());
        match value("disable_ipv6") {
            Some(0) => {}
            Some(_) => {
                return self.warn(format!("interface {interface}"), format!(
                    "interface {interface} has IPv6 turned off; turn it on (`sysctl -w net.ipv6.conf.{interface}.disable_ipv6=0`)"
                ));
            }
            None => {
                return self.warn(format!("interface {interface}"), format!(
                    "interface {interface} has no IPv6 (net.ipv6.conf.{interface} is not there): its MTU is below 1280, or \
                     the kernel was started without IPv6; raise the one, or see to the other (ipv6.disable in /proc/cmdline)"
                ));
            }
        }
        if value("forwarding") == Some(1) && value("accept_ra") == Some(1) {
            self.warn(format!("interface {interface}"), format!(
                "interface {interface} forwards IPv6 and so takes no notice of router advertisements (accept_ra = 1): a \
                 default route that a router told runs out, and with it the way to clients. The datapath needs no forwarding; \
                 turn it off (net.ipv6.conf.{interface}.forwarding = 0), or set net.ipv6.conf.{interface}.accept_ra = 2"
            ));
        }
    }

    /// `table`: /proc/net/if_inet6, a line an address: address, index, prefix length, scope, flags, interface.
    fn duplicates(&mut self, vips: &BTreeSet<IpAddr>, table: &str) {
        for line in table.lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [address, _, _, _, flags, interface] = fields[..] else { continue };
            let (Ok(address), Ok(flags)) = (u128::from_str_radix(address, 16), u8::from_str_radix(flags, 16))
            else {
                continue;
            };
            let address = IpAddr::V6(address.into());
            if !vips.contains(&address) {
                continue;
            }
            if flags & DAD_FAILED != 0 {
                self.warn(format!("VIP {address}"), format!(
                    "the VIP {address} on {interface} is not in use: when it was added, another host answered for it \
                     (duplicate address detection); find that host (a replica must have the VIP on lo only), then \
                     `ip address del {address}/128 dev {interface}` and add it again"
                ));
            } else if flags & TENTATIVE != 0 {
                self.warn(format!("VIP {address}"), format!(
                    "the VIP {address} on {interface} does not answer yet: duplicate address detection is under way; look \
                     again in two seconds, or add VIPs with `nodad`"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
