//! The log lines of changes. Each change is one line, with its name as `event` ([`Change::event`]).
//!
//! A change of a replica's state has all its facts in that line: `service`, `replica`, `address`, `port`, `from`, `to`, `cause` and
//! `reason`, `after` (how long it was in `from`), `replicas_left` (of the service, up), `connections` (that it has, by the last walk
//! through the flow table; left out where they are not known) and `reset` (whether these are reset). Where the passive check ejects it:
//! `refused`, `unanswered`, `clients` and `networks`. Where somebody has ordered it: `uid` and `user`, or `token` and `peer`.
//!
//! A line with an `event` is an event for whoever asks later, too ([`crate::events`]).

use std::{net::IpAddr, time::Duration};

use tracing::{debug, error, info, warn};

use super::presence::InterfaceState;
use crate::{
    control::{
        ANSWERS_PAST, Change, Control, MACS_UNCHECKED, NARROW_PATH, NO_NAT_ADDRESS, PASSIVE_SET_ASIDE,
        PASSIVE_SPARED, ReplicaChange, ReplicaState, SUSPICION, UNSEEN_INTERFACE,
    },
    datapath::{Census, Meter},
    events::{By, ByFields},
};

/// Each change once, with its cause; of replicas, with the connections that they have.
pub(super) fn log_all(changes: Vec<Change>, control: &Control, meter: &Meter, census: Option<&Census>) {
    log_all_by(None, changes, control, meter, census);
}

/// The same of what somebody has ordered.
pub(super) fn log_all_by(
    by: Option<&By>,
    changes: Vec<Change>,
    control: &Control,
    meter: &Meter,
    census: Option<&Census>,
) {
    for change in changes {
        let connections = match &change {
            Change::Replica(ReplicaChange { service, address, port, .. })
            | Change::Resets { service, address, port, .. } => {
                connections(control, meter, census, (service, *address, *port))
            }
            _ => None,
        };
        log_counted(by, change, connections);
    }
}

/// Each change once, with its cause.
pub(super) fn log(change: Change) {
    log_counted(None, change, None);
}

/// What another file (`cause` is `reload`), or another answer of DNS (`dns`), has changed. What an order changes has a line of its
/// own.
pub(super) fn log_differences(differences: &[String], cause: &str, by: Option<&By>) {
    let ByFields { uid, user, token, peer } = By::fields(by);
    for difference in differences {
        info!(
            event = "config_changed",
            change = difference,
            cause,
            uid,
            user,
            token,
            peer,
            "the config has changed"
        );
    }
}

/// Those of a replica of a service that may still carry data; `None` where they cannot be read, or nobody has counted yet.
fn connections(
    control: &Control,
    meter: &Meter,
    census: Option<&Census>,
    (service, address, port): (&str, IpAddr, u16),
) -> Option<u64> {
    let census = census?;
    let service = control.config().services.iter().find(|known| known.name == service)?;
    let of = |vip: &IpAddr| {
        let counted = meter.replica(*vip, service.port, address, port, census);
        counted.ok().map(|(_, flows)| flows)
    };
    service.vips.iter().map(of).sum()
}

fn log_counted(by: Option<&By>, change: Change, connections: Option<u64>) {
    let event = change.event();
    match change {
        Change::Replica(change) => log_state(event, by, change, connections),
        Change::Confirmed { service, replica, reason } => {
            debug!(event, service, replica, reason, "probes confirm that the replica is down");
        }
        Change::Resets { service, replica, address, port, reset: true, reason } => {
            info!(
                event, service, replica, %address, port, reason, connections, reset = true,
                "the replica's connections are reset (datapath.on_down)"
            );
        }
        Change::Resets { service, replica, address, port, reset: false, reason } => {
            info!(
                event, service, replica, %address, port, reason, connections, reset = false,
                "the replica's connections are no longer reset"
            );
        }
        Change::Service { service, up: true, consequence } => {
            info!(event, service, consequence, "service is up");
        }
        Change::Service { service, up: false, consequence } => {
            warn!(event, service, consequence, "no replica of the service is up");
        }
        // There may be a thousand of them at once: `local_failures` has the words.
        Change::Probing { .. } => {}
        Change::AgentCheck { service, replica, says } => {
            // One that reports its load changes it with each probe. A change of state has a line of its own.
            debug!(event, service, replica, says, "the replica's agent says something else than before");
        }
        Change::AgentCheckFailed { service, replica, failure: Some(failure) } => {
            warn!(
                event,
                service,
                replica,
                failure,
                "the replica's agent (service.probe.agent_port) is not understood or not heard: what it said last holds"
            );
        }
        Change::AgentCheckFailed { service, replica, failure: None } => {
            info!(event, service, replica, "the replica's agent is heard again");
        }
        Change::AnswersPast { service, replica, past: true } => {
            warn!(event, service, replica, "the replica {ANSWERS_PAST}");
        }
        Change::AnswersPast { service, replica, past: false } => {
            info!(event, service, replica, "the replica's answers come by this balancer again");
        }
        Change::Suspicion { service, reason: Some(reason) } => {
            warn!(event, service, reason, "{SUSPICION}");
        }
        Change::Suspicion { service, reason: None } => {
            info!(event, service, "this balancer no longer suspects itself: probes decide again");
        }
        Change::PassiveSpared { service, replica, reason } => {
            warn!(event, service, replica, reason, "{PASSIVE_SPARED}");
        }
        Change::PassiveSetAside { service, reason } => {
            warn!(event, service, reason, "{PASSIVE_SET_ASIDE}");
        }
        Change::NextHop { address, result: Ok(hop) } => {
            let mac = hop.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
            info!(event, %address, interface = hop.interface, mac, source = %hop.source, "next hop");
        }
        Change::NextHop { address, result: Err(reason) } => warn!(event, %address, %reason, "no next hop"),
        Change::UnseenInterface { address, interface } => {
            warn!(event, %address, interface, "{UNSEEN_INTERFACE}");
        }
        Change::NarrowPath { address, mtu, ingress, ingress_mtu } => {
            warn!(event, %address, mtu, ingress, ingress_mtu, "{NARROW_PATH}");
        }
        Change::Macs { fit: false, count } => warn!(event, count, "{MACS_UNCHECKED}"),
        Change::Macs { fit: true, count } => {
            info!(event, count, "frames to other hosts are told from this host's again (datapath.macs)");
        }
        Change::NoNatAddress { address } => warn!(event, %address, "{NO_NAT_ADDRESS}"),
    }
}

/// The line of a change of a replica's state.
fn log_state(event: &str, by: Option<&By>, change: ReplicaChange, connections: Option<u64>) {
    let ReplicaChange {
        service,
        replica,
        address,
        port,
        from,
        to,
        cause,
        reason,
        after,
        replicas_left,
        reset,
        evidence,
    } = change;
    let ByFields { uid, user, token, peer } = By::fields(by);
    let after = humantime::format_duration(rounded(after)).to_string();
    // The level of an event cannot be a variable.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                event,
                service,
                replica,
                %address,
                port,
                from = from.as_str(),
                to = to.as_str(),
                cause = cause.as_str(),
                reason,
                after,
                replicas_left,
                connections,
                reset,
                refused = evidence.map(|evidence| evidence.refused),
                unanswered = evidence.map(|evidence| evidence.unanswered),
                clients = evidence.map(|evidence| evidence.clients),
                networks = evidence.map(|evidence| evidence.networks),
                uid,
                user,
                token,
                peer,
                "replica is {to}"
            )
        };
    }
    match to {
        ReplicaState::Down => line!(warn),
        ReplicaState::Starting | ReplicaState::Up | ReplicaState::Draining | ReplicaState::Maint => {
            line!(info);
        }
    }
}

/// Milliseconds say something of a moment, and nothing of a day.
fn rounded(span: Duration) -> Duration {
    if span < Duration::from_secs(10) {
        Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(span.as_secs())
    }
}

/// An interface of the config that is no longer as it was.
pub(super) fn log_interface(interface: &str, state: InterfaceState) {
    match state {
        InterfaceState::Gone => error!(
            event = "interface_gone",
            interface,
            "the interface is gone, and the datapath with it: packets of this side are not forwarded. Bring it back, and \
             the agent attaches again by itself; or take it out of `interfaces` and restart the agent"
        ),
        InterfaceState::Bare => {
            warn!(
                event = "interface_bare",
                interface,
                "the interface is there without the datapath, as after it was made anew; attaching to it"
            );
        }
        InterfaceState::Served => {
            info!(event = "interface_served", interface, "the datapath is on the interface again");
        }
    }
}

#[cfg(test)]
mod tests;
