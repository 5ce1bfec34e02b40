//! A flood of SYNs from sources that do not exist, as an attacker sends them: at a bounded rate, and so many. Alone, or each
//! with an ACK that pretends to have seen the answer.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use etherparse::TcpOptionElement;
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
};

use super::{error::Error, frame::Segment, namespace::Namespace, random::Random, raw::RawSocket};

/// Packets of one system call.
const BATCH: usize = 64;
/// The most packets of one flood: each is made beforehand, so that sending is all that is done while it lasts.
const MOST_PACKETS: usize = 1_000_000;
/// An ACK follows its SYN by the SYNs of this part of a second: the replica's answer has gone by before it.
const ACKS_AFTER: u32 = 10;

/// A flood under way. Dropping it waits for its end.
#[derive(Debug)]
pub struct Flood {
    thread: Option<thread::JoinHandle<io::Result<FloodReport>>>,
}

/// What a flood did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodReport {
    /// Packets that the kernel took.
    pub sent: usize,
    /// From the first to the last.
    pub took: Duration,
}

impl FloodReport {
    /// Packets a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }
}

impl Flood {
    /// Sends `count` SYNs (1,000,000 at most) to `target` from a namespace, `rate` a second if the machine can. Each
    /// has a source of its own: an address in 198.18.0.0/15 (RFC 2544) or 2001:db8:f::/48, and a port from 1024.
    /// Equal seeds give equal floods. They are made before this returns.
    pub fn start(
        namespace: &Namespace,
        target: SocketAddr,
        rate: u32,
        count: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut random = Random::new(seed);
        let packets = (0..count.min(MOST_PACKETS)).map(|_| packet(&syn(target, &mut random))).collect();
        Self::launch(namespace, target, rate, packets)
    }

    /// The same, and after each SYN, a tenth of a second later, an ACK from the same source. It acknowledges a number at random: who
    /// sends it has not seen the replica's answer. `rate` and `count` are those of pairs.
    pub fn start_pairs(
        namespace: &Namespace,
        target: SocketAddr,
        rate: u32,
        count: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut random = Random::new(seed);
        let syns: Vec<_> = (0..count.min(MOST_PACKETS / 2)).map(|_| syn(target, &mut random)).collect();
        let lag = (rate / ACKS_AFTER) as usize;
        let mut packets = Vec::with_capacity(2 * syns.len());
        for place in 0..syns.len() + lag {
            packets.extend(syns.get(place).map(packet));
            let due = place.checked_sub(lag).and_then(|place| syns.get(place));
            packets.extend(due.map(|syn| ack(syn, &mut random).packet(&[])));
        }
        Self::launch(namespace, target, 2 * rate, packets)
    }

    /// Sends SYNs from so many sources (1,000,000 at most), to each of the targets, which are ports of one address, in turn: as
    /// fast as the machine can, for so long. Each source comes round again and again.
    pub fn at_full_speed(
        namespace: &Namespace,
        targets: &[SocketAddr],
        time: Duration,
        sources: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut random = Random::new(seed);
        let targets = targets.iter().cycle();
        let packets: Vec<_> = targets
            .take(sources.min(MOST_PACKETS))
            .map(|target| (packet(&syn(*target, &mut random)), target.ip()))
            .collect();
        let Some((_, address)) = packets.first() else { return Ok(Self { thread: None }) };
        let socket = RawSocket::open(namespace, *address)?;
        let packets: Vec<_> = packets.into_iter().map(|(packet, _)| packet).collect();
        let thread = thread::spawn(move || {
            let (begun, mut sent) = (Instant::now(), 0);
            while begun.elapsed() < time {
                sent += send(&socket, &packets, Pace::FullFor(time.saturating_sub(begun.elapsed())))?.sent;
            }
            Ok(FloodReport { sent, took: begun.elapsed() })
        });
        Ok(Self { thread: Some(thread) })
    }

    fn launch(
        namespace: &Namespace,
        target: SocketAddr,
        rate: u32,
        packets: Vec<Vec<u8>>,
    ) -> Result<Self, Error> {
        let socket = RawSocket::open(namespace, target.ip())?;
        let thread = thread::spawn(move || send(&socket, &packets, Pace::Rate(rate)));
        Ok(Self { thread: Some(thread) })
    }

    /// Whether it still goes on.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits for its end.
    pub fn finish(mut self) -> io::Result<FloodReport> {
        let ended = self.thread.take().map(thread::JoinHandle::join);
        match ended {
            Some(Ok(report)) => report,
            Some(Err(_)) | None => Err(io::Error::other("the flood's thread panicked")),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its report is of no interest any more.
            let _ = thread.join();
        }
    }
}

/// A SYN from an address that is nobody's.
fn syn(target: SocketAddr, random: &mut Random) -> Segment {
    let [a, b, c, d, e, f, g, h] = random.next().to_be_bytes();
    let source: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::new(198, 18 | a & 1, b, c).into(),
        SocketAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, a.into(), b.into(), c.into()).into(),
    };
    let port = u16::from_be_bytes([d, e]) | 1024;
    let sequence = u32::from_be_bytes([f, g, h, a]);
    Segment { syn: true, sequence, ..Segment::between((source, port).into(), target) }
}

/// A SYN with the options of a real client's.
fn packet(syn: &Segment) -> Vec<u8> {
    syn.packet(&[
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
    ])
}

/// The end of a handshake whose answer was not seen.
fn ack(syn: &Segment, random: &mut Random) -> Segment {
    let sequence = syn.sequence.wrapping_add(1);
    let acknowledgment = (random.next() >> 32) as u32;
    Segment { syn: false, ack: true, sequence, acknowledgment, ..syn.clone() }
}

/// How fast packets follow each other.
#[derive(Clone, Copy)]
enum Pace {
    /// So many a second.
    Rate(u32),
    /// As fast as they go, and no longer than this.
    FullFor(Duration),
}

impl Pace {
    /// How long to wait before the next packet, when so many were sent in so long. Nothing if the time is over.
    fn wait(self, sent: usize, elapsed: Duration) -> Option<Duration> {
        match self {
            Self::Rate(rate) => {
                let due = Duration::from_secs_f64(sent as f64 / f64::from(rate.max(1)));
                Some(due.saturating_sub(elapsed))
            }
            Self::FullFor(time) => (elapsed < time).then_some(Duration::ZERO),
        }
    }
}

fn send(socket: &RawSocket, packets: &[Vec<u8>], pace: Pace) -> io::Result<FloodReport> {
    let begun = Instant::now();
    let mut sent = 0;
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    for batch in packets.chunks(BATCH) {
        match pace.wait(sent, begun.elapsed()) {
            None => break,
            Some(Duration::ZERO) => {}
            Some(early) => thread::sleep(early),
        }
        let slices: Vec<_> = batch.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let addresses = vec![None; batch.len()];
        match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, addresses, [], MsgFlags::empty()) {
            Ok(results) => sent += results.count(),
            // A full queue on the way is the flood's own doing.
            Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(FloodReport { sent, took: begun.elapsed() })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn each_packet_is_a_whole_syn_from_the_networks_for_it() {
        for target in ["10.77.0.10:80", "[fd77::10]:80"] {
            let target: SocketAddr = target.parse().unwrap();
            let mut random = Random::new(1);
            let mut sources = HashSet::new();
            for _ in 0..2000 {
                let bytes = packet(&syn(target, &mut random));
                let packet = SlicedPacket::from_ip(&bytes).unwrap();
                let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP: {bytes:?}") };
                assert!(tcp.syn() && !tcp.ack() && !tcp.rst() && tcp.source_port() >= 1024);
                assert_eq!(tcp.destination_port(), 80);
                let (source, checksum) = match packet.net.unwrap() {
                    NetSlice::Ipv4(ip) => {
                        let header = ip.header();
                        let source = header.source_addr();
                        assert!(matches!(source.octets(), [198, 18 | 19, ..]), "{source}");
                        let sum = tcp.calc_checksum_ipv4(header.source(), header.destination());
                        (source.to_string(), sum.unwrap())
                    }
                    NetSlice::Ipv6(ip) => {
                        let header = ip.header();
                        let source = header.source_addr();
                        assert_eq!(source.segments()[..3], [0x2001, 0xdb8, 0xf]);
                        let sum = tcp.calc_checksum_ipv6(header.source(), header.destination());
                        (source.to_string(), sum.unwrap())
                    }
                    NetSlice::Arp(_) => panic!("ARP: {bytes:?}"),
                };
                assert_eq!(tcp.checksum(), checksum);
                sources.insert((source, tcp.source_port()));
            }
            assert!(sources.len() > 1990, "only {} sources", sources.len());
        }
    }
}
