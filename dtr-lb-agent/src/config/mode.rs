//! `service.mode`, and what goes together with it.

use super::address::Vip;
use super::choice::choice;
use super::field::Table;
use super::problems::Problems;
use super::raw::RawService;
use super::replica::Replica;

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

/// Refuses a VIP and a replica that do not go together: without NAT a packet keeps its addresses, so that the replica has
/// to speak the family of the VIP, or of the tunnel.
pub(super) fn addresses_fit(
    table: &Table,
    raw: &RawService,
    mode: Mode,
    vips: &[Vip],
    replicas: &[Replica],
    problems: &mut Problems<'_>,
) {
    let Some(field) = table.field("mode", &raw.mode) else { return };
    let broken_rule = |vip: &Vip, replica: &Replica| match mode {
        Mode::Dsr if vip.address.is_ipv4() != replica.address.is_ipv4() => {
            Some("in this mode VIPs and replicas are of one family")
        }
        Mode::Ipip if vip.address.is_ipv6() && replica.address.is_ipv4() => {
            Some("in this mode an IPv6 VIP needs replicas with IPv6 addresses")
        }
        Mode::Nat | Mode::Dsr | Mode::Ipip => None,
    };
    for vip in vips {
        for replica in replicas {
            if let Some(rule) = broken_rule(vip, replica) {
                let what = format!(
                    "VIP {} and replica {} do not go together: {rule}; split the service by family, or take \"nat\"",
                    vip.address, replica.address
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
