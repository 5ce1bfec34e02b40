//! What clients may do, as the datapath is notified: from the config, and from what the host is like.

use std::collections::BTreeSet;

use dtr_lb_common::{abi::OwnMacs, wire::Mac};

use super::{Change, Control};
use crate::{
    config::{Config, Denied, Macs, Service, SynChallenge},
    datapath::{Challenge, Limits},
};

/// Where replicas answer clients directly, no handshake is seen to end, and SYNs of any kind count: this many times as many are a flood.
const DIRECT_SYNS: u32 = 10;

/// A service's part of these is an eighth at least.
const LEAST_PART: u32 = 8;

pub(super) fn limits(config: &Config, service: &Service) -> Limits {
    let own = &service.limits;
    // A flood may come to all of them at once.
    let parts = (config.services.len() as u32).clamp(1, LEAST_PART);
    let flood = config.datapath.syn_flood_rate;
    Limits {
        challenge: match config.datapath.syn_challenge {
            SynChallenge::Off => Challenge::Never,
            SynChallenge::Always => Challenge::Always,
            SynChallenge::Auto if service.mode.direct() => Challenge::Above(DIRECT_SYNS * flood / parts),
            SynChallenge::Auto => Challenge::Above(flood / parts),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostFacts;

    #[test]
    fn a_flood_is_what_the_config_says_shared_by_the_services() {
        let above = |services: &str, set: &[&str]| {
            let text = format!("vip = \"10.0.0.10\"\n[[replica]]\naddress = \"10.0.0.11\"\n{services}");
            let set: Vec<_> = set.iter().map(ToString::to_string).collect();
            let host = HostFacts { ephemeral_ports: 32_768..=60_999 };
            let config = Config::parse(&text, "test", &set, &host).expect("a valid config");
            limits(&config, &config.services[0]).challenge
        };
        let one = "[[service]]\nport = 443\n";
        assert_eq!(above(one, &[]), Challenge::Above(2000));
        assert_eq!(above("", &["datapath.syn_flood_rate=500"]), Challenge::Above(250), "http and https");
        let direct = ["service.0.mode=dsr", "datapath.syn_flood_rate=500"];
        assert_eq!(above(one, &direct), Challenge::Above(5000));
        assert_eq!(above(one, &["datapath.syn_challenge=off"]), Challenge::Never);
    }
}
