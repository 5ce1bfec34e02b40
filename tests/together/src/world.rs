//! Who is where: clients and replicas of both families, their frames, and which bits of them must be what.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    time::Duration,
};

use dtr_lb_agent::datapath::{Desired, DesiredReplica, DesiredService, DesiredSettings, service_key};
use dtr_lb_common::{
    abi::{Hop, Vlans},
    wire::Mac,
};
use dtr_lb_tests::fixtures::{
    frames::{Kind, Macs, Segment},
    world::INGRESS,
};
use dtr_lb_together_ebpf::{
    op::PAYLOAD,
    world::{
        End, FIRST_PORT, FRAME, Head, MASKS, Masks, REPLICAS, REPLICAS_OF_A_FAMILY, TCP_V4, TCP_V6, masks,
    },
};

const SERVICE_PORT: u16 = 443;
const REPLICA_PORT: u16 = 8443;
const BALANCER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// How large a table is, and how many connections there are about it. The clients that are not steady come in pairs, of which
/// each processor owns one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub buckets: u32,
    /// Connections that stay, of IPv4 and of IPv6.
    pub steady: [u32; 2],
    /// Pairs of clients that come and go.
    pub pairs: [u32; 2],
    /// NAT ports towards each replica.
    pub ports: u32,
}

/// Each has room for some connections less than its clients want.
pub const SIZES: [Size; 4] = [
    // One bucket or the other is that of every key.
    Size { buckets: 2, steady: [1, 0], pairs: [4, 0], ports: 4 },
    Size { buckets: 4, steady: [2, 1], pairs: [5, 2], ports: 6 },
    Size { buckets: 8, steady: [4, 1], pairs: [8, 4], ports: 12 },
    Size { buckets: 16, steady: [6, 2], pairs: [15, 8], ports: 24 },
];

impl Size {
    pub fn steady_peers(&self) -> u32 {
        self.steady.iter().sum()
    }

    pub fn peers(&self) -> u32 {
        self.steady_peers() + 2 * self.pairs.iter().sum::<u32>()
    }

    /// Whether a client is of IPv6.
    pub fn is_v6(&self, peer: u32) -> bool {
        let [steady, _] = self.steady;
        let [pairs, _] = self.pairs;
        if peer < self.steady_peers() { peer >= steady } else { peer - self.steady_peers() >= 2 * pairs }
    }

    /// The port of a client that comes and goes: it is asked for as NAT port first, and others have the same.
    pub fn port(&self, peer: u32) -> u16 {
        FIRST_PORT + (peer % self.ports) as u16
    }
}

/// The address of a client.
pub fn client(peer: u32, v6: bool) -> IpAddr {
    let last = peer as u16 + 1;
    if v6 { six(0xc, last) } else { Ipv4Addr::new(10, 64, 0, last as u8).into() }
}

/// And of a replica, whose number says its family.
pub fn replica(number: usize) -> SocketAddr {
    let last = number as u16 + 1;
    let v6 = replica_is_v6(number);
    let address = if v6 { six(1, last) } else { Ipv4Addr::new(10, 1, 0, last as u8).into() };
    SocketAddr::new(address, REPLICA_PORT)
}

pub fn replica_is_v6(number: usize) -> bool {
    number >= REPLICAS_OF_A_FAMILY
}

pub fn vip(v6: bool) -> SocketAddr {
    SocketAddr::new(if v6 { six(0, 0x10) } else { Ipv4Addr::new(10, 0, 0, 10).into() }, SERVICE_PORT)
}

/// The address that replicas see.
pub fn nat(v6: bool) -> IpAddr {
    if v6 { six(2, 1) } else { Ipv4Addr::new(10, 2, 0, 1).into() }
}

fn six(net: u16, last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0x11, 0x22, 0x33, last).into()
}

/// The way to a client: some come by the same router.
fn to_client(peer: u32) -> Macs {
    Macs::new([2, 0xc1, 0, 0, 0, (peer % 5) as u8 + 1], BALANCER)
}

fn to_replica(number: usize) -> Macs {
    Macs::new([2, 0xde, 0, 0, 0, number as u8 + 1], BALANCER)
}

/// What the datapath is told.
pub fn desired(size: &Size) -> Desired {
    let service = |v6: bool| {
        let replicas = (0..REPLICAS).filter(|&number| replica_is_v6(number) == v6).map(|number| {
            let at = replica(number);
            DesiredReplica {
                address: at.ip(),
                port: at.port(),
                weight: 1,
                hop: Some(hop(to_replica(number))),
                nat: vec![nat(v6)],
                mtu: 1500,
                reset: false,
            }
        });
        (service_key(vip(v6).ip(), vip(v6).port()), DesiredService::nat(replicas.collect()))
    };
    Desired {
        settings: DesiredSettings {
            hash_seed: 0x5eed,
            nat_ports: FIRST_PORT..=FIRST_PORT + size.ports as u16 - 1,
            idle_timeout: IDLE,
            own_macs: None,
        },
        services: BTreeMap::from([service(false), service(true)]),
    }
}

/// How long a connection may be silent: longer than any of this takes.
pub const IDLE: Duration = Duration::from_secs(3600);

fn hop(macs: Macs) -> Hop {
    let mac = |bytes: [u8; 6]| -> Mac { bytemuck::cast(bytes) };
    Hop {
        interface: INGRESS,
        destination: mac(macs.destination),
        source: mac(macs.source),
        vlans: Vlans::NONE,
    }
}

/// What a client with this address and port sends, and what it is sent.
pub fn client_end(peer: u32, own: SocketAddr) -> End {
    end(to_client(peer), own, vip(own.is_ipv6()))
}

/// The same of a replica, by a NAT port that is filled in.
pub fn replica_end(number: usize) -> End {
    let nat = SocketAddr::new(nat(replica_is_v6(number)), 0);
    end(to_replica(number), replica(number), nat)
}

fn end(to: Macs, own: SocketAddr, other: SocketAddr) -> End {
    let segment = |macs, from, to| Segment {
        payload: vec![0x5a; PAYLOAD as usize],
        ..Segment::new(macs, from, to, Kind::Ack)
    };
    let comes = segment(to.reversed(), own, other);
    // As it leaves: one hop later.
    let leaves = segment(to.reversed(), own, other).through(to, other, own);
    End { comes: head(&comes.bytes()), leaves: head(&leaves.bytes()), v6: own.is_ipv6().into() }
}

/// The first words of a frame.
pub fn head(frame: &[u8]) -> Head {
    let mut bytes = [0; size_of::<Head>()];
    let length = frame.len().min(bytes.len());
    bytes[..length].copy_from_slice(&frame[..length]);
    bytemuck::cast(bytes)
}

/// A whole frame of these first words.
pub fn frame(head: &Head) -> Vec<u8> {
    let mut frame = bytemuck::cast::<Head, [u8; size_of::<Head>()]>(*head).to_vec();
    frame.resize(FRAME, 0);
    frame
}

/// The masks of both families and directions.
pub fn all_masks() -> [Masks; MASKS] {
    let mut all = [Masks::default(); MASKS];
    for v6 in [false, true] {
        for from_replica in [false, true] {
            all[masks(v6, from_replica) as usize] = masks_of(v6, from_replica);
        }
    }
    all
}

fn masks_of(v6: bool, from_replica: bool) -> Masks {
    let tcp = if v6 { TCP_V6 } else { TCP_V4 };
    let (hops, addresses) = if v6 { (21, 22..54) } else { (22, 26..34) };
    let (ports, sum) = (tcp..tcp + 4, tcp + 16..tcp + 18);
    let header_sum = if v6 { 0..0 } else { 24..26 };
    // The port that a connection has is the source of what the replica gets.
    let fixed_ports = if from_replica { ports.clone() } else { tcp + 2..tcp + 4 };
    let rewritten = [0..12, hops..hops + 1, addresses.clone(), fixed_ports];
    let is_in = |ranges: &[Range<usize>], byte: usize| ranges.iter().any(|range| range.contains(&byte));
    let not_carried = [&rewritten[..], &[ports.clone(), sum.clone(), header_sum]].concat();
    let carried: Vec<_> = (0..size_of::<Head>()).filter(|&byte| !is_in(&not_carried, byte)).collect();
    Masks {
        rewritten: mask(rewritten.into_iter().flatten()),
        carried: mask(carried.into_iter()),
        header_sum: if v6 { Head::default() } else { mask(14..TCP_V4) },
        tcp_sum: mask(addresses.chain(ports).chain(sum)),
    }
}

fn mask(bytes: impl Iterator<Item = usize>) -> Head {
    let mut mask = [0_u8; size_of::<Head>()];
    for byte in bytes {
        mask[byte] = 0xff;
    }
    bytemuck::cast(mask)
}

#[cfg(test)]
mod tests {
    use dtr_lb_together_ebpf::world::{PEERS, PORTS, WORDS};

    use super::*;

    #[test]
    fn each_bit_of_a_frame_is_looked_at() {
        for masks in all_masks() {
            let Masks { rewritten, carried, header_sum, tcp_sum } = masks;
            for word in 0..WORDS {
                let all = rewritten[word] | carried[word] | header_sum[word] | tcp_sum[word];
                assert_eq!(all, u64::MAX, "word {word} of {masks:x?}");
                assert_eq!(rewritten[word] & carried[word], 0, "word {word} of {masks:x?}");
            }
        }
    }

    #[test]
    fn no_two_clients_are_one() {
        for size in SIZES {
            assert!(size.peers() as usize <= PEERS && size.ports <= PORTS, "{size:?}");
            let addresses: std::collections::BTreeSet<_> =
                (0..size.peers()).map(|peer| client(peer, size.is_v6(peer))).collect();
            assert_eq!(addresses.len() as u32, size.peers());
            let wide = (0..size.peers()).filter(|&peer| size.is_v6(peer)).count() as u32;
            assert_eq!(wide, size.steady[1] + 2 * size.pairs[1]);
        }
    }
}
