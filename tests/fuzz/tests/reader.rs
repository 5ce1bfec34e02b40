//! The fuzzer's own frames, reader and checksums against etherparse.

use dtr_lb_fuzz::{
    event::Sends,
    net::{End, Ip, Tags, Way, checksum, pseudo, sum},
    random::Random,
    reader::{Unread, read},
};
use etherparse::{LaxNetSlice, LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice};

const WAY: Way =
    Way { interface: 1, destination: [2, 0, 0, 0, 0, 1], source: [2, 0, 0, 0, 0, 2], vlans: Tags::NONE };

/// Two ends of a family.
fn ends(v4: bool, random: &mut Random) -> [End; 2] {
    [(); 2].map(|()| {
        let number = random.number();
        let host = number as u8;
        let ip =
            if v4 { Ip::v4([10, 1, (number >> 8) as u8, host]) } else { Ip::v6((number >> 8) as u8, host) };
        End { ip, port: (number >> 16) as u16 }
    })
}

/// Frames as the fuzzer's ends send them.
fn frames(count: usize) -> impl Iterator<Item = (bool, Sends, Vec<u8>)> {
    let mut random = Random::new(99);
    (0..count).map(move |number| {
        let v4 = number % 2 == 0;
        let mut knobs = [0; 6];
        random.fill(&mut knobs);
        let sends = Sends { knobs, ..Sends::plain(random.number() as u8) };
        let [from, to] = ends(v4, &mut random);
        let mut frame = Vec::new();
        sends.segment(WAY, from, to).write(&mut frame);
        (v4, sends, frame)
    })
}

#[test]
fn frames_are_what_they_say_and_have_right_checksums() {
    let mut whole = 0;
    for (v4, sends, frame) in frames(20_000) {
        let damaged = sends.knobs[4] >= 0xd8;
        // etherparse wants extension headers of IPv6 in their order, and these are in any.
        let in_any_order = !v4 && (0xf0..0xfc).contains(&sends.knobs[1]);
        let Ok(packet) = SlicedPacket::from_ethernet(&frame) else {
            assert!(damaged || in_any_order, "{sends:?}");
            continue;
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { continue };
        // etherparse's headers leave out TCP's reserved bits.
        let reserved = sends.knobs[2] & 0x38 == 0x38;
        if damaged || reserved {
            continue;
        }
        whole += 1;
        let right = match packet.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                assert!(v4);
                let header = ip.header().to_header();
                assert_eq!(header.calc_header_checksum(), header.header_checksum, "{sends:?}");
                tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                assert!(!v4);
                tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).unwrap()
            }
            NetSlice::Arp(_) => panic!("{sends:?}"),
        };
        assert_eq!(right, tcp.checksum(), "{sends:?}");
    }
    assert!(whole > 10_000, "{whole}");
}

#[test]
fn what_is_read_is_what_etherparse_reads() {
    let (mut read_by_both, mut random) = (0, Random::new(5));
    for (_, sends, mut frame) in frames(40_000) {
        // Some are damaged in their headers, or cut.
        if random.below(3) == 0 {
            let at = random.below(frame.len().min(90));
            frame[at] = random.number() as u8;
        }
        if random.below(8) == 0 {
            frame.truncate(random.below(frame.len()));
        }
        let Ok(seen) = read(&frame) else { continue };
        if seen.protocol != 6 {
            continue;
        }
        let packet = LaxSlicedPacket::from_ethernet(&frame).unwrap();
        let (from, to, ttl, first_fragment) = match packet.net.as_ref().unwrap() {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert!(!header.fragments_offset().value() > 0, "{sends:?}");
                (Ip::v4(header.source()), Ip::v4(header.destination()), header.ttl(), header.more_fragments())
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                let first = ip.extensions().is_fragmenting_payload();
                (Ip(header.source()), Ip(header.destination()), header.hop_limit(), first)
            }
            LaxNetSlice::Arp(_) => panic!("{sends:?}"),
        };
        assert_eq!((from, to, ttl), (seen.from.ip, seen.to.ip, seen.ttl), "{sends:?}");
        assert_eq!(first_fragment, seen.first_fragment, "{sends:?}");
        // etherparse does not look into fragments, nor at TCP options that are cut off.
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { continue };
        read_by_both += 1;
        assert_eq!((tcp.source_port(), tcp.destination_port()), (seen.from.port, seen.to.port), "{sends:?}");
        assert_eq!(tcp.to_header().header_len(), seen.tcp_header, "{sends:?}");
        assert_eq!(frame[seen.transport + 13], seen.flags);
        assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), seen.numbers(&frame));
    }
    assert!(read_by_both > 10_000, "{read_by_both}");
}

#[test]
fn what_etherparse_reads_as_tcp_is_read() {
    let mut whole = 0;
    for (_, sends, frame) in frames(20_000) {
        let Ok(packet) = SlicedPacket::from_ethernet(&frame) else { continue };
        if !matches!(packet.transport, Some(TransportSlice::Tcp(_))) {
            continue;
        }
        match read(&frame) {
            Ok(seen) => {
                whole += 1;
                let damaged = sends.knobs[4] >= 0xd8;
                assert!(damaged || seen.checksum_right(&frame) == Some(true), "{sends:?}");
            }
            // The datapath follows four headers and none of routing.
            Err(Unread::Extension) => assert!(sends.knobs[1] >= 0xe0, "{sends:?}"),
            Err(unread) => panic!("{unread:?}: {sends:?}"),
        }
    }
    assert!(whole > 10_000, "{whole}");
}

#[test]
fn checksums_are_those_of_rfc_1071() {
    // The example of RFC 1071 section 3.
    assert_eq!(checksum(sum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), !0xddf2);
    // An odd byte is padded.
    assert_eq!(sum(0, &[1, 2, 3]), 0x0102 + 0x0300);
    let [from, to] = [Ip::v4([1, 2, 3, 4]), Ip::v4([5, 6, 7, 8])];
    assert_eq!(pseudo(&from, &to, 6, 20), 0x0102 + 0x0304 + 0x0506 + 0x0708 + 6 + 20);
}
