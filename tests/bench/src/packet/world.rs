//! Who is where: addresses of both families, the services, and the frames that travel between them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use dtr_lb_agent::datapath::{Desired, DesiredReplica, DesiredService, DesiredSettings, service_key};
use dtr_lb_bench_ebpf::flows::{Base, FIRST_NAT_PORT, NAT_ADDRESSES, NAT_PORTS, Order, SERVICES};
use dtr_lb_common::{
    abi::{Hop, Mode, Vlans},
    address::Family,
    wire::Mac,
};
use dtr_lb_tests::fixtures::{
    frames::{Kind, Macs, Segment},
    world::INGRESS,
};

use super::case::{Case, Load, Sent};

/// The port of the first service.
const SERVICE_PORT: u16 = 443;
/// One that is none.
const OTHER_PORT: u16 = 22;
/// The port of every replica.
const REPLICA_PORT: u16 = 8443;
/// The largest packet that replicas take.
pub(crate) const MTU: u16 = 1500;
pub(crate) const SEED: u64 = 0x5eed_0fab_e9c4;

/// Sequence numbers of the first packets.
pub(crate) const OF_CLIENT: u32 = 1_000_000;
pub(crate) const OF_REPLICA: u32 = 3_000_000_000;

const BALANCER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENTS_ROUTER: [u8; 6] = [2, 0xc1, 0, 0, 0, 1];
const REPLICAS: [u8; 6] = [2, 0xde, 0, 0, 0, 1];

/// The frames of clients, and those of replicas, as they come in.
const FROM_CLIENT: Macs = Macs::new(BALANCER, CLIENTS_ROUTER);
const FROM_REPLICA: Macs = Macs::new(BALANCER, REPLICAS);

/// The ways out.
pub(crate) const TO_CLIENT: Macs = Macs::new(CLIENTS_ROUTER, BALANCER);
pub(crate) const TO_REPLICA: Macs = Macs::new(REPLICAS, BALANCER);

/// A way out as it stands in the datapath's maps: by the interface that frames come in by.
pub(crate) fn hop(macs: Macs) -> Hop {
    let mac = |bytes: [u8; 6]| -> Mac { bytemuck::cast(bytes) };
    Hop {
        interface: INGRESS,
        destination: mac(macs.destination),
        source: mac(macs.source),
        vlans: Vlans::NONE,
    }
}

/// The two directions of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ways {
    /// Source and destination of what the client sends.
    pub(crate) client: (SocketAddr, SocketAddr),
    /// Of what the replica sends.
    pub(crate) replica: (SocketAddr, SocketAddr),
}

/// Addresses by family.
#[derive(Clone, Copy, Debug)]
enum Role {
    Clients,
    Vip,
    Replicas,
    Nat,
    Stranger,
}

fn first(role: Role, family: Family) -> IpAddr {
    let (v4, v6) = match role {
        Role::Clients => ([10, 64, 0, 0], [0xc, 0, 0x0a40]),
        Role::Vip => ([10, 0, 0, 10], [0, 0, 0x10]),
        Role::Replicas => ([10, 1, 0, 1], [1, 0, 1]),
        Role::Nat => ([10, 2, 0, 1], [2, 0, 1]),
        Role::Stranger => ([203, 0, 113, 9], [0xffff, 0, 9]),
    };
    match family {
        Family::V4 => Ipv4Addr::from(v4).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, v6[0], 0, 0, 0, v6[1], v6[2]).into(),
    }
}

fn base(address: IpAddr) -> Base {
    match address {
        IpAddr::V4(v4) => Base { low: v4.into(), ..Base::default() },
        IpAddr::V6(v6) => {
            let [a, b, c, d]: [u32; 4] = bytemuck::cast(v6.octets());
            Base { first: bytemuck::cast([a, b]), second: c, low: u32::from_be(d) }
        }
    }
}

fn address(base: &Base, low: u32, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(low).into(),
        Family::V6 => {
            let [a, b]: [u32; 2] = bytemuck::cast(base.first);
            let octets: [u8; 16] = bytemuck::cast([a, b, base.second, low.to_be()]);
            octets.into()
        }
    }
}

/// The order for packets of one kind, without what stands in the frame; `flow` by `flow` it names the ends.
fn order(sent: Sent, load: Load) -> Order {
    let family = load.family();
    let keeps_client = load.mode == Mode::DNAT;
    let (source, destination, port, last_service) = match sent {
        Sent::Stranger => (Role::Clients, Role::Stranger, SERVICE_PORT, SERVICES - 1),
        Sent::OtherPort => (Role::Clients, Role::Vip, OTHER_PORT, 0),
        _ if sent.by_replica() && keeps_client => (Role::Replicas, Role::Clients, REPLICA_PORT, 0),
        _ if sent.by_replica() => (Role::Replicas, Role::Nat, REPLICA_PORT, 0),
        _ => (Role::Clients, Role::Vip, SERVICE_PORT, SERVICES - 1),
    };
    Order {
        from_replica: sent.by_replica().into(),
        source: base(first(source, family)),
        destination: base(first(destination, family)),
        port: port.into(),
        last_service,
        keeps_client: keeps_client.into(),
        ..Order::default()
    }
}

fn ends(sent: Sent, load: Load, flow: u32) -> (SocketAddr, SocketAddr) {
    let (order, family) = (order(sent, load), load.family());
    let ends = order.ends(flow);
    (
        SocketAddr::new(address(&order.source, ends.source, family), ends.source_port),
        SocketAddr::new(address(&order.destination, ends.destination, family), ends.destination_port),
    )
}

/// Both directions of flow number `flow`.
pub(crate) fn ways(load: Load, flow: u32) -> Ways {
    Ways { client: ends(Sent::ToReplica, load, flow), replica: ends(Sent::ToClient, load, flow) }
}

/// The packet of a flow, as it comes in.
pub(crate) fn segment(sent: Sent, load: Load, flow: u32) -> Segment {
    let (source, destination) = ends(sent, load, flow);
    let (kind, of_client, of_replica) = match sent {
        Sent::Syn => (Kind::Syn, 0, 0),
        Sent::SynAck => (Kind::SynAck, 1, 0),
        Sent::ToReplica | Sent::ToClient | Sent::Stranger | Sent::OtherPort | Sent::FirstAck => {
            (Kind::Ack, 1, 1)
        }
        Sent::ClientFin => (Kind::Fin, 1, 1),
        Sent::ReplicaFin => (Kind::Fin, 2, 1),
        Sent::LastAck => (Kind::Ack, 2, 2),
    };
    let (of_client, of_replica) = (OF_CLIENT + of_client, OF_REPLICA + of_replica);
    let (macs, sequence, acknowledgment) = if sent.by_replica() {
        (FROM_REPLICA, of_replica, of_client)
    } else {
        (FROM_CLIENT, of_client, of_replica)
    };
    // Of IPv4 64 bytes in all. A handshake's packets carry nothing, so that the numbers of those after them are right.
    let data = matches!(sent, Sent::ToReplica | Sent::ToClient | Sent::Stranger | Sent::OtherPort);
    let payload = if data { vec![0x5a; 10] } else { Vec::new() };
    Segment { payload, sequence, acknowledgment, ..Segment::new(macs, source, destination, kind) }
}

/// The frame that a wrapper is run on, and what it is ordered to make of it.
pub(crate) fn ordered(case: Case) -> (Vec<u8>, Order) {
    let frame = segment(case.sent, case.load, 0).bytes();
    let order = Order {
        flows: case.load.flows,
        random: SEED,
        at_0: at(&frame, 0),
        at_8: at(&frame, 8),
        at_12: at(&frame, 12),
        at_14: at(&frame, 14),
        at_22: at(&frame, 22),
        ..order(case.sent, case.load)
    };
    (frame, order)
}

fn at<T: bytemuck::Pod>(frame: &[u8], offset: usize) -> T {
    bytemuck::pod_read_unaligned(&frame[offset..offset + size_of::<T>()])
}

/// What the datapath is told. Handshakes are to end up at the first NAT address, which is then the only one.
pub(crate) fn desired(load: Load, handshakes: bool) -> Desired {
    let family = load.family();
    let nat = base(first(Role::Nat, family));
    let count = if handshakes { 1 } else { NAT_ADDRESSES };
    let nat: Vec<_> = (0..count).map(|number| address(&nat, nat.low + number, family)).collect();
    let nat = match load.mode {
        Mode::DSR | Mode::DNAT => Vec::new(),
        Mode::IPIP => nat[..1].to_vec(),
        _ => nat,
    };
    let services = (0..SERVICES).map(|number| {
        let Ways { client: (_, service), replica: (replica, _) } = ways(load, number);
        let replica = DesiredReplica {
            address: replica.ip(),
            // Who answers directly must answer from the service's own port.
            port: if load.mode.direct() { service.port() } else { replica.port() },
            weight: 1,
            hop: Some(hop(TO_REPLICA)),
            nat: nat.clone(),
            mtu: MTU.into(),
            reset: false,
        };
        let wanted = DesiredService { mode: load.mode, ..DesiredService::nat(vec![replica]) };
        (service_key(service.ip(), service.port()), wanted)
    });
    let last_port = FIRST_NAT_PORT + (NAT_PORTS - 1) as u16;
    Desired {
        settings: DesiredSettings {
            hash_seed: SEED,
            nat_ports: FIRST_NAT_PORT..=last_port,
            idle_timeout: Duration::from_secs(3600),
            own_macs: None,
        },
        services: services.collect::<BTreeMap<_, _>>(),
    }
}
