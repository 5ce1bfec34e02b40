//! What the maps are to say: the language between the one who decides and the one who writes.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, time::Duration};

use dtr_lb_common::{
    abi::{Hop, Mode, ServiceKey},
    address::{Address, Be16},
    hash,
};
use ipnet::IpNet;

/// The whole state of the datapath that the agent decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub settings: DesiredSettings,
    pub services: BTreeMap<ServiceKey, DesiredService>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    pub mode: Mode,
    /// Whether all connections of one client address go to one replica.
    pub source_affinity: bool,
    /// Who may connect: the longest prefix that holds a client decides, and one that no prefix holds may.
    pub sources: Vec<SourceRule>,
    pub replicas: Vec<DesiredReplica>,
}

impl DesiredService {
    /// A service that forwards by NAT, to whoever connects.
    pub fn nat(replicas: Vec<DesiredReplica>) -> Self {
        Self { mode: Mode::NAT, source_affinity: false, sources: Vec::new(), replicas }
    }
}

/// Clients that are let in, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRule {
    pub prefix: IpNet,
    pub allow: bool,
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
    /// Source addresses of the connections to it, of its family; none in modes DSR and DNAT. In mode IPIP: the outer source, of
    /// which the last 16 bits vary by flow.
    pub nat: Vec<IpAddr>,
    /// The largest IP packet, in bytes, that the way to it takes; 0 if that is not known.
    pub mtu: u32,
    /// Whether it is dead and its flows are answered by resets.
    pub reset: bool,
}

impl DesiredReplica {
    /// What the Maglev permutation is made from: the same on every host.
    pub(super) fn identity(&self) -> u64 {
        let address = Address::from(self.address);
        hash::mix(hash::mix_words(0, &address.words()), u64::from(self.port))
    }
}

/// The key of a service's map entry.
pub fn service_key(vip: IpAddr, port: u16) -> ServiceKey {
    ServiceKey::new(vip.into(), Be16::new(port))
}
