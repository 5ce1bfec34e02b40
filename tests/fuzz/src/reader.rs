//! A small reader of frames, for the hot loop. It shares no code with the pipeline; a test holds it against etherparse.
//!
//! It says of a frame what the datapath's documents promise to tell apart, and follows extension headers of IPv6 as far as
//! they say: four headers, 128 bytes.

use crate::net::{End, Ip, fold, pseudo, sum};

pub const ETHERNET: usize = 14;
const MAX_EXTENSIONS: usize = 4;
const EXTENSION_BYTES: usize = 128;

/// Control bits of TCP.
pub mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// Why a frame has no TCP or ICMP header to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    NotIp,
    Vlan,
    /// Too short, or a length or a version that cannot be.
    Malformed,
    OtherProtocol,
    LaterFragment,
    Extension,
}

/// A TCP or ICMP packet in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub v4: bool,
    /// Ends; ports are 0 for ICMP.
    pub from: End,
    pub to: End,
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    /// Offset of the transport header.
    pub transport: usize,
    /// Bytes of the IP packet, as its header says; the frame may have more.
    pub ip_length: usize,
    pub first_fragment: bool,
    pub flags: u8,
    pub tcp_header: usize,
}

impl Seen {
    /// Bytes of the network header with its options or extensions.
    pub fn network(&self) -> usize {
        self.transport - ETHERNET
    }

    /// Whether it has a counterpart in the other family: without options and extensions, and no longer than fits there.
    pub fn translatable(&self) -> bool {
        let (plain, there) =
            if self.v4 { (20, self.ip_length + 20) } else { (40, self.ip_length.max(20) - 20) };
        self.network() == plain && (self.v4 || there <= 0xffff)
    }

    /// A client's first packet.
    pub fn opens(&self) -> bool {
        self.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN
    }

    /// Whether the headers fit into the length that the network header says.
    fn length_possible(&self) -> bool {
        self.ip_length >= self.network() + self.tcp_header
    }

    /// Sequence and acknowledgement number.
    pub fn numbers(&self, frame: &[u8]) -> (u32, u32) {
        let at = |offset: usize| {
            let bytes = &frame[self.transport + offset..self.transport + offset + 4];
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        (at(4), at(8))
    }

    /// Bytes of TCP payload, as the headers say.
    pub fn payload(&self) -> usize {
        self.ip_length.saturating_sub(self.network() + self.tcp_header)
    }

    /// Whether the checksum of the network header is right; one of IPv4 with options is not looked at.
    pub fn header_right(&self, frame: &[u8]) -> bool {
        !self.v4 || (self.network() == 20 && fold(sum(0, &frame[ETHERNET..ETHERNET + 20])) == 0xffff)
    }

    /// Whether the TCP or ICMP checksum is right; `None` if not all of what it covers is in the frame.
    pub fn checksum_right(&self, frame: &[u8]) -> Option<bool> {
        let length = self.ip_length.checked_sub(self.network())?;
        let segment = frame.get(self.transport..self.transport + length)?;
        let start =
            if self.protocol == 1 { 0 } else { pseudo(&self.from.ip, &self.to.ip, self.protocol, length) };
        Some(fold(sum(start, segment)) == 0xffff)
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// Reads a frame.
pub fn read(frame: &[u8]) -> Result<Seen, Unread> {
    match word(frame, 12).ok_or(Unread::Malformed)? {
        0x0800 => ipv4(frame),
        0x86dd => ipv6(frame),
        0x8100 | 0x88a8 => Err(Unread::Vlan),
        _ => Err(Unread::NotIp),
    }
}

fn ipv4(frame: &[u8]) -> Result<Seen, Unread> {
    let header = frame.get(ETHERNET..ETHERNET + 20).ok_or(Unread::Malformed)?;
    let length = usize::from(header[0] & 0xf) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return Err(Unread::Malformed);
    }
    if header[9] != 6 && header[9] != 1 {
        return Err(Unread::OtherProtocol);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x1fff != 0 {
        return Err(Unread::LaterFragment);
    }
    transport(
        frame,
        Seen {
            v4: true,
            from: End { ip: Ip::from_bytes(&header[12..16]), port: 0 },
            to: End { ip: Ip::from_bytes(&header[16..20]), port: 0 },
            protocol: header[9],
            ttl: header[8],
            tos: header[1],
            transport: ETHERNET + length,
            ip_length: usize::from(u16::from_be_bytes([header[2], header[3]])),
            first_fragment: fragment & 0x2000 != 0,
            flags: 0,
            tcp_header: 0,
        },
    )
}

fn ipv6(frame: &[u8]) -> Result<Seen, Unread> {
    let header = frame.get(ETHERNET..ETHERNET + 40).ok_or(Unread::Malformed)?;
    if header[0] >> 4 != 6 {
        return Err(Unread::Malformed);
    }
    let Chain { protocol, at, more } = follow(frame, ETHERNET + 40, header[6])?;
    if protocol != 6 && protocol != 58 {
        return Err(Unread::OtherProtocol);
    }
    transport(
        frame,
        Seen {
            v4: false,
            from: End { ip: Ip::from_bytes(&header[8..24]), port: 0 },
            to: End { ip: Ip::from_bytes(&header[24..40]), port: 0 },
            protocol,
            ttl: header[7],
            tos: header[0] << 4 | header[1] >> 4,
            transport: at,
            ip_length: 40 + usize::from(u16::from_be_bytes([header[4], header[5]])),
            first_fragment: more,
            flags: 0,
            tcp_header: 0,
        },
    )
}

/// What stands behind the extension headers of IPv6.
pub struct Chain {
    pub protocol: u8,
    pub at: usize,
    /// It is the first of several fragments.
    pub more: bool,
}

/// Follows the extension headers from `start` on, of which the first is of this kind.
pub fn follow(frame: &[u8], start: usize, first: u8) -> Result<Chain, Unread> {
    let (mut protocol, mut at, mut more, mut count) = (first, start, false, 0);
    while matches!(protocol, 0 | 43 | 44 | 60) {
        if protocol == 43 || count == MAX_EXTENSIONS {
            return Err(Unread::Extension);
        }
        if protocol == 44 {
            let fragment = frame.get(at..at + 8).ok_or(Unread::Malformed)?;
            let offset = u16::from_be_bytes([fragment[2], fragment[3]]);
            if offset >> 3 != 0 {
                return Err(Unread::LaterFragment);
            }
            more |= offset & 1 != 0;
            (protocol, at) = (fragment[0], at + 8);
        } else {
            let units = usize::from(*frame.get(at + 1).ok_or(Unread::Malformed)?) + 1;
            (protocol, at) = (frame[at], at + 8 * units);
        }
        if at - start > EXTENSION_BYTES {
            return Err(Unread::Extension);
        }
        count += 1;
    }
    Ok(Chain { protocol, at, more })
}

fn transport(frame: &[u8], seen: Seen) -> Result<Seen, Unread> {
    if ETHERNET + seen.ip_length > frame.len() {
        return Err(Unread::Malformed);
    }
    if seen.protocol != 6 {
        return Ok(seen);
    }
    let header = frame.get(seen.transport..seen.transport + 20).ok_or(Unread::Malformed)?;
    let tcp_header = usize::from(header[12] >> 4) * 4;
    if tcp_header < 20 {
        return Err(Unread::Malformed);
    }
    let from = End { port: u16::from_be_bytes([header[0], header[1]]), ..seen.from };
    let to = End { port: u16::from_be_bytes([header[2], header[3]]), ..seen.to };
    let seen = Seen { from, to, flags: header[13], tcp_header, ..seen };
    if seen.length_possible() { Ok(seen) } else { Err(Unread::Malformed) }
}
