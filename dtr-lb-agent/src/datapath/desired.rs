//! What the maps are to say: the language between the one who decides and the one who writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
    time::Duration,
};

use dtr_lb_common::{
    abi::{Hop, Mode, Service, ServiceKey},
    address::{Address, Be16},
    hash,
    wire::Mac,
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
    pub limits: Limits,
}

impl DesiredService {
    /// A service that forwards by NAT, to whoever connects.
    pub fn nat(replicas: Vec<DesiredReplica>) -> Self {
        Self {
            mode: Mode::NAT,
            source_affinity: false,
            sources: Vec::new(),
            replicas,
            limits: Limits::default(),
        }
    }
}

/// What a service's clients may do, and have to before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// When they have to prove their addresses first.
    pub challenge: Challenge,
    /// Connections that one address (of IPv6: a /64) may open in a second; 0: as many as it likes.
    pub new_flows_per_source: u32,
    /// Connections that each replica may have; 0: as many as come.
    pub flows_per_replica: u32,
    /// For how long a client keeps the replica of its last connection; zero: it does not.
    pub affinity_timeout: Duration,
    /// Whether clients that may not connect are told so.
    pub resets_denied: bool,
}

/// When clients have to prove their addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    #[default]
    Never,
    /// While more SYNs of a second than so many are followed by no handshake.
    Above(u32),
    Always,
}

impl Challenge {
    /// What each of so many processors that are online is told ([`Service::challenge_above`]): its part, but for an eighth of all at
    /// least: what comes in by a few receive queues of many is noticed, and nobody is challenged for what a processor has by chance.
    pub fn above(self, processors: u32) -> u32 {
        const LEAST_PART: u32 = 8;
        match self {
            Self::Never => Service::NO_CHALLENGE,
            Self::Above(syns) => syns / processors.clamp(1, LEAST_PART),
            Self::Always => 0,
        }
    }
}

/// Processors that are online.
pub fn processors() -> u32 {
    let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
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
    /// The Ethernet addresses of this host: frames to others are not taken. `None`: all are.
    pub own_macs: Option<BTreeSet<Mac>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_told_its_part_and_an_eighth_at_least() {
        let of = |processors| Challenge::Above(2000).above(processors);
        assert_eq!([0, 1, 2, 8, 128].map(of), [2000, 2000, 1000, 250, 250]);
        assert_eq!((Challenge::Always.above(4), Challenge::Never.above(4)), (0, Service::NO_CHALLENGE));
        assert!(processors() > 0);
    }
}
