//! Packets of probes of replicas that answer directly, at random: what they become is what an independent library reads.

use std::net::IpAddr;

use dtr_lb_common::{
    abi::{ProbePath, Tuple},
    address::{Address, Be16},
    model::Frame,
    pipeline::probe::{Probed, paths, run},
};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TransportSlice};
use proptest::prelude::*;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

/// A packet that etherparse makes.
fn frame(tuple: &Tuple, hops: u8, header: &TcpHeader, payload: &[u8]) -> Frame {
    let ethernet = PacketBuilder::ethernet2(MACS.0, MACS.1);
    let (source, destination): (IpAddr, IpAddr) = (tuple.source.into(), tuple.destination.into());
    let ip = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), hops)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), hops)
        }
        other => panic!("of two families: {other:?}"),
    };
    let header = TcpHeader {
        source_port: tuple.source_port.get(),
        destination_port: tuple.destination_port.get(),
        ..header.clone()
    };
    let mut bytes = Vec::new();
    ip.tcp_header(header).write(&mut bytes, payload).expect("a packet");
    Frame { bytes, interface: 1 }
}

/// Source and destination, hops, and what follows the header, of a packet whose header is right.
fn network(packet: &[u8]) -> (IpAddr, IpAddr, u8, u8, Vec<u8>) {
    match SlicedPacket::from_ip(packet).expect("a packet").net {
        Some(NetSlice::Ipv4(v4)) => {
            let header = v4.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            let payload = v4.payload();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                header.ttl(),
                payload.ip_number.0,
                payload.payload.to_vec(),
            )
        }
        Some(NetSlice::Ipv6(v6)) => {
            let header = v6.header();
            let payload = v6.payload();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                header.hop_limit(),
                payload.ip_number.0,
                payload.payload.to_vec(),
            )
        }
        other => panic!("not IP: {other:?}"),
    }
}

/// Looks whether a packet is this segment between these ends, with all checksums right.
fn is_segment(packet: &[u8], tuple: &Tuple, header: &TcpHeader, payload: &[u8]) {
    let (source, destination, ..) = network(packet);
    assert_eq!((source, destination), (tuple.source.into(), tuple.destination.into()));
    let sliced = SlicedPacket::from_ip(packet).expect("a packet");
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("not TCP") };
    let sum = match sliced.net {
        Some(NetSlice::Ipv4(v4)) => tcp.to_header().calc_checksum_ipv4(&v4.header().to_header(), payload),
        Some(NetSlice::Ipv6(v6)) => tcp.to_header().calc_checksum_ipv6(&v6.header().to_header(), payload),
        other => panic!("not IP: {other:?}"),
    };
    assert_eq!(tcp.checksum(), sum.expect("a checksum"));
    assert_eq!(tcp.payload(), payload);
    let expected = TcpHeader {
        source_port: tuple.source_port.get(),
        destination_port: tuple.destination_port.get(),
        checksum: tcp.checksum(),
        ..header.clone()
    };
    assert_eq!(tcp.to_header(), expected);
}

fn any_address(v4: bool) -> BoxedStrategy<Address> {
    if v4 {
        // Neither 0.0.0.0 nor a class that says something else.
        (0x0100_0000..0xdfff_ffff_u32).prop_map(|bits| IpAddr::V4(bits.into()).into()).boxed()
    } else {
        any::<u128>().prop_map(|bits| IpAddr::V6((bits >> 4 | 0x2 << 124).into()).into()).boxed()
    }
}

/// The socket's tuple, VIP, source towards the VIP, and outer source.
fn probe() -> impl Strategy<Value = (Tuple, Address, Address, Option<Address>)> {
    any::<(bool, bool, bool, u16, u16)>().prop_flat_map(|(replica_v4, vip_v4, tunnel, here, there)| {
        let own = any_address(replica_v4);
        let outer = if tunnel { own.clone().prop_map(Some).boxed() } else { Just(None).boxed() };
        (own, any_address(replica_v4), any_address(vip_v4), any_address(vip_v4), outer).prop_map(
            move |(own, replica, vip, source, outer)| {
                let ports = (Be16::new(here), Be16::new(there));
                let socket = Tuple {
                    source: own,
                    destination: replica,
                    source_port: ports.0,
                    destination_port: ports.1,
                };
                (socket, vip, source, outer)
            },
        )
    })
}

prop_compose! {
    fn header()(
        sequence in any::<u32>(),
        acknowledgment in any::<u32>(),
        window in any::<u16>(),
        (syn, ack, fin, psh) in any::<(bool, bool, bool, bool)>(),
    ) -> TcpHeader {
        let mut header = TcpHeader::new(0, 0, sequence, window);
        header.acknowledgment_number = acknowledgment;
        (header.syn, header.ack, header.fin, header.psh) = (syn, ack, fin, psh);
        header
    }
}

fn looked_up<'a>(map: &'a [(Tuple, ProbePath)], tuple: &Tuple) -> Option<&'a ProbePath> {
    map.iter().find(|(key, _)| key == tuple).map(|(_, path)| path)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_probe_asks_the_vip_and_hears_the_replica(
        (socket, vip, source, outer) in probe(),
        header in header(),
        hops in 2..=255_u8,
        payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let map = paths(&socket, vip, source, outer);
        let asks = Tuple { source, destination: vip, ..socket };

        let mut out = frame(&socket, hops, &header, &payload);
        prop_assert_eq!(run(&mut out, |tuple| looked_up(&map, tuple)), Probed::Changed);
        prop_assert_eq!((&out.bytes[..6], &out.bytes[6..12]), (&MACS.1[..], &MACS.0[..]));
        let mut packet = out.bytes[14..].to_vec();
        prop_assert_eq!(&out.bytes[12..14], if packet[0] >> 4 == 4 { &[0x08, 0x00] } else { &[0x86, 0xdd] });
        if let Some(base) = outer {
            let (from, to, _, protocol, inner) = network(&packet);
            prop_assert_eq!(to, IpAddr::from(socket.destination));
            prop_assert_eq!(&Address::from(from).words()[..7], &base.words()[..7]);
            prop_assert_eq!(protocol, if inner[0] >> 4 == 4 { 4 } else { 41 });
            packet = inner;
        }
        is_segment(&packet, &asks, &header, &payload);
        prop_assert_eq!(network(&packet).2, hops - 1);

        let mut back = frame(&asks.reversed(), hops, &header, &payload);
        prop_assert_eq!(run(&mut back, |tuple| looked_up(&map, tuple)), Probed::Changed);
        is_segment(&back.bytes[14..], &socket.reversed(), &header, &payload);

        // What is of no probe stays as it is.
        let other = Tuple { source_port: Be16::new(socket.source_port.get() ^ 1), ..socket };
        let frame = frame(&other, hops, &header, &payload);
        let mut passed = frame.clone();
        prop_assert_eq!(run(&mut passed, |tuple| looked_up(&map, tuple)), Probed::Other);
        prop_assert_eq!(passed, frame);
    }

    #[test]
    fn any_bytes_are_of_no_probe(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let frame = Frame { bytes, interface: 1 };
        let mut passed = frame.clone();
        prop_assert_eq!(run(&mut passed, |_| None), Probed::Other);
        prop_assert_eq!(passed, frame);
    }
}
