//! The words for what the operator wants to read once.

use tracing::{debug, error, info, warn};

use super::presence::Standing;
use crate::control::{
    ANSWERS_PAST, Change, MACS_UNCHECKED, NARROW_PATH, NO_NAT_ADDRESS, PASSIVE_SET_ASIDE, PASSIVE_SPARED,
    ReplicaState, SUSPICION, UNSEEN_INTERFACE,
};

/// Each change once, with its cause.
pub(super) fn log(change: Change) {
    match change {
        Change::Replica { service, replica, address, port, from, to, reason } => {
            let (from, to_word) = (from.as_str(), to.as_str());
            match to {
                ReplicaState::Down => {
                    warn!(service, replica, %address, port, from, to = to_word, reason, "replica is down");
                }
                ReplicaState::Up | ReplicaState::Starting | ReplicaState::Draining | ReplicaState::Maint => {
                    let to = to_word;
                    info!(service, replica, %address, port, from, to, reason, "replica is {to}");
                }
            }
        }
        Change::Service { service, up: true, consequence } => info!(service, consequence, "service is up"),
        Change::Service { service, up: false, consequence } => {
            warn!(service, consequence, "no replica of the service is up");
        }
        Change::Resets { service, replica, reset: true, maint: false } => {
            warn!(service, replica, "the replica is down and its connections are reset (datapath.on_down)");
        }
        Change::Resets { service, replica, reset: true, maint: true } => {
            warn!(
                service,
                replica, "the replica is in maintenance and its connections are reset (datapath.on_down)"
            );
        }
        Change::Resets { service, replica, reset: false, maint: _ } => {
            info!(service, replica, "the replica's connections are no longer reset");
        }
        // There may be a thousand of them at once: `unasked` has the words.
        Change::Probing { .. } => {}
        Change::OwnWord { service, replica, says } => {
            // One that reports its load changes it with each probe. A change of state is told as any other.
            debug!(service, replica, says, "the replica's agent says something else than before");
        }
        Change::OwnWordFailed { service, replica, failure: Some(failure) } => {
            warn!(
                service,
                replica,
                failure,
                "the replica's agent (service.probe.agent_port) is not understood or not heard: what it said last holds"
            );
        }
        Change::OwnWordFailed { service, replica, failure: None } => {
            info!(service, replica, "the replica's agent is heard again");
        }
        Change::AnswersPast { service, replica, past: true } => {
            warn!(service, replica, "the replica {ANSWERS_PAST}");
        }
        Change::AnswersPast { service, replica, past: false } => {
            info!(service, replica, "the replica's answers come by this balancer again");
        }
        Change::Suspicion { service, reason: Some(reason) } => warn!(service, reason, "{SUSPICION}"),
        Change::Suspicion { service, reason: None } => {
            info!(service, "this balancer no longer suspects itself: probes decide again");
        }
        Change::PassiveSpared { service, replica, reason } => {
            warn!(service, replica, reason, "{PASSIVE_SPARED}");
        }
        Change::PassiveSetAside { service, reason } => warn!(service, reason, "{PASSIVE_SET_ASIDE}"),
        Change::NextHop { address, result: Ok(hop) } => {
            let mac = hop.destination_mac.map(|byte| format!("{byte:02x}")).join(":");
            info!(%address, interface = hop.interface, mac, source = %hop.source, "next hop");
        }
        Change::NextHop { address, result: Err(reason) } => warn!(%address, %reason, "no next hop"),
        Change::UnseenInterface { address, interface } => {
            warn!(%address, interface, "{UNSEEN_INTERFACE}");
        }
        Change::NarrowPath { address, mtu, ingress, ingress_mtu } => {
            warn!(%address, mtu, ingress, ingress_mtu, "{NARROW_PATH}");
        }
        Change::Macs { fit: false, count } => warn!(count, "{MACS_UNCHECKED}"),
        Change::Macs { fit: true, count } => {
            info!(count, "frames to other hosts are told from this host's again (datapath.macs)");
        }
        Change::NoNatAddress { address } => warn!(%address, "{NO_NAT_ADDRESS}"),
    }
}

/// An interface of the config that is no longer as it was.
pub(super) fn log_standing(interface: &str, standing: Standing) {
    match standing {
        Standing::Gone => error!(
            interface,
            "the interface is gone, and the datapath with it: packets of this side are not forwarded. Bring it back, and \
             the agent attaches again by itself; or take it out of `interfaces` and restart the agent"
        ),
        Standing::Bare => {
            warn!(
                interface,
                "the interface is there without the datapath, as after it was made anew; attaching to it"
            );
        }
        Standing::Served => info!(interface, "the datapath is on the interface again"),
    }
}
