//! What the maps are to say: the language between the one who decides and the one who writes.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, time::Duration};

use dtr_lb_common::{
    abi::{Hop, ServiceKey},
    address::{AnyAddress, Be16},
    hash,
};

/// The whole state of the datapath that the agent decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub settings: DesiredSettings,
    pub services: BTreeMap<ServiceKey, Vec<DesiredReplica>>,
}

/// What holds for all packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSettings {
    pub hash_seed: u64,
    pub nat_ports: RangeInclusive<u16>,
    /// For how long an established connection may be silent.
    pub idle_timeout: Duration,
}

/// A replica of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredReplica {
    pub address: IpAddr,
    pub port: u16,
    /// Its share of new flows; 0 for none.
    pub weight: u16,
    /// Where frames to it are sent, if that is known.
    pub hop: Option<Hop>,
    /// Source addresses of the connections to it.
    pub nat: Vec<IpAddr>,
}

impl DesiredReplica {
    /// What the Maglev permutation is made from: the same on every host.
    pub(super) fn identity(&self) -> u64 {
        let address = AnyAddress::from(self.address);
        hash::mix(hash::mix_words(0, &address.0), u64::from(self.port))
    }
}

/// The key of a service's map entry.
pub fn service_key(vip: IpAddr, port: u16) -> ServiceKey {
    ServiceKey { address: vip.into(), port: Be16::new(port) }
}
