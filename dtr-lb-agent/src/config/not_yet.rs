//! What the config can say and this version cannot do. Such a key is refused: ignoring it would leave an operator
//! with a balancer that does something else than its config says.
//!
//! The gate is here and nowhere else. A version that brings a feature deletes its entry, and the compiler then names
//! the places that asked for it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::datapath::OnDown;
use super::service::{Affinity, Mode};

/// A feature that is not here yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotYet {
    feature: &'static str,
    instead: &'static str,
}

impl fmt::Display for NotYet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, instead } = self;
        let version = env!("CARGO_PKG_VERSION");
        write!(out, "{feature} is not in this version of dtr-lb ({version}); {instead}")
    }
}

const fn not_yet(feature: &'static str, instead: &'static str) -> Option<NotYet> {
    Some(NotYet { feature, instead })
}

pub(super) fn address(address: IpAddr) -> Option<NotYet> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(_) => not_yet("IPv6", "write an IPv4 address"),
    }
}

pub(super) fn replica_host_name() -> Option<NotYet> {
    not_yet("a replica found by its host name", "write its IPv4 address")
}

pub(super) fn mode(mode: Mode) -> Option<NotYet> {
    const INSTEAD: &str = "write mode = \"nat\", or leave the key out";
    match mode {
        Mode::Nat => None,
        Mode::Dsr => not_yet("direct server return", INSTEAD),
        Mode::Ipip => not_yet("forwarding over IP-in-IP", INSTEAD),
    }
}

pub(super) fn affinity(affinity: Affinity) -> Option<NotYet> {
    match affinity {
        Affinity::None => None,
        Affinity::SourceIp => {
            not_yet("affinity by source address", "write affinity = \"none\", or leave the key out")
        }
    }
}

pub(super) fn max_fails(fails: u32) -> Option<NotYet> {
    if fails == 0 {
        return None;
    }
    not_yet("the passive check", "write max_fails = 0, or leave the key out; probes find failed replicas")
}

pub(super) fn fail_timeout() -> Option<NotYet> {
    not_yet("the passive check", "leave the key out; probes find failed replicas")
}

pub(super) fn on_down(action: OnDown) -> Option<NotYet> {
    match action {
        OnDown::Leave => None,
        OnDown::Auto | OnDown::Reset => not_yet(
            "resetting the flows of a failed replica",
            "write on_down = \"leave\", or leave the key out, which means the same in this version",
        ),
    }
}

pub(super) fn slow_start(ramp: Duration) -> Option<NotYet> {
    if ramp.is_zero() {
        return None;
    }
    not_yet("a slow start", "write slow_start = \"0s\", or leave the key out")
}

pub(super) fn http(listen: &str) -> Option<NotYet> {
    if listen.is_empty() {
        return None;
    }
    not_yet("the HTTP side of the agent", "write http = \"\", or leave the key out")
}

pub(super) fn admin_token_file(path: &str) -> Option<NotYet> {
    if path.is_empty() {
        return None;
    }
    not_yet("the HTTP side of the agent", "write admin_token_file = \"\", or leave the key out")
}

/// `everyone`: some network of the list holds all IPv4 addresses.
pub(super) fn allow(everyone: bool) -> Option<NotYet> {
    if everyone {
        return None;
    }
    not_yet(
        "limiting who may connect",
        "write allow = [\"0.0.0.0/0\"], or leave the key out, and limit it in the firewall of the replicas' network",
    )
}

pub(super) fn deny(nobody: bool) -> Option<NotYet> {
    if nobody {
        return None;
    }
    not_yet(
        "limiting who may connect",
        "write deny = [], or leave the key out, and limit it in a firewall upstream",
    )
}
