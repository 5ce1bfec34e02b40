//! What clients may do, as the datapath is notified: from the config, and from what the host is like.

use std::collections::BTreeSet;

use dtr_lb_common::{abi::OwnMacs, wire::Mac};

use super::{Change, Control};
use crate::{
    config::{Config, Denied, Macs, Service, SynChallenge},
    datapath::{Challenge, Limits},
};

/// SYNs of a second that no handshake follows, above which the clients of a service have to prove their addresses. A service
/// with ten thousand connections a second of which one in ten fails has fewer; a flood that hurts has more.
const FLOOD: u32 = 2_000;
/// The same where replicas answer clients directly and no handshake is seen to end: SYNs of any kind.
const DIRECT_FLOOD: u32 = 10 * FLOOD;

/// A service's part of these is an eighth at least.
const LEAST_PART: u32 = 8;

pub(super) fn limits(config: &Config, service: &Service) -> Limits {
    let own = &service.limits;
    // A flood may come to all of them at once.
    let parts = (config.services.len() as u32).clamp(1, LEAST_PART);
    Limits {
        challenge: match config.datapath.syn_challenge {
            SynChallenge::Off => Challenge::Never,
            SynChallenge::Always => Challenge::Always,
            SynChallenge::Auto if service.mode.direct() => Challenge::Above(DIRECT_FLOOD / parts),
            SynChallenge::Auto => Challenge::Above(FLOOD / parts),
        },
        new_flows_per_source: own.max_new_flows_per_source,
        flows_per_replica: own.max_flows_per_replica,
        affinity_timeout: own.affinity_timeout,
        resets_denied: own.denied == Denied::Reset,
    }
}

impl Control {
    /// Takes in the Ethernet addresses of this host. Where they are too many for the datapath to tell from others', it takes
    /// frames to any, and notifies that once.
    pub fn take_macs(&mut self, macs: BTreeSet<Mac>) -> Vec<Change> {
        let fit = OwnMacs::of(&macs).is_some();
        let fitted = std::mem::replace(&mut self.macs_fit, fit);
        let count = macs.len();
        self.own_macs = fit.then_some(macs);
        if fit == fitted { Vec::new() } else { vec![Change::Macs { fit, count }] }
    }

    /// The Ethernet addresses of this host, as they were taken in last.
    pub fn own_macs(&self) -> Option<&BTreeSet<Mac>> {
        self.own_macs.as_ref()
    }

    /// The Ethernet addresses that frames have to be sent to; `None`: any will do.
    pub(super) fn wanted_macs(&self) -> Option<BTreeSet<Mac>> {
        match self.config.datapath.macs {
            Macs::Own => self.own_macs.clone(),
            Macs::Any => None,
        }
    }
}
