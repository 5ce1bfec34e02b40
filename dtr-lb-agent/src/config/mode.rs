//! `service.mode`, and what goes together with it.

use std::net::IpAddr;

use super::address::Vip;
use super::choice::choice;
use super::field::Table;
use super::listed::Listed;
use super::problems::Problems;
use super::raw::RawService;

choice! {
    /// How packets reach the replicas.
    pub enum Mode {
        /// Both addresses are rewritten; nothing is to be configured on the replicas.
        Nat = "nat",
        /// Only the destination MAC is; the replicas hold the VIP and answer the client directly.
        Dsr = "dsr",
        /// The packet travels inside another; the replicas hold the VIP and answer the client directly.
        Ipip = "ipip",
    }
}

impl Mode {
    /// Whether replicas answer clients directly, past the balancer.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip)
    }

    /// The rule that a VIP and a replica's address break together, if they do: without NAT a packet keeps its addresses, so
    /// that the replica has to speak the family of the VIP, or of the tunnel.
    #[must_use]
    pub fn broken_rule(self, vip: IpAddr, replica: IpAddr) -> Option<&'static str> {
        match self {
            Self::Dsr if vip.is_ipv4() != replica.is_ipv4() => {
                Some("in this mode VIPs and replicas are of one family")
            }
            Self::Ipip if vip.is_ipv6() && replica.is_ipv4() => {
                Some("in this mode an IPv6 VIP needs replicas with IPv6 addresses")
            }
            Self::Nat | Self::Dsr | Self::Ipip => None,
        }
    }
}

/// Refuses a VIP and a replica that do not go together.
pub(super) fn addresses_fit(
    table: &Table,
    raw: &RawService,
    mode: Mode,
    vips: &[Vip],
    listed: &[Listed],
    problems: &mut Problems<'_>,
) {
    let Some(field) = table.field("mode", &raw.mode) else { return };
    for vip in vips {
        for address in listed.iter().filter_map(|listed| listed.host.address()) {
            if let Some(rule) = mode.broken_rule(vip.address, address) {
                let what = format!(
                    "VIP {} and replica {address} do not go together: {rule}; split the service by family, or take \"nat\"",
                    vip.address
                );
                // The first of many.
                return problems.refuse(&field, what);
            }
        }
    }
}

/// Refuses a `replica_port` that a packet cannot get without NAT. `port` is the service's.
pub(super) fn port_fits(table: &Table, raw: &RawService, mode: Mode, port: u16, problems: &mut Problems<'_>) {
    let Some(field) = table.field("replica_port", &raw.replica_port) else { return };
    match mode {
        Mode::Dsr | Mode::Ipip if *field.value != i64::from(port) => {
            let what = format!(
                "mode = \"{mode}\" does not change ports, so that it can only be the service's, {port}; leave the key out, \
                 or take \"nat\""
            );
            problems.refuse(&field, what);
        }
        Mode::Nat | Mode::Dsr | Mode::Ipip => {}
    }
}
