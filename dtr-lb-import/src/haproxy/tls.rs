//! TLS that HAProxy ends, begins, or wraps around what clients send.

use super::{bind::Binds, farm::Farm};
use crate::report::Ledger;

/// Ports at which clients speak TLS from the first byte on.
fn is_tls_port(port: u16) -> bool {
    const PORTS: [u16; 10] = [636, 853, 989, 990, 993, 995, 2376, 5061, 5671, 6514];
    port % 1000 == 443 || PORTS.contains(&port) || port == 465 || port == 8883
}

/// What it means that HAProxy speaks TLS to servers.
pub(super) fn tell(farm: &Farm, binds: &Binds, ledger: &mut Ledger) {
    let speaks_tls = binds.list.iter().any(|bind| is_tls_port(*bind.value.ports.start()));
    if farm.tls.is_empty() {
        for at in &binds.ends_tls {
            ledger.left_out_that_decides(*at, "the servers speak no TLS at their port, and clients do: write the port at which they do as replica_port");
        }
    }
    for at in &farm.tls {
        if !binds.ends_tls.is_empty() {
            ledger.differs(
                *at,
                "`ssl`: clients speak TLS with the server itself, where HAProxy ends it and begins it anew",
            );
        } else if speaks_tls {
            ledger.fault(
                *at,
                "`ssl` wraps clients' connections in TLS, and theirs is TLS already: TLS within TLS, which the servers do not understand. \
                 dtr-lb passes on what clients send; its check speaks TLS (HAProxy's word for that alone is `check-ssl`)",
            );
        } else {
            ledger.left_out_that_decides(
                *at,
                "`ssl`: HAProxy speaks TLS to the server for clients who speak none, and dtr-lb passes on what they send: clients have to speak TLS themselves",
            );
        }
    }
}
