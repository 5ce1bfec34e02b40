//! What the maps are to say: the language between the one who decides and the one who writes.

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, time::Duration};

use dtr_lb_common::{
    abi::{Hop, ServiceKey},
    address::{AnyAddress, Be16},
    hash,
};
use ipnet::IpNet;

use crate::config::Mode;

/// The whole state of the datapath that the agent decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub settings: DesiredSettings,
    pub services: BTreeMap<ServiceKey, DesiredService>,
}

/// What holds for all packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSettings {
    pub hash_seed: u64,
    pub nat_ports: RangeInclusive<u16>,
    /// For how long an established connection may be silent.
    pub idle_timeout: Duration,
}

/// A service: a VIP and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    pub mode: Mode,
    /// Whether all flows from an address go to one replica.
    pub source_affinity: bool,
    /// Whether a SYN that no replica can take is answered by a reset.
    pub refuse: bool,
    /// Who may open connections, by the longest prefix that holds the source. A source that none holds may; empty:
    /// everyone.
    pub sources: Vec<SourceRule>,
    pub replicas: Vec<DesiredReplica>,
}

/// Whether sources within a prefix may open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRule {
    pub prefix: IpNet,
    pub allow: bool,
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
    /// Mode `nat`: source addresses of the connections to it, of its family. Mode `ipip`: the address of the prefix that
    /// outer source addresses are taken from. Mode `dsr`: none.
    pub nat: Vec<IpAddr>,
    /// The largest IP packet on the way to it, in bytes; 0 if that is not known.
    pub mtu: u32,
    /// Whether packets of its flows are answered by a reset.
    pub reset: bool,
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
