//! A frame as it was seen on an interface, and what stands in it; and segments that are to be sent by hand. Read and written
//! by an independent packet library.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use etherparse::{LaxNetSlice, LaxSlicedPacket, PacketBuilder, TcpOptionElement, TcpSlice, TransportSlice};

/// TTL or hop limit of what is sent by hand: Linux's own.
const HOPS: u8 = 64;
/// The window of what is sent by hand: that of a Linux client's SYN.
const WINDOW: u16 = 64_240;

/// A captured frame, from its Ethernet header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was read, a little after it was there.
    pub at: Instant,
    /// The index of the interface.
    pub interface: usize,
    /// Whether the namespace sent it; else it received it.
    pub outgoing: bool,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "TCP's flags are what they are")]
pub struct Segment {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub window: u16,
    /// Bytes of data.
    pub data: usize,
    /// Whether the checksum is right. One that is sent by a host's own stack may be left to hardware.
    pub checksum_is_right: bool,
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// The type.
    pub kind: u8,
    pub code: u8,
    /// The four bytes after the checksum: the MTU in a "packet too big", identifier and number of an echo.
    pub rest: [u8; 4],
    /// What follows: of an error, the packet it is about, from its IP header on.
    pub quoted: Vec<u8>,
}

impl Frame {
    /// The source and the destination in the outermost IP header.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        addresses(&LaxSlicedPacket::from_ethernet(&self.bytes).ok()?)
    }

    /// The length of the outermost IP packet as its header says, in bytes.
    pub fn packet_length(&self) -> Option<usize> {
        match LaxSlicedPacket::from_ethernet(&self.bytes).ok()?.net? {
            LaxNetSlice::Ipv4(ip) => Some(ip.header().total_len().into()),
            LaxNetSlice::Ipv6(ip) => Some(usize::from(ip.header().payload_length()) + 40),
            LaxNetSlice::Arp(_) => None,
        }
    }

    /// The TCP segment in it, if that is what it is.
    pub fn tcp(&self) -> Option<Segment> {
        let packet = LaxSlicedPacket::from_ethernet(&self.bytes).ok()?;
        let (source, destination) = addresses(&packet)?;
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
        Some(Segment {
            source: (source, tcp.source_port()).into(),
            destination: (destination, tcp.destination_port()).into(),
            syn: tcp.syn(),
            ack: tcp.ack(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            sequence: tcp.sequence_number(),
            acknowledgment: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            data: tcp.payload().len(),
            checksum_is_right: checksum(&tcp, source, destination) == Some(tcp.checksum()),
        })
    }

    /// The ICMP message in it, if that is what it is.
    pub fn icmp(&self) -> Option<Message> {
        let packet = LaxSlicedPacket::from_ethernet(&self.bytes).ok()?;
        let (source, destination) = addresses(&packet)?;
        let (kind, code, rest, quoted) = match packet.transport? {
            TransportSlice::Icmpv4(icmp) => {
                (icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8(), icmp.slice().get(8..)?.to_vec())
            }
            TransportSlice::Icmpv6(icmp) => {
                (icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8(), icmp.slice().get(8..)?.to_vec())
            }
            TransportSlice::Tcp(_) | TransportSlice::Udp(_) | TransportSlice::Igmp(_) => return None,
        };
        Some(Message { source, destination, kind, code, rest, quoted })
    }

    /// The MTU in a "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201), if that is what it is.
    pub fn too_big(&self) -> Option<u32> {
        let message = self.icmp()?;
        match (message.source, message.kind, message.code, message.rest) {
            (IpAddr::V4(_), 3, 4, [_, _, high, low]) => Some(u16::from_be_bytes([high, low]).into()),
            (IpAddr::V6(_), 2, 0, mtu) => Some(u32::from_be_bytes(mtu)),
            _ => None,
        }
    }
}

impl Segment {
    /// A segment from one end to another, of one family, that says nothing yet: no flag, no data, all numbers 0.
    pub fn between(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            syn: false,
            ack: false,
            fin: false,
            rst: false,
            sequence: 0,
            acknowledgment: 0,
            window: WINDOW,
            data: 0,
            checksum_is_right: true,
        }
    }

    /// It as an IP packet, for a [`RawSocket`](super::RawSocket), with these options; its data are bytes of 0. The checksum is
    /// right.
    ///
    /// # Panics
    /// If its ends are not of one family, or the options take more than 40 bytes.
    pub fn packet(&self, options: &[TcpOptionElement]) -> Vec<u8> {
        let builder = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), HOPS)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                PacketBuilder::ipv6(source.octets(), destination.octets(), HOPS)
            }
            (source, destination) => panic!("{source} and {destination} are not of one family"),
        };
        let ports = (self.source.port(), self.destination.port());
        let mut tcp = builder.tcp(ports.0, ports.1, self.sequence, self.window);
        if self.syn {
            tcp = tcp.syn();
        }
        if self.ack {
            tcp = tcp.ack(self.acknowledgment);
        }
        if self.fin {
            tcp = tcp.fin();
        }
        if self.rst {
            tcp = tcp.rst();
        }
        let tcp = match tcp.options(options) {
            Ok(tcp) => tcp,
            Err(error) => panic!("{options:?}: {error}"),
        };
        let data = vec![0; self.data];
        let mut bytes = Vec::with_capacity(tcp.size(data.len()));
        match tcp.write(&mut bytes, &data) {
            Ok(()) => bytes,
            Err(error) => panic!("{self:?}: {error}"),
        }
    }
}

fn addresses(packet: &LaxSlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        LaxNetSlice::Ipv6(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

fn checksum(tcp: &TcpSlice<'_>, source: IpAddr, destination: IpAddr) -> Option<u16> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            tcp.calc_checksum_ipv4(source.octets(), destination.octets()).ok()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            tcp.calc_checksum_ipv6(source.octets(), destination.octets()).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4::DestUnreachableHeader};

    use super::*;

    fn frame(bytes: Vec<u8>) -> Frame {
        Frame { at: Instant::now(), interface: 1, outgoing: false, bytes }
    }

    #[test]
    fn a_segment_of_either_family_is_read_and_a_wrong_checksum_seen() {
        let ethernet = || PacketBuilder::ethernet2([2; 6], [4; 6]);
        let v4 = ethernet().ipv4([10, 77, 0, 10], [10, 77, 0, 100], 64);
        let v6 = ethernet().ipv6([1; 16], [2; 16], 64);
        for packet in [v4, v6] {
            let mut bytes = Vec::new();
            packet.tcp(80, 40000, 7, 9).rst().ack(11).write(&mut bytes, b"abc").unwrap();
            let segment = frame(bytes.clone()).tcp().unwrap();
            assert!(segment.rst && segment.ack && !segment.syn && !segment.fin && segment.checksum_is_right);
            assert_eq!(
                (segment.sequence, segment.acknowledgment, segment.window, segment.data),
                (7, 11, 9, 3)
            );
            assert_eq!((segment.source.port(), segment.destination.port()), (80, 40000));
            assert_eq!(frame(bytes.clone()).packet_length(), Some(bytes.len() - 14));
            *bytes.last_mut().unwrap() ^= 1;
            assert!(!frame(bytes).tcp().unwrap().checksum_is_right);
        }
    }

    #[test]
    fn a_segment_that_is_sent_by_hand_is_read_as_it_was_meant() {
        for (source, destination) in
            [("10.77.0.100:40000", "10.77.0.10:80"), ("[fd77::100]:40000", "[fd77::10]:80")]
        {
            let plain = Segment::between(source.parse().unwrap(), destination.parse().unwrap());
            let numbers = Segment { ack: true, sequence: 7, acknowledgment: 9, ..plain.clone() };
            for segment in [
                Segment { syn: true, sequence: 5, ..plain.clone() },
                Segment { rst: true, ..plain.clone() },
                Segment { fin: true, ..numbers.clone() },
                Segment { data: 1400, ..numbers.clone() },
            ] {
                let packet = segment.packet(&[TcpOptionElement::MaximumSegmentSize(1460)]);
                let kind = if segment.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
                let bytes = [&[0; 12], kind.as_slice(), &packet].concat();
                assert_eq!(frame(bytes).tcp(), Some(segment));
            }
        }
    }

    #[test]
    fn only_the_two_messages_about_size_are_too_big() {
        let v4 = |kind| {
            let mut bytes = Vec::new();
            let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 77, 0, 1], [10, 77, 0, 2], 64);
            packet.icmpv4(kind).write(&mut bytes, b"quoted").unwrap();
            frame(bytes)
        };
        let unreachable = Icmpv4Type::DestinationUnreachable;
        let too_big = v4(unreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 }));
        assert_eq!(too_big.too_big(), Some(1400));
        assert_eq!(too_big.icmp().unwrap().quoted, b"quoted");
        assert_eq!(v4(unreachable(DestUnreachableHeader::Port)).too_big(), None);
        assert_eq!(v4(Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 2 })).too_big(), None);
        let mut bytes = Vec::new();
        let packet = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
        packet.icmpv6(Icmpv6Type::PacketTooBig { mtu: 1400 }).write(&mut bytes, b"quoted").unwrap();
        assert_eq!(frame(bytes).too_big(), Some(1400));
    }
}
