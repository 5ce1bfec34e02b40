//! What IPv6 has of its own, where a VIP or a replica is of it: addresses that another host has, and settings of interfaces
//! that take it away.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Settings, finding::Findings};
use crate::config::Config;

/// Flags of an address (include/uapi/linux/if_addr.h).
const TENTATIVE: u8 = 0x40;
const DAD_FAILED: u8 = 0x08;

const KEYS: [&str; 3] = ["disable_ipv6", "forwarding", "accept_ra"];

/// Whether a VIP or a replica is of it.
fn wanted(config: &Config) -> bool {
    let vips = config.services.iter().flat_map(|service| &service.vips).copied();
    let replicas = config.services.iter().flat_map(|service| &service.replicas);
    vips.chain(replicas.map(|replica| replica.address)).any(|address| address.is_ipv6())
}

/// The kernel's settings that are looked at.
pub(super) fn settings(config: &Config) -> impl Iterator<Item = String> {
    let interfaces = config.interfaces.iter().filter(|_| wanted(config));
    interfaces.flat_map(|interface| KEYS.map(|key| path(interface, key)))
}

fn path(interface: &str, key: &str) -> String {
    format!("net/ipv6/conf/{interface}/{key}")
}

impl Findings {
    /// All that concerns IPv6. `table`: /proc/net/if_inet6.
    pub(super) fn ipv6(&mut self, config: &Config, settings: &Settings, table: &str) {
        if !wanted(config) {
            return;
        }
        for interface in &config.interfaces {
            self.settings(interface, settings);
        }
        let vips: BTreeSet<_> = config.services.iter().flat_map(|service| &service.vips).copied().collect();
        // A host without IPv6 has no such file; the interfaces have told it.
        self.duplicates(&vips, table);
    }

    fn settings(&mut self, interface: &str, settings: &Settings) {
        let value = |key: &str| settings.number(&path(interface, key));
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
