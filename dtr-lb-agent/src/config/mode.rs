//! `service.mode`, and what goes together with it.

use std::net::IpAddr;

use super::choice::choice;
use super::listed::Listed;
use super::node::Field;
use super::problems::Problems;

choice! {
    /// How packets reach the replicas.
    pub enum Mode {
        /// Both addresses are rewritten. Replicas need no configuration.
        Nat = "nat",
        /// Only the destination MAC is rewritten; the replicas are on this host's segment, hold the VIP, and answer clients
        /// directly.
        Dsr = "dsr",
        /// Packets travel inside others, over any route; the replicas hold the VIP and answer clients directly.
        Ipip = "ipip",
        /// The destination is rewritten, and the client's address and port stay; the replicas' route to clients is this host.
        Dnat = "dnat",
    }
}

impl Mode {
    /// Whether the replicas hold the VIP and answer clients directly, past the balancer.
    #[must_use]
    pub const fn direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip)
    }

    /// The rule that a VIP and a replica's address break together, if they do: a packet that keeps an address keeps its family,
    /// so that the replica has to speak the family of the VIP, or of the tunnel.
    #[must_use]
    pub fn broken_rule(self, vip: IpAddr, replica: IpAddr) -> Option<&'static str> {
        match self {
            Self::Dsr | Self::Dnat if vip.is_ipv4() != replica.is_ipv4() => {
                Some("in this mode VIPs and replicas are of one family")
            }
            Self::Ipip if vip.is_ipv6() && replica.is_ipv4() => {
                Some("in this mode an IPv6 VIP needs replicas with IPv6 addresses")
            }
            Self::Nat | Self::Dsr | Self::Ipip | Self::Dnat => None,
        }
    }
}

/// Refuses a VIP and a replica that do not go together.
pub(super) fn addresses_fit(
    field: &mut Field<'_, Mode>,
    vips: &[IpAddr],
    listed: &[Listed],
    problems: &mut Problems<'_>,
) {
    let Some(mode) = field.value.filter(|_| field.node.is_some()) else { return };
    for vip in vips {
        for address in listed.iter().filter_map(|listed| listed.host.address()) {
            if let Some(rule) = mode.broken_rule(*vip, address) {
                let what = format!(
                    "VIP {vip} and replica {address} do not go together: {rule}; split the service by family, or take \"nat\""
                );
                // The first of many.
                return field.refuse(what, problems);
            }
        }
    }
}

/// Refuses a `replica_port` that a packet cannot get without NAT. `port` is the service's.
pub(super) fn port_fits(
    mode: Mode,
    port: u16,
    replica_port: &mut Field<'_, u16>,
    problems: &mut Problems<'_>,
) {
    if mode.direct() && replica_port.value.is_some_and(|replica_port| replica_port != port) {
        let what = format!(
            "mode = \"{mode}\" does not change ports, so that it can only be the service's, {port}; leave the key out, or \
             take \"nat\" or \"dnat\""
        );
        replica_port.refuse(what, problems);
    }
}
